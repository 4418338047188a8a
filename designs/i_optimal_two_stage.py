"""Pairs that minimise the predicted gap, at θ = 0 in a pilot and then at the estimate.

As ``i-optimal``, but only a pilot share of the labels is bought at θ = 0; after it every round
minimises tr(C(θ̂) Σ(θ̂)⁻¹) anew at the current estimate θ̂, counting the labels already bought. The
estimate matters most where rewards are strong.

Family: optimal design.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607.
Assumes: A log-linear reward, and that the pilot's labels are enough to estimate it.
Cost: One DPO fit and a few sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Design,
    InvalidParameter,
    Pairs,
    View,
    check_weighting,
    round_weights,
    sample_pairs,
)


@dataclass(frozen=True)
class IOptimalTwoStage(Design):
    """Pilot at θ = 0, then optimal weights at the current estimate, re-optimised each round.

    Attributes:
        pilot: rounds that begin before this share of all labels is bought, 0 to 1, are played at
            θ = 0. It takes two rounds to have a second stage.
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    pilot: float = 0.2
    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighting(self.tol, self.rounding)
        if not 0 <= self.pilot <= 1:
            raise InvalidParameter(f"pilot is a share of the labels, 0 to 1, got {self.pilot}.")

    def select(self, view: View, n: int) -> Pairs:
        """Optimise this round's labels, given those already bought."""
        in_pilot = len(view.pairs) < self.pilot * view.horizon
        theta = np.zeros(view.pool.dim) if in_pilot else view.implicit_theta()
        design = round_weights(view, n, "i", theta, self.tol)
        return sample_pairs(view, design.pairs, design.weights, n, self.rounding)
