"""Pairs that minimise the predicted gap at what the labels so far say of θ.

As ``i-optimal`` (Han, Goyal, Ma 2026, arXiv 2606.19607), but only a pilot share of the labels is
bought at θ = 0; after it every round minimises tr(C(θ̂) Σ(θ̂)⁻¹) anew at the current estimate θ̂,
counting the labels already bought. Knowing θ matters most where rewards are strong.
Cost: one DPO fit and a few sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, InvalidParameter, Pairs, View, posterior_precision, sampled_pairs
from pairbench.information import optimal_weights


@dataclass(frozen=True)
class IOptimalTwoStage(Design):
    """Pilot at θ = 0, then optimal weights at the current estimate, re-optimised each round.

    Attributes:
        pilot: rounds that begin before this share of all labels is bought, 0 to 1, are played at
            θ = 0. It takes two rounds to have a second stage.
        tol: the weights' proven efficiency is at least 1 − tol.
    """

    pilot: float = 0.2
    tol: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.pilot <= 1:
            raise InvalidParameter(f"pilot is a share of the labels, 0 to 1, got {self.pilot}.")
        if not 0 < self.tol < 1:
            raise InvalidParameter(f"tol must lie between 0 and 1, got {self.tol}.")

    def select(self, view: View, n: int) -> Pairs:
        """Optimise this round's labels, given those already bought."""
        in_pilot = len(view.pairs) < self.pilot * view.horizon
        theta = np.zeros(view.pool.dim) if in_pilot else view.implicit_theta()
        # What is known already: the labels so far and the ridge, per label of this round.
        known = posterior_precision(view, theta)
        design = optimal_weights(view.pool, theta, beta=view.beta, prior=known / n, tol=self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n)
