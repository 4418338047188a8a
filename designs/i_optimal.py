"""Pairs in proportion to the weights that minimise the predicted gap, tr(C(θ) Σ_w(θ)⁻¹), at θ = 0.

Labels act on the DPO policy through Σ_w alone, and C weighs directions by how much the policy
depends on them. At θ = 0 no label is needed to compute the weights, and where rewards are weak they
are nearly optimal; where rewards are strong, labels saturate that the weights count on.

Family: optimal design.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607.
Assumes: A log-linear reward so weak that labels do not saturate.
Cost: A few sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class IOptimal(WeightedDesign):
    """I-optimal weights over pairs at θ = 0, rounded to each round's number of labels."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Return the weights at θ = 0, which are the same in every round."""
        return weights_at_zero(view, "i", self.tol)
