"""The best completion of one posterior draw of each prompt against the worst of another.

Double reverse Thompson sampling: first = argmax r¹_i and second = argmin r²_j, for two independent
draws of the rewards, so that the predicted gap is wide. Where they agree on one completion, the
second is drawn again, up to ``tries`` times (the publication's 30), and is any other completion
after that, as in the publication's code. That code draws each reward for itself, uniformly from
μ_i ± β s_i; here rewards are drawn jointly from the posterior.

Family: dueling bandit.
Source: Melikidze, Schneider, Lam, Wertich, Hakimi, Pásztor and Krause 2026, ActiveUltraFeedback:
    Efficient Preference Data Generation using Active Learning, arXiv 2603.09692.
Assumes: that pairs with a large gap in quality are the most informative. The label of a pair whose
    gap is certain has no information about the reward, which random draws make up for only while
    they differ.
Cost: one fit a round; 1 + ``tries`` posterior draws a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Belief,
    DuelDesign,
    Duels,
    check_counts,
    masked_argmax,
    opponent_mask,
    redraw_until_different,
)


@dataclass(frozen=True)
class Drts(DuelDesign):
    """Best of one draw, worst of another; cycles through the prompts.

    Attributes:
        tries: maximum number of draws for the second, until it differs from the first.
    """

    tries: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "tries")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best of one draw, and the worst of the first draw in which it is another."""
        pool, draws = belief.pool, belief.draws(1 + self.tries, rng)
        first = masked_argmax(pool.valid, draws[0], rng)
        second = redraw_until_different(pool, first, -draws[1:], rng)
        fallback = masked_argmax(opponent_mask(pool, first), np.zeros(pool.valid.shape), rng)
        return first, np.where(second == first, fallback, second)
