"""Pairs in proportion to the weights that maximise the least eigenvalue of Σ_w at θ = 0.

E-optimality: the worst direction of θ is known best. It spends its labels on directions of small
features, which the policy may not feel at all.

Family: optimal design.
Source: Ehrenfeld 1955, On the Efficiency of Experimental Designs, Annals of Mathematical
    Statistics.
Assumes: Features on a common scale, the worst direction being the one that counts; a reward so weak
    that labels do not saturate.
Cost: Some tens of sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class EOptimal(WeightedDesign):
    """Pairs in proportion to weights that are optimal at θ = 0."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Take the same weights in every round."""
        return weights_at_zero(view, "e", self.tol)
