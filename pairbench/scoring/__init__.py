"""Suboptimality and other figures of a policy, exact or estimated from samples."""
