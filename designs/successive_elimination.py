"""Two completions drawn from those of each prompt that may still be its best.

A completion is eliminated once another is better with confidence, μ_j − μ_i > c s_ij, the bound
being on the difference, which is what labels tell. The two are drawn uniformly from the others, so
that all survivors are compared alike. Where only one survives, it meets the one that came closest
to surviving: the published rule would stop there, but labels are still to be spent.

The belief is shared by all prompts and fitted anew in each round, so a completion can come back.
The bound is a posterior's, for each pair on its own, without the union over rounds and arms that
the published guarantees need.

Family: dueling bandit.
Source: Even-Dar, Mannor and Mansour 2006, Action elimination and stopping conditions for the
    multi-armed bandit and reinforcement learning problems, JMLR 7; for duels Yue and Joachims
    2011, Beat the mean bandit, ICML.
Assumes: that only a prompt's best completion matters, and that the posterior's deviations are
    right. Once survivors are few and alike, their comparisons tell little about the rest.
Cost: one fit a round, and O(N K (K + d) d) for each label that every prompt gets.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter, ranked_completions

_NONE = 1e-9  # reward units: equal completions differ by rounding errors only


@dataclass(frozen=True)
class SuccessiveElimination(DuelDesign):
    """One pair of survivors a prompt; prompts in turn.

    Attributes:
        confidence: c, how many standard deviations a difference must be from 0 to count.
    """

    confidence: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.confidence) and self.confidence >= 0):
            raise InvalidParameter(
                f"confidence must be a finite number, 0 or more, got {self.confidence}."
            )

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Two survivors, at random."""
        deviation = np.sqrt(belief.difference_variance())
        # By how much some other completion j beats i for sure.
        beaten = -belief.differences() - self.confidence * deviation
        loss = np.where(belief.pool.valid[:, None, :], beaten, -np.inf).max(axis=2)
        # Survivors are ranked at random, and before all others; those by how clearly they lost.
        rank = np.where(loss <= _NONE, rng.random(loss.shape), -loss)
        ranked = ranked_completions(belief.pool, rank, rng)
        return ranked[:, 0], ranked[:, 1]
