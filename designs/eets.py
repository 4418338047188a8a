"""The best completions of the first two posterior draws of each prompt that differ in the best.

Thompson sampling of SEA for learning while serving (explore and exploit): first = argmax r¹, and
rewards are drawn again until the best is another completion, which is the second. Where it is the
same in all ``draws``, the second is the next best of the first draw, as with the option
``exp_allow_second_best`` of the publication's code. There the draws are the members of an ensemble
of 20 without repetition; here they are 20 draws from the posterior.

Family: dueling bandit.
Source: Liu, Chen, Du, Lee and Lin 2024, Sample-Efficient Alignment for LLMs, Algorithm 1 for E&E,
    arXiv 2411.01493.
Assumes: that users see the completions, so that only those that may be best are to be compared. The
    policy also learns from bad ones, which this rule soon stops comparing.
Cost: one fit a round; ``draws`` posterior draws a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Belief,
    DuelDesign,
    Duels,
    InvalidParameter,
    masked_argmax,
    opponent_mask,
    redraw_until_different,
)


@dataclass(frozen=True)
class Eets(DuelDesign):
    """Two posterior draws that differ in what is best; cycles through the prompts.

    Attributes:
        draws: maximum number of draws.
    """

    draws: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 2:
            raise InvalidParameter(f"draws must be 2 or more, got {self.draws}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best of one draw, and the best of the first draw in which it is another."""
        pool, draws = belief.pool, belief.draws(self.draws, rng)
        first = masked_argmax(pool.valid, draws[0], rng)
        second = redraw_until_different(pool, first, draws[1:], rng)
        next_best = masked_argmax(opponent_mask(pool, first), draws[0], rng)
        return first, np.where(second == first, next_best, second)
