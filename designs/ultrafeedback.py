"""The best of four random completions of each prompt against a random one of the other three.

UltraFeedback has four answers to each prompt, scored by a model; Zephyr's binarisation takes the
one of highest mean score as chosen and one of the other three at random as rejected. Here the four
are redrawn from the pool for each turn of a prompt, and the score is the estimator's mean μ; the
pair is then asked. A prompt of fewer completions has all of them among the four.

Family: reward rank.
Source: Cui et al. 2023, "UltraFeedback: Boosting Language Models with Scaled AI Feedback", arXiv
    2310.01377; Tunstall et al. 2023, "Zephyr: Direct Distillation of LM Alignment", arXiv
    2310.16944, whose four is the default.
Assumes: that the best of a few is good enough, and that random opponents keep pairs diverse.
Cost: one fit of the estimator, and O(N K log K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter, masked_argmax, rank_completions


@dataclass(frozen=True)
class Ultrafeedback(DuelDesign):
    """One pair a prompt, the best of a random subset and another of it; cycles through the prompts.

    Attributes:
        among: size of the random subset.
    """

    among: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.among < 2:
            raise InvalidParameter(f"among must be 2 or more, got {self.among}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Pair the largest mean reward of the subset, ties at random, with another of it."""
        valid = belief.pool.valid
        zeros = np.zeros(valid.shape)
        order = rank_completions(belief.pool, zeros, rng)
        subset = np.zeros_like(valid)
        np.put_along_axis(subset, order[:, : self.among], True, axis=1)
        subset &= valid
        best = masked_argmax(subset, belief.mean, rng)
        rest = subset & (np.arange(valid.shape[1]) != best[:, None])
        return best, masked_argmax(rest, zeros, rng)
