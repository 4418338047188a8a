"""The pairs whose predicted label probability varies most with what is unknown: GURO.

Largest σ'(Δ̂) ‖z‖ in the norm of A⁻¹, the greedy step on a bound on the error of an ordering: noise
of the label times ignorance of Δ. ‖z‖ is the posterior deviation of Δ, so it is the first-order
deviation of σ(Δ). The Bayesian form takes the variance of σ(Δ) over a few posterior draws, whose
randomness spreads a batch; ``probability-variance`` is the same without it.

The authors' code (Healthy-AI/GURO) takes σ'(Δ̂) ‖z‖², not eq. 5's σ'(Δ̂) ‖z‖, so it prefers long
differences more. Its A begins with the identity, a ridge of 1, and keeps the weight w that each
label had when it came, where A here has the pool's ridge and all weights at the current θ̂. Its θ̂
is scikit-learn's LogisticRegression, which has a ridge of 1 and an intercept, too. It asks one pair
at a time, the first ten at random, and refits after every ten; here the n best of a round are asked
at once.

Family: uncertainty.
Source: Bergström, Carlsson, Dubhashi and Johansson 2024, Active Preference Learning for Ordering
    Items In- and Out-of-Sample, arXiv 2405.03059, eq. 5, and eq. 7 (BayesGURO) with the 50 draws of
    the authors' code.
Assumes: that an ordering is wanted, so that close calls matter most: pairs of nearly equal reward
    count for little in a policy's gap. Pairs of a batch are ranked each on its own.
Cost: one fit and O(N K² d) a round; Bayesian, O(E N K (d + K)), E draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BeliefDesign,
    InvalidParameter,
    ScoredDesign,
    View,
    pair_scores,
    reward_differences,
)
from pairbench.information import logistic_slope, sampled_forecast


@dataclass(frozen=True)
class Guro(BeliefDesign, ScoredDesign):
    """The n pairs of most uncertain label probability not asked before.

    Attributes:
        bayesian: whether to use posterior draws (BayesGURO).
        draws: E, number of posterior draws.
    """

    bayesian: bool = False
    draws: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 2:
            raise InvalidParameter(f"draws must be 2 or more, got {self.draws}.")

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by the deviation or the variance of their label probability."""
        belief, pool = self.belief(view), view.pool
        if self.bayesian:
            differences = reward_differences(pool, belief.draws(self.draws, view.rng))
            variance = sampled_forecast(differences).variance
            return pair_scores(pool, variance)
        deviation = np.sqrt(belief.difference_variance())
        return logistic_slope(belief.differences()) * deviation
