"""Pairs that minimise the predicted gap averaged over the posterior of θ.

Bayesian I-optimality: E_θ tr(C(θ) A(θ)⁻¹) over draws from the Laplace posterior N(θ̂, A⁻¹), before
any label from the prior N(0, I/λ) that the ridge is. Averaging keeps a design from labels that
saturate under some likely θ, and stays meaningful with fewer labels than dimensions.

Family: optimal design.
Source: Chaloner and Verdinelli 1995, Bayesian Experimental Design: A Review, Statistical Science;
    the criterion of Han, Goyal, Ma 2026, arXiv 2606.19607.
Assumes: A log-linear reward, a nearly Gaussian posterior, and that a few draws represent it.
Cost: One DPO fit and, for each draw, a few sweeps of O(N K d² + N K² d) a round.
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
class BayesIOptimal(Design):
    """Bayesian I-optimal weights over posterior draws, given the labels already bought.

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
        design = round_weights(view, n, "bayes-i", draws, self.tol)
        return sample_pairs(view, design.pairs, design.weights, n, self.rounding)
