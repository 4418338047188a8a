"""Pairs that minimise the predicted gap, re-optimised every round at the current estimate.

tr(C(θ̂) A⁻¹) with A = λI + Σ w z zᵀ over the labels already bought and those of the round. Unlike
``i-optimal-two-stage`` it has no pilot.

Family: optimal design.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607.
Assumes: A log-linear reward, and an estimate that is accurate from the first labels on, which it is
    not under a wrong model or with few labels.
Cost: One DPO fit and a few sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, round_weights
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class IOptimalAdaptive(WeightedDesign):
    """I-optimal weights at θ̂, given the labels already bought."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Optimise the weights of n labels with the Fisher information at the estimate θ̂."""
        return round_weights(view, n, "i", view.implicit_theta(), self.tol)
