"""The completion of highest predicted reward against the one of lowest.

argmax μ against argmin μ, with the estimator's mean as the reward model: by default the policy's
own implicit reward φᵀθ̂. Before the first label all rewards are equal, and the pair is random.

Family: reward rank.
Source: Pace et al. 2024, "West-of-N: Synthetic Preferences for Self-Improving Reward Models", arXiv
    2401.12086, which lets a reward model label such pairs; here the annotator does.
Assumes: that the contrast that is easiest to label is the most informative; where labels saturate
    it is the least.
Cost: one fit of the estimator, and O(N K log K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, rank_completions


@dataclass(frozen=True)
class BestVersusWorst(DuelDesign):
    """One pair a prompt, the extremes of the predicted reward; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Pair the completions of largest and smallest mean reward, ties at random."""
        ranked = rank_completions(belief.pool, belief.mean, rng)
        last = belief.pool.valid.sum(axis=1) - 1
        return ranked[:, 0], ranked[np.arange(len(last)), last]
