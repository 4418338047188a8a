"""Worlds with a language-model policy that is scored exactly on all texts of a finite language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.information.fisher import policy_covariance
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.scoring.exact import best_in_class
from pairbench.training import Trainer
from pairbench.worlds.world import World

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LanguageWorld(World):
    """A world whose held-out pool holds all completions of a finite language, without features.

    θ* and C(θ*), which rate designs and which controls see, are therefore those of the log-linear
    fit to the rewards of the pool itself.

    Attributes:
        saturated_trainers: trainers for unlimited labels, with different training times; the
            smallest gap among them is the floor.
    """

    saturated_trainers: Sequence[Trainer] = field(kw_only=True)

    # Why: docs/decisions/029-the-floor-of-a-language-world-is-trained.md
    @cached_property
    def best_in_class(self) -> tuple[Array, float]:
        """θ* of the pool, and the floor: the gap after training on P(first ≻ second) of all pairs.

        The floor is the smallest gap that :attr:`saturated_trainers` reach on this pool with
        noise-free labels of every pair. It is due to generalisation to held-out prompts and
        to the training itself; another way of training could reach a smaller gap.
        """
        pool, rewards = self.pool, self.truth.rewards
        theta, _ = best_in_class(pool, rewards, self.beta)
        pairs = pairs_from_numbers(pool, np.arange(pool.n_pairs))
        prompt, first, second = pairs.T
        labels = expit(rewards[prompt, first] - rewards[prompt, second])
        gaps = [self.gap(t.fit(pool, self.beta, pairs, labels)) for t in self.saturated_trainers]
        return theta, min(gaps)

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the pool, ``(d, d)``."""
        return policy_covariance(self.pool, self.best_in_class[0], self.beta)
