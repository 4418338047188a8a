"""Design agents, one file each; imported as ``pairbench.designs``."""
