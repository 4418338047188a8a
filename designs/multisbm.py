"""The second completion of each prompt's last pair against the rival that may beat it by most.

MultiSBM keeps one bandit for each arm x, which learns what beats x: the left arm is the last step's
right arm, x_t = y_{t−1}, and y_t is the choice of x_t's bandit. Here the bandits share the
posterior given all labels, and that of x is optimistic about what may beat x: y_t = argmax_{j ≠ x}
μ_jx + β s_jx. A prompt's first left arm is random, being arbitrary in the publication.

The publication leaves the bandit open; this one is that of Pásztor et al. 2024 (arXiv 2406.16745),
who may also compare x_t with itself. β = 1 is the default of Melikidze et al. 2026 (arXiv
2603.09692). The state is derived from the pairs asked, also from those that another design asked.

Family: dueling bandit.
Source: Ailon, Karnin and Joachims 2014, Reducing Dueling Bandits to Cardinal Bandits, arXiv
    1405.3396.
Assumes: that the best completion is what is sought, and labels one by one: within a round the
    posterior is fixed, and the chain of a prompt soon alternates between two completions.
Cost: one fit a round; all s_ij of the pool and a sort of the labelled pairs a pass over the
    prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Belief,
    ConfidenceDesign,
    Duels,
    Pairs,
    View,
    duel_sequentially,
    masked_argmax,
    opponent_mask,
)


@dataclass(frozen=True)
class Multisbm(ConfidenceDesign):
    """A chain of duels, each challenger meeting the next; cycles through the prompts."""

    def select(self, view: View, n: int) -> Pairs:
        """Play turn by turn, each continuing from the pairs of the turn before."""
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
        pool, upper = belief.pool, self.upper(belief)
        left = masked_argmax(pool.valid, np.zeros(pool.valid.shape), rng)
        begun, last = np.unique(history[::-1, 0], return_index=True)
        left[begun] = history[::-1][last, 2]
        challenge = upper[np.arange(len(left)), :, left]
        return left, masked_argmax(opponent_mask(pool, left), challenge, rng)
