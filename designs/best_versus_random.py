"""The completion of highest predicted reward against a random other one.

argmax μ against one drawn uniformly from the rest, anew for each turn of a prompt. Before the first
label all rewards are equal, and the pair is random.

Family: reward rank.
Source: the binarisation of Tunstall et al. 2023, "Zephyr: Direct Distillation of LM Alignment",
    arXiv 2310.16944, with all completions in place of four; see ``ultrafeedback``.
Assumes: that a common anchor orders the others well enough, and that the predicted best is one.
Cost: one fit of the estimator, and O(N K) a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, largest


@dataclass(frozen=True)
class BestVersusRandom(DuelDesign):
    """One pair a prompt, the best and any other; prompts in turn."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """The largest mean reward, ties at random, and another completion."""
        valid = belief.pool.valid
        best = largest(valid, belief.mean, rng)
        rest = valid & (np.arange(valid.shape[1]) != best[:, None])
        return best, largest(rest, np.zeros(valid.shape), rng)
