"""Contract, registry and base classes of designs, and tools to write them."""
