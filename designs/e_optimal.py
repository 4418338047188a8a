"""Pairs in proportion to the weights that maximise the least eigenvalue of Σ_w at θ = 0.

E-optimality: the largest variance of a direction of θ is least. It spends its labels on directions
of small features, on which the policy may not depend at all.

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
    """E-optimal weights over pairs at θ = 0, rounded to the labels of each round."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Return the weights at θ = 0, which are the same in every round."""
        return weights_at_zero(view, "e", self.tol)
