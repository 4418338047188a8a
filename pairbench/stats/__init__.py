"""Estimates with intervals: bootstrap, label savings, comparisons across environments."""
