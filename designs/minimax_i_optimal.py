"""Pairs that minimise the largest predicted gap over draws of θ from its posterior.

Minimax I-optimality: max_k tr(C(θ_k) A(θ_k)⁻¹) over draws from the Laplace posterior N(θ̂, A⁻¹). It
guards against the worst draw, which is usually one of strong rewards.

Family: optimal design.
Source: Dette, Haines, Imhof 2007, Maximin and Bayesian Optimal Designs for Regression Models,
    Statistica Sinica; the criterion of Han, Goyal, Ma 2026, arXiv 2606.19607.
Assumes: A log-linear reward, and that the worst of a few draws is the case to guard against.
Cost: One DPO fit and, for each draw, some sweeps of O(N K d² + N K² d) a round.
"""

from dataclasses import dataclass

from pairbench import (
    Design,
    Laplace,
    Pairs,
    View,
    check_counts,
    check_weighting,
    round_weights,
    sample_pairs,
)


@dataclass(frozen=True)
class MinimaxIOptimal(Design):
    """Minimax I-optimal weights over posterior draws, given the labels already bought.

    Attributes:
        draws: how many draws of θ.
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    draws: int = 8
    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighting(self.tol, self.rounding)
        check_counts(self, "draws")

    def select(self, view: View, n: int) -> Pairs:
        """Draw θ from the posterior, and round the optimal weights of this round's labels."""
        draws = Laplace().fit(view).theta_draws(self.draws, view.rng)
        design = round_weights(view, n, "minimax-i", draws, self.tol)
        return sample_pairs(view, design.pairs, design.weights, n, self.rounding)
