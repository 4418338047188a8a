"""The completion of highest predicted reward against a random other one.

argmax μ against a uniform draw from the rest, redrawn for each turn of a prompt. Before the first
label all rewards are equal, and the pair is random.

Family: reward rank.
Source: the binarisation of Tunstall et al. 2023, "Zephyr: Direct Distillation of LM Alignment",
    arXiv 2310.16944, with all completions in place of four; see ``ultrafeedback``.
Assumes: that a common anchor orders the others well enough, and that the predicted best is one.
Cost: one fit of the estimator, and O(N K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, masked_argmax


@dataclass(frozen=True)
class BestVersusRandom(DuelDesign):
    """One pair a prompt, the best and a random other; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Pair the completion of largest mean reward, ties at random, with a random other."""
        valid = belief.pool.valid
        best = masked_argmax(valid, belief.mean, rng)
        rest = valid & (np.arange(valid.shape[1]) != best[:, None])
        return best, masked_argmax(rest, np.zeros(valid.shape), rng)
