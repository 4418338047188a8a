"""Pairs in proportion to the weights that minimise max_p z_pᵀΣ_w⁻¹z_p at θ = 0.

G-optimality: the worst variance of a reward difference is least. At θ = 0 without a ridge it is
D-optimality (Kiefer and Wolfowitz 1960); with the ridge the two differ.

Family: optimal design.
Source: Smith 1918, On the Standard Deviations of Adjusted and Interpolated Values of an Observed
    Polynomial Function, Biometrika.
Assumes: That the most uncertain pair of the pool is the one that counts, likely or not; a reward so
    weak that labels do not saturate.
Cost: Some tens of sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class GOptimal(WeightedDesign):
    """G-optimal weights over pairs at θ = 0, rounded to the labels of each round."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Return the weights at θ = 0, which are the same in every round."""
        return weights_at_zero(view, "g", self.tol)
