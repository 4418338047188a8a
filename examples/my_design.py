"""Random pairs of the prompts whose completions differ most in length."""

import numpy as np


def select(view, n, spread=1.0):
    """Draw prompts in proportion to the spread of their lengths, to a power, then two answers."""
    lengths = np.where(view.pool.valid, view.pool.lengths, np.nan)
    weights = np.nanstd(lengths, axis=1) ** spread + 1e-9  # lengths may all be equal
    prompts = view.rng.choice(len(weights), size=n, p=weights / weights.sum())
    answers = [np.flatnonzero(view.pool.valid[prompt]) for prompt in prompts]
    pairs = zip(prompts, answers, strict=True)
    return [(x, *view.rng.choice(y, 2, replace=False)) for x, y in pairs]
