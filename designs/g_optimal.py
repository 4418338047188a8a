"""Pairs in proportion to the weights that minimise max_p z_pᵀΣ_w⁻¹z_p at θ = 0.

G-optimality: the worst variance of a reward difference is least. At θ = 0 without a ridge it is
D-optimality (Kiefer and Wolfowitz 1960); with the ridge the two differ.

Family: optimal design.
Source: Smith 1918, On the Standard Deviations of Adjusted and Interpolated Values of an Observed
    Polynomial Function, Biometrika.
Assumes: That the worst-known pair of the pool is the one that counts, likely or not; a reward so
    weak that labels do not saturate.
Cost: Some tens of sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class GOptimal(WeightedDesign):
    """Pairs in proportion to weights that are optimal at θ = 0."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Take the same weights in every round."""
        return weights_at_zero(view, "g", self.tol)
