"""The pairs whose reward difference is most uncertain: largest posterior variance s_ij² of Δ.

s_ij² = Var(r_i − r_j) = s_i² + s_j² − 2 Cov(r_i, r_j), whatever the label would be. For the Laplace
posterior it is zᵀA⁻¹z, and the ranking is that of ``leverage``; an ensemble ranks otherwise.

Family: uncertainty.
Source: MacKay 1992, Information-Based Objective Functions for Active Data Selection; for preference
    labels by the disagreement of an ensemble, Christiano et al. 2017, Deep Reinforcement Learning
    from Human Preferences, arXiv 1706.03741.
Assumes: that all labels are equally noisy. Where Δ is large its label is nearly certain and has
    next to no information about its size, and this rule asks for it all the same.
Cost: one fit and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, ScoredDesign, View


@dataclass(frozen=True)
class DifferenceVariance(BeliefDesign, ScoredDesign):
    """The n pairs of largest variance not asked before."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by s_ij²."""
        return self.belief(view).difference_variance()
