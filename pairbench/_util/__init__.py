"""Helpers without knowledge of preference learning: files, caches, measurements, tables."""
