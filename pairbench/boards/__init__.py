"""Leaderboards: their definition, entries, standings, and the tables they are exported as."""
