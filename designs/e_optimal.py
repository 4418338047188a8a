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

from pairbench import Design, Pairs, View, check_weighing, sampled_pairs, weights_at_zero


@dataclass(frozen=True)
class EOptimal(Design):
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
        design = weights_at_zero(view, "e", self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
