"""Control: the weights that minimise the predicted gap at θ*, which it is told.

tr(C(θ*) M(w)⁻¹), M(w) the information of a round's labels with weights w over pairs, of the labels
already bought and of the ridge: what a design of this kind could reach if it knew the answer. Shown
in tables, never ranked. With few labels it is no upper bound, see docs/optimal-designs.md.

Family: control.
Source: Han, Goyal, Ma 2026, "Which Pairs to Compare for LLM Post-Training?", arXiv 2606.19607, for
    the criterion.
Assumes: θ*, and that labels follow the log-linear model.
Cost: a few sweeps of O(N K d² + N K² d).
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
