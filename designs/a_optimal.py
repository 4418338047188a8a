"""Pairs in proportion to the weights that minimise tr(Σ_w⁻¹) at θ = 0.

A-optimality: the mean variance of the components of θ is least, in the units of the features. It
is I-optimality where the policy feels all directions alike, C = I.

Family: optimal design.
Source: Elfving 1952, Optimum Allocation in Linear Regression Theory, Annals of Mathematical
    Statistics.
Assumes: Features on a common scale, all of them felt by the policy alike; a reward so weak that
    labels do not saturate.
Cost: A few sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, check_weighing, sampled_pairs, weights_at_zero


@dataclass(frozen=True)
class AOptimal(Design):
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
        design = weights_at_zero(view, "a", self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
