"""Boards, one folder each; found as ``pairbench.leaderboards``."""
