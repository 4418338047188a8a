"""Information that a design may use: the view of a pool, its labels, and the budget."""
