"""Greedy D-optimal pairs: each next pair raises log det(λI + Σ w z zᵀ) most.

ADPO (Kveton et al. 2025, arXiv 2503.01076), with ω = σ'(Δ̂) at the current estimate; D-optimal
designs for preferences: Mukherjee et al. 2024, arXiv 2404.13895. Does not ask which directions the
policy feels, so it also learns those that it does not.
Cost: one DPO fit and O(m d) for each label, m candidate pairs.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, InvalidParameter, Pairs, View, posterior_precision
from pairbench.information import greedy_d
from pairbench.information.fisher import logistic_slope


@dataclass(frozen=True)
class DOptimalGreedy(Design):
    """Rank-one greedy over a random set of candidate pairs.

    Attributes:
        candidates: how many pairs to choose from each round; all where the pool has fewer.
    """

    candidates: int = 20_000

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise InvalidParameter(f"candidates must be 1 or more, got {self.candidates}.")

    def select(self, view: View, n: int) -> Pairs:
        """Start from the information of the labels so far."""
        pairs = np.argwhere(view.pool.pair_mask)
        if len(pairs) > self.candidates:
            pairs = pairs[view.rng.choice(len(pairs), self.candidates, replace=False)]
        theta = view.implicit_theta()
        omega = logistic_slope(view.pool.differences(pairs) @ theta)
        information = posterior_precision(view, theta)
        return greedy_d(view.pool, pairs, information, n, omega)
