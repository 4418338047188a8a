"""Of each prompt the second completion of its last pair, and the rival that may beat it by most.

MultiSBM keeps one bandit for each arm x, which learns what beats x: the left arm is the last step's
right arm, x_t = y_{t−1}, and y_t is the choice of x_t's bandit. Here the bandits share the belief
that all labels make, and that of x is optimistic about what may beat x: y_t = argmax_{j ≠ x}
μ_jx + β s_jx. A prompt's first left arm is random, being arbitrary in the publication.

The publication leaves the bandit open; this one is that of Pásztor et al. 2024 (arXiv 2406.16745),
who may also compare x_t with itself. β = 1 is the default of Melikidze et al. 2026 (arXiv
2603.09692). State is read off the pairs asked; if another design asked them, their second
completions count all the same.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought, and labels one by one: within a round the
    belief stands still, and the chain of a prompt soon goes back and forth between two completions.
Cost: one fit a round; all s_ij of the pool and a sort of the pairs asked a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Belief,
    ConfidenceDesign,
    Duels,
    Pairs,
    View,
    largest,
    over_turns,
    rivals,
)


@dataclass(frozen=True)
class Multisbm(ConfidenceDesign):
    """A chain of duels, each challenger meeting the next; prompts in turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Let each turn go on from the one before."""
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
        pool, upper = belief.pool, self.upper(belief)
        left = largest(pool.valid, np.zeros(pool.valid.shape), rng)
        begun, last = np.unique(asked[::-1, 0], return_index=True)
        left[begun] = asked[::-1][last, 2]
        hope = upper[np.arange(len(left)), :, left]
        return left, largest(rivals(pool, left), hope, rng)
