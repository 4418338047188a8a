"""The pairs whose label is hardest to predict: largest entropy h(p̄).

p̄ = E σ(Δ) over the Laplace posterior of Δ ~ N(Δ̂, s²), by MacKay's approximation
σ(Δ̂ / √(1 + π s²/8)) (MacKay 1992). Unlike the smallest gap it prefers, of two pairs with the same
Δ̂, the more uncertain one; like it, it confuses epistemic with aleatoric uncertainty.

Family: uncertainty.
Source: Lewis and Gale 1994, A Sequential Algorithm for Training Text Classifiers; MacKay 1992, The
    Evidence Framework Applied to Classification Networks, for p̄.
Assumes: that a label that is hard to predict is informative. A coin toss is hard to predict and has
    no information, so it spends labels on near-duplicates.
Cost: one fit and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, ScoredDesign, View


@dataclass(frozen=True)
class Uncertainty(BeliefDesign, ScoredDesign):
    """The n pairs of most uncertain predicted label not asked before; random at first."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by −|logit p̄|, in which the entropy is increasing."""
        belief = self.belief(view)
        logit = belief.differences() / np.sqrt(1 + np.pi / 8 * belief.difference_variance())
        return -np.abs(logit)
