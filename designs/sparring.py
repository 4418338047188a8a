"""Of each prompt the best completion of one posterior draw against the best of another.

Sparring lets two bandits play each other, each choosing an arm for itself and rewarded by winning.
Here both are Thompson samplers, with independent draws r¹ and r² from the belief that all labels
make: first = argmax r¹, second = argmax r², or the second sampler's next best where both name the
same completion (the publication compares it with itself). In the publication each bandit learns
from its own arm's wins alone; a label of a pair tells both about the same reward, so one belief
serves here. Unlike ``dts`` no bounds take completions out, and unlike ``eets`` nothing is drawn
again, so that where the best is sure it meets the second best.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought.
Cost: one fit a round; two posterior draws a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, largest, rivals


@dataclass(frozen=True)
class Sparring(DuelDesign):
    """Two Thompson samplers against each other; prompts in turn."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """One draw each."""
        left, right = belief.draws(2, rng)
        first = largest(belief.pool.valid, left, rng)
        return first, largest(rivals(belief.pool, first), right, rng)
