"""The pairs that the model finds hardest to tell apart: smallest |μ_i − μ_j|.

Level-set or margin sampling on the predicted reward difference Δ = μ_i − μ_j, that is, on the pairs
whose predicted label is nearest to a coin toss. With the default estimator Δ is the implicit reward
gap of the trained policy itself, see ``difficulty``.

Family: reward rank.
Source: Lewis and Gale 1994, "A Sequential Algorithm for Training Text Classifiers", SIGIR; for
    preference pairs Yang et al. 2024, "Not All Preference Pairs Are Created Equal", arXiv
    2406.17312.
Assumes: that a small predicted difference is a sign of doubt; it is also what near-duplicates look
    like.
Cost: one fit of the estimator, and O(N K²).
"""

from dataclasses import dataclass

import numpy as np

from pairbench import BeliefDesign, Pairs, View, top_pairs


@dataclass(frozen=True)
class SmallestGap(BeliefDesign):
    """The n pairs of least predicted reward difference not asked before; random at first."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank all pairs by −|Δ|."""
        return top_pairs(view, -np.abs(self.belief(view).differences()), n)
