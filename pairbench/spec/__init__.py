"""Specs: strings such as ``"name(key=value)"``, and the objects, records and listings behind them.

This package knows no kind of object that it builds, and imports nothing but errors.
"""
