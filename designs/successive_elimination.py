"""Two completions drawn from those of each prompt that may still be its best.

A completion is eliminated once another is better with confidence, μ_j − μ_i > c s_ij, the bound
being on the difference, which labels are about. The two are drawn uniformly from the others, so
that all survivors are compared equally often. Where only one survives, it is compared with the one
that came closest to surviving: the published rule would stop there, but the budget is not spent.

The posterior is shared by all prompts and refitted in each round, so a completion can return. The
bound is a posterior's, for each pair separately, without the union over rounds and arms that the
published guarantees need.

Family: dueling bandit.
Source: Even-Dar, Mannor and Mansour 2006, Action elimination and stopping conditions for the
    multi-armed bandit and reinforcement learning problems, JMLR 7; for duels Yue and Joachims
    2011, Beat the mean bandit, ICML.
Assumes: that only a prompt's best completion matters, and that the posterior's deviations are
    right. Once survivors are few and similar, their comparisons say little about the rest.
Cost: one fit a round, and O(N K (K + d) d) for each label that every prompt gets.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter, rank_completions

_TOLERANCE = 1e-9  # reward units: equal completions differ by rounding errors only


@dataclass(frozen=True)
class SuccessiveElimination(DuelDesign):
    """One pair of survivors a prompt; cycles through the prompts.

    Attributes:
        confidence: c, standard deviations that a difference must be from 0 to eliminate.
    """

    confidence: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.confidence) and self.confidence >= 0):
            raise InvalidParameter(
                f"confidence must be a finite number, 0 or more, got {self.confidence}."
            )

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Draw two of the survivors."""
        deviation = np.sqrt(belief.difference_variance())
        # The largest lower bound of r_j − r_i over the other completions j.
        lower = -belief.differences() - self.confidence * deviation
        loss = np.where(belief.pool.valid[:, None, :], lower, -np.inf).max(axis=2)
        # Survivors are ranked at random, and before all others; those by how clearly they lost.
        keys = np.where(loss <= _TOLERANCE, rng.random(loss.shape), -loss)
        ranked = rank_completions(belief.pool, keys, rng)
        return ranked[:, 0], ranked[:, 1]
