"""The pairs with the largest predicted reward difference |μ_i − μ_j|.

The margin-maximisation principle: labels of large predicted difference Δ = μ_i − μ_j are rarely
wrong. Unlike ``best-versus-worst`` it may take many pairs of one prompt and none of another.

Family: reward rank.
Source: Deng et al. 2025, "Less is More: Improving LLM Alignment via Preference Data Selection",
    arXiv 2502.14560, which selects among pairs that are labelled already and adds the margins of
    external reward models; here labels are bought, and the margin is the estimator's.
Assumes: that wrong labels harm most. Labels that are certain beforehand have no information, and
    the estimate errs most at the largest |Δ|.
Cost: one fit of the estimator, and O(N K²).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, ScoredDesign, View


@dataclass(frozen=True)
class LargestGap(BeliefDesign, ScoredDesign):
    """The n unlabelled pairs of largest predicted reward difference; random in the first round."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by |Δ|."""
        return np.abs(self.belief(view).differences())
