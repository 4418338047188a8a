"""Submissions to boards: bundles of cells, the entries computed from them, and verification."""
