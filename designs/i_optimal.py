"""Pairs drawn from the weights that minimise the predicted gap, tr(C(θ) Σ_w(θ)⁻¹), at θ = 0.

The criterion of Han, Goyal, Ma 2026, arXiv 2606.19607: labels act on the DPO policy through Σ_w
alone, and C says which directions the policy feels. At θ = 0 no label is needed to compute it, and
where rewards are weak it is nearly optimal; where they are strong, labels saturate that it counts
on. Cost: a few sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pairbench import Design, InvalidParameter, Pairs, Pool, View, sampled_pairs
from pairbench.information import OptimalDesign, optimal_weights


@dataclass(frozen=True)
class IOptimal(Design):
    """Independent draws from weights that are optimal, to the tolerance, at θ = 0.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
    """

    tol: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.tol < 1:
            raise InvalidParameter(f"tol must lie between 0 and 1, got {self.tol}.")

    def select(self, view: View, n: int) -> Pairs:
        """Draw from the same weights in every round."""
        design = _weights(view.pool, view.ridge / view.horizon, self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n)


@lru_cache(maxsize=1)
def _weights(pool: Pool, prior: float, tol: float) -> OptimalDesign:
    # The ridge is information that the training brings along, spread over the labels to be bought.
    return optimal_weights(pool, prior=prior * np.eye(pool.dim), tol=tol)
