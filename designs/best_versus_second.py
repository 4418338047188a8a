"""The completion of highest predicted reward against the one of second highest.

The two largest μ of each prompt: who leads, and who might lead instead. Before the first label all
rewards are equal, and the pair is random.

Family: reward rank.
Source: no publication; the deterministic relative of top-two sampling (Russo 2016, "Simple Bayesian
    Algorithms for Best Arm Identification", COLT).
Assumes: that only the best completion of a prompt has to be identified. The policy gives weight to
    all of them, and the two best of a pool with near-duplicates may be one text twice.
Cost: one fit of the estimator, and O(N K log K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, rank_completions


@dataclass(frozen=True)
class BestVersusSecond(DuelDesign):
    """One pair a prompt, the two of highest predicted reward; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Pair the completions of the two largest mean rewards, ties at random."""
        ranked = rank_completions(belief.pool, belief.mean, rng)
        return ranked[:, 0], ranked[:, 1]
