"""Of each prompt a right arm of the epoch before, against the best of a posterior draw.

Doubler plays in epochs i = 1, 2, … of 2^i steps for each prompt. The left arm is drawn uniformly
from the right arms that the epoch before played, with repetitions, so it stands still in
distribution while a bandit learns what beats it on the right; in the first epoch it is one
arbitrary arm. Here the bandit is Thompson sampling with the belief that all labels make: the right
arm is the best of a posterior draw, or the next best where that is the left arm (the publication
compares it with itself). The publication's bandit starts anew with each epoch; a belief does not.

State is read off the pairs asked, first completions counting as left arms and second ones as right;
if another design asked them, they count all the same.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought, and many duels of each prompt: the first two
    epochs take six.
Cost: one fit a round; one posterior draw and a sort of the pairs asked a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, Pairs, View, largest, over_turns, rivals


@dataclass(frozen=True)
class Doubler(DuelDesign):
    """Left arms of the epoch before, right arms by Thompson sampling; prompts in turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Let each turn know the ones before."""
        belief = self.belief(view)
        return over_turns(view, lambda asked: self.step(belief, asked, view.rng), n)

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """A first step, before any pair was asked."""
        return self.step(belief, np.empty((0, 3), dtype=np.int64), rng)

    def step(self, belief: Belief, asked: Pairs, rng: np.random.Generator) -> Duels:
        """The next step of every prompt.

        Args:
            belief: what is believed.
            asked: the pairs so far, ``(m, 3)``, oldest first.
            rng: the only source of randomness.
        """
        pool = belief.pool
        left = largest(pool.valid, np.zeros(pool.valid.shape), rng)
        count = np.bincount(asked[:, 0], minlength=pool.n_prompts)
        # After m steps, 2^i ≤ m + 2 < 2^(i+1), the epoch before took 2^(i−1) of them and began
        # with step 2^(i−1) − 2, counted from 0; where i = 1 that is −1, a step that never was.
        length = 2 ** (np.frexp(count + 2.0)[1].astype(np.int64) - 2)
        step = length - 2 + rng.integers(length)
        begun = np.flatnonzero(count)
        start = np.cumsum(count) - count
        order = np.argsort(asked[:, 0], kind="stable")
        drawn = asked[order[(start + np.maximum(step, 0))[begun]]]
        # The arbitrary arm of the first epoch stays on the left for both of its steps.
        left[begun] = np.where(step[begun] < 0, drawn[:, 1], drawn[:, 2])
        return left, largest(rivals(pool, left), belief.draws(1, rng)[0], rng)
