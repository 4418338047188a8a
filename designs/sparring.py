"""The best completion of one posterior draw of each prompt against the best of another.

Sparring lets two bandits play each other, each choosing an arm for itself and rewarded by winning.
Here both are Thompson samplers, with independent draws r¹ and r² from the posterior given all
labels: first = argmax r¹, second = argmax r², or the second sampler's next best where both choose
the same completion (the publication compares it with itself). In the publication each bandit learns
from its own arm's wins alone; a label of a pair informs both about the same reward, so one
posterior is enough here. Unlike ``dts`` no bounds exclude completions, and unlike ``eets`` nothing
is redrawn, so that where the best is certain it is compared with the second best.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought.
Cost: one fit a round; two posterior draws a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Sparring(DuelDesign):
    """Two Thompson samplers against each other; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best of two independent draws, the second other than the first."""
        left, right = belief.draws(2, rng)
        first = masked_argmax(belief.pool.valid, left, rng)
        return first, masked_argmax(opponent_mask(belief.pool, first), right, rng)
