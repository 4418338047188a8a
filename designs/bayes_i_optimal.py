"""Pairs that minimise the predicted gap averaged over the posterior of θ.

Bayesian I-optimality (Chaloner and Verdinelli 1995): E_θ tr(C(θ) A(θ)⁻¹) over draws from the
Laplace posterior N(θ̂, A⁻¹), before any label from the prior N(0, I/λ) that the ridge is. Averaging
keeps a design from labels that saturate under some likely θ, and stays meaningful with fewer labels
than dimensions. Cost: one DPO fit and, for each draw, a few sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass

from pairbench import (
    Design,
    InvalidParameter,
    Pairs,
    View,
    check_weighing,
    posterior_draws,
    round_weights,
    sampled_pairs,
)


@dataclass(frozen=True)
class BayesIOptimal(Design):
    """Optimal weights over posterior draws, given the labels already bought.

    Attributes:
        draws: how many θ.
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    draws: int = 8
    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighing(self.tol, self.rounding)
        if self.draws < 1:
            raise InvalidParameter(f"draws must be 1 or more, got {self.draws}.")

    def select(self, view: View, n: int) -> Pairs:
        """Optimise this round's labels over new draws."""
        design = round_weights(view, n, "bayes-i", posterior_draws(view, self.draws), self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
