"""The pairs whose label probability is most uncertain: largest posterior variance of σ(Δ).

Var σ(Δ) = p̄ (1 − p̄) − E σ'(Δ), p̄ = E σ(Δ): the variance of a label less the expected variance of
its noise. To first order it is w² s_ij², so it avoids pairs whose label is nearly certain as well
as those whose difference is. All expectations are exact: in closed form for a normal posterior
(:func:`pairbench.information.gaussian_forecast`), over all members for an ensemble.

Family: uncertainty.
Source: Bergström, Carlsson, Dubhashi and Johansson 2024, Active Preference Learning for Ordering
    Items In- and Out-of-Sample, arXiv 2405.03059, eq. 7, there estimated from a few posterior draws
    (``guro(bayesian=True)``) and one pair at a time.
Assumes: that label probabilities are to be learnt, those near ½ first. Pairs of a batch are ranked
    independently, and may be redundant.
Cost: one fit and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, ScoredDesign, View, pair_scores


@dataclass(frozen=True)
class ProbabilityVariance(BeliefDesign, ScoredDesign):
    """The n unlabelled pairs of largest posterior variance of the preference probability."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by Var σ(Δ)."""
        variance = self.belief(view).forecast(view.rng).variance
        return pair_scores(view.pool, variance)
