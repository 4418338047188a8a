"""The pair of each prompt with the largest optimistic difference in reward.

DeltaUCB: argmax_ij μ_ij + β s_ij, over the ordered pairs. Unlike best against worst it also takes
pairs of uncertain difference. The publication adds the widths of two rewards, β (s_i + s_j), which
is what independent rewards could differ by at most; here s_ij is the posterior deviation of the
difference itself. β = 1 is the publication's. The two completions are in random order.

Family: dueling bandit.
Source: Melikidze, Schneider, Lam, Wertich, Hakimi, Pásztor and Krause 2026, ActiveUltraFeedback:
    Efficient Preference Data Generation using Active Learning, arXiv 2603.09692.
Assumes: that pairs with a large gap in quality are the most informative. It is deterministic but
    for ties, so a prompt gets the same pair repeatedly once the gap is wide enough; there labels
    saturate.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, largest_pair


@dataclass(frozen=True)
class DeltaUcb(ConfidenceDesign):
    """The largest optimistic difference; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the pair with the largest upper bound, of the difference or of its negative."""
        upper = self.upper(belief)
        return largest_pair(belief.pool, np.maximum(upper, upper.transpose(0, 2, 1)), rng)
