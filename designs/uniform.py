"""Uniform over all pairs of the pool: what every other design is compared with.

Each label's pair is drawn independently, which is the sampling that the theory speaks of
(Han, Goyal, Ma 2026, arXiv 2606.19607). Assumes nothing. Cost: O(n log N) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View


@dataclass(frozen=True)
class Uniform(Design):
    """Pairs drawn uniformly and independently."""

    def select(self, view: View, n: int) -> Pairs:
        """Draw the prompt by its number of pairs, then two different completions."""
        sizes = view.pool.valid.sum(axis=1)
        share = sizes * (sizes - 1) / (sizes * (sizes - 1)).sum()
        prompt = view.rng.choice(len(sizes), size=n, p=share)
        i = view.rng.integers(sizes[prompt])
        j = view.rng.integers(sizes[prompt] - 1)
        j += j >= i  # any but i
        valid_first = view.pool.valid_first
        return np.stack([prompt, valid_first[prompt, i], valid_first[prompt, j]], axis=1)
