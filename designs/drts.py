"""Of each prompt the best completion of one posterior draw against the worst of another.

Double reverse Thompson sampling: first = argmax r¹_i and second = argmin r²_j, for two independent
draws of the rewards, so that the gap is wide as far as is known. Where they agree on one
completion, the second is drawn again, up to ``tries`` times (the publication's 30), and is any
other completion after that, as in the publication's code. That code draws each reward for itself,
uniformly from μ_i ± β s_i; here rewards are drawn jointly from the posterior.

Family: dueling bandit.
Source: Melikidze, Schneider, Lam, Wertich, Hakimi, Pásztor and Krause 2026, ActiveUltraFeedback:
    Efficient Preference Data Generation using Active Learning, arXiv 2603.09692.
Assumes: that pairs with a large gap in quality teach most. The label of a pair whose gap is sure
    tells nothing about the reward, which the random draws make up for only while they differ.
Cost: one fit a round; 1 + ``tries`` posterior draws a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, check_counts, largest, redrawn, rivals


@dataclass(frozen=True)
class Drts(DuelDesign):
    """Best of one draw, worst of another; prompts in turn.

    Attributes:
        tries: how often the second is drawn, at most, until it is not the first.
    """

    tries: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "tries")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Draw until the two differ."""
        pool, draws = belief.pool, belief.draws(1 + self.tries, rng)
        first = largest(pool.valid, draws[0], rng)
        second = redrawn(pool, first, -draws[1:], rng)
        anyone = largest(rivals(pool, first), np.zeros(pool.valid.shape), rng)
        return first, np.where(second == first, anyone, second)
