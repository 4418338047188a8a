"""A right arm of the previous epoch of each prompt against the best of a posterior draw.

Doubler plays in epochs i = 1, 2, … of 2^i steps for each prompt. The left arm is drawn uniformly
from the right arms that the previous epoch played, with repetitions, so its distribution is fixed
while a bandit learns on the right what beats it; in the first epoch it is one arbitrary arm. Here
the bandit is Thompson sampling with the posterior given all labels: the right arm is the best of a
posterior draw, or the next best where that is the left arm (the publication compares it with
itself). The publication's bandit restarts with each epoch; the posterior does not.

The state is derived from the pairs asked, first completions counting as left arms and second ones
as right, also of pairs that another design asked.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought, and many duels of each prompt: the first two
    epochs take six.
Cost: one fit a round; one posterior draw and a sort of the labelled pairs a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Belief,
    DuelDesign,
    Duels,
    Pairs,
    View,
    duel_sequentially,
    masked_argmax,
    opponent_mask,
)


@dataclass(frozen=True)
class Doubler(DuelDesign):
    """Left arms of the last epoch, right ones by Thompson draws; cycles through the prompts."""

    def select(self, view: View, n: int) -> Pairs:
        """Play turn by turn, each given the pairs of the turns before."""
        belief = self.belief(view)
        return duel_sequentially(view, lambda history: self.step(belief, history, view.rng), n)

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Play a first step, before any pair was asked."""
        return self.step(belief, np.empty((0, 3), dtype=np.int64), rng)

    def step(self, belief: Belief, history: Pairs, rng: np.random.Generator) -> Duels:
        """Play the next step of every prompt.

        Args:
            belief: posterior of the rewards.
            history: the pairs so far, ``(m, 3)``, oldest first.
            rng: the only source of randomness.
        """
        pool = belief.pool
        left = masked_argmax(pool.valid, np.zeros(pool.valid.shape), rng)
        count = np.bincount(history[:, 0], minlength=pool.n_prompts)
        # After m steps, 2^i ≤ m + 2 < 2^(i+1), the previous epoch took 2^(i−1) of them and began
        # with step 2^(i−1) − 2, counted from 0; where i = 1 that is −1, which is no step.
        length = 2 ** (np.frexp(count + 2.0)[1].astype(np.int64) - 2)
        step = length - 2 + rng.integers(length)
        begun = np.flatnonzero(count)
        start = np.cumsum(count) - count
        order = np.argsort(history[:, 0], kind="stable")
        previous = history[order[(start + np.maximum(step, 0))[begun]]]
        # The arbitrary arm of the first epoch is the left arm of both of its steps.
        left[begun] = np.where(step[begun] < 0, previous[:, 1], previous[:, 2])
        return left, masked_argmax(opponent_mask(pool, left), belief.draws(1, rng)[0], rng)
