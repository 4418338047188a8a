"""Environments, one file for each family; imported as ``pairbench.envs``."""
