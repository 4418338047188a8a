"""Conformance checks for designs: the suite behind ``pairbench check``."""
