"""Plans, plays, stores and executes runs."""
