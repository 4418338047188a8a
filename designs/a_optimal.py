"""Pairs in proportion to the weights that minimise tr(Σ_w⁻¹) at θ = 0.

A-optimality: the mean variance of the components of θ is least, in the units of the features. It is
I-optimality where the policy depends on all directions equally, C = I.

Family: optimal design.
Source: Elfving 1952, Optimum Allocation in Linear Regression Theory, Annals of Mathematical
    Statistics.
Assumes: Features on a common scale, on all of which the policy depends equally; a reward so weak
    that labels do not saturate.
Cost: A few sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class AOptimal(WeightedDesign):
    """A-optimal weights over pairs at θ = 0, rounded to the labels of each round."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Return the weights at θ = 0, which are the same in every round."""
        return weights_at_zero(view, "a", self.tol)
