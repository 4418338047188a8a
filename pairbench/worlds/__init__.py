"""Environments and the worlds drawn from them, and the Gymnasium interface."""
