"""Control: the weights that minimise the predicted gap at θ*, which it is told.

What a design of this kind could reach if it knew the answer (Han, Goyal, Ma 2026, arXiv
2606.19607). Shown in tables, never ranked. Cost: a few sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass
from typing import ClassVar

from pairbench import (
    ControlView,
    Design,
    Pairs,
    View,
    check_weighing,
    round_weights,
    sampled_pairs,
)


@dataclass(frozen=True)
class OracleIOptimal(Design):
    """Optimal weights at θ*, given the labels already bought.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    control: ClassVar[bool] = True

    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighing(self.tol, self.rounding)

    def select(self, view: View, n: int) -> Pairs:
        """Optimise this round's labels for the prompts that the policy is scored on."""
        assert isinstance(view, ControlView)
        design = round_weights(view, n, "i", view.theta, self.tol, view.covariance)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
