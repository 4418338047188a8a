"""The completion of highest predicted reward against the one nearest to μ̄ − 2σ.

μ̄ and σ are the mean and the standard deviation of a prompt's predicted rewards over its
completions. With hundreds of samples the worst is an outlier, and one two deviations below the mean
is a better example of what to avoid. No completion of K can lie further than √(K − 1) σ from the
mean, so with five or fewer this is ``best-versus-worst``, and of a normal sample the worst lies
near μ̄ − 2σ for K of about 30. Before the first label all rewards are equal, and the pair is random.

Family: reward rank.
Source: Xiao et al. 2025, "Finding the Sweet Spot: Preference Data Construction for Scaling
    Preference Optimization", arXiv 2502.16825, which lets a reward model label such pairs; here the
    annotator does. The 2 is theirs.
Assumes: that predicted rewards of a prompt are about normal, and as ``best-versus-worst`` that a
    wide contrast is informative.
Cost: one fit of the estimator, and O(N K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter, masked_argmax


@dataclass(frozen=True)
class SweetSpot(DuelDesign):
    """The best completion and one a given distance below the mean; cycles through the prompts.

    Attributes:
        below: distance below the mean, standard deviations.
    """

    below: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.below):
            raise InvalidParameter(f"below must be a finite number, got {self.below}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Pair the largest mean reward with the one nearest the target; ties at random."""
        valid, mean = belief.pool.valid, belief.mean
        best = masked_argmax(valid, mean, rng)
        rest = valid & (np.arange(valid.shape[1]) != best[:, None])
        # A belief's rewards are relative to their prompt's mean, and 0 where not valid.
        deviation = np.sqrt((mean**2).sum(axis=1) / valid.sum(axis=1))
        target = -self.below * deviation
        return best, masked_argmax(rest, -np.abs(mean - target[:, None]), rng)
