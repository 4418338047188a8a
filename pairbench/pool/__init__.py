"""Pools of prompts and completions, pairs of them, and the files that people keep them in."""
