"""The pairs with the smallest predicted reward difference |μ_i − μ_j|.

Level-set or margin sampling on the predicted reward difference Δ = μ_i − μ_j, that is, on the pairs
whose predicted label is nearest to a coin toss. With the default estimator Δ is the implicit reward
gap of the trained policy itself, see ``difficulty``.

Family: reward rank.
Source: Lewis and Gale 1994, "A Sequential Algorithm for Training Text Classifiers", SIGIR; for
    preference pairs Yang et al. 2024, "Not All Preference Pairs Are Created Equal", arXiv
    2406.17312.
Assumes: that a small predicted difference is a sign of uncertainty; near-duplicates have one, too.
Cost: one fit of the estimator, and O(N K²).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, ScoredDesign, View


@dataclass(frozen=True)
class SmallestGap(BeliefDesign, ScoredDesign):
    """The n pairs of least predicted reward difference not asked before; random at first."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by −|Δ|."""
        return -np.abs(self.belief(view).differences())
