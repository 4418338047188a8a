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

from pairbench import Design, Pairs, View, check_weighing, sampled_pairs, weights_at_zero


@dataclass(frozen=True)
class GOptimal(Design):
    """Pairs in proportion to weights that are optimal at θ = 0.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighing(self.tol, self.rounding)

    def select(self, view: View, n: int) -> Pairs:
        """Take the same weights in every round."""
        design = weights_at_zero(view, "g", self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
