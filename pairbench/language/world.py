"""Worlds whose policy is a language model, scored exactly on all texts of a finite language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.information.fisher import policy_covariance
from pairbench.pool import numbered_pairs
from pairbench.scoring import best_in_class
from pairbench.training import Trainer
from pairbench.world import World

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LanguageWorld(World):
    """A world whose held-out prompts have all completions there are, and no features that matter.

    θ* and C(θ*), by which designs are rated and which controls are told, are then those of the
    pool itself: what the features there say of its rewards.

    Attributes:
        limits: train on unlimited labels, for a shorter or a longer time; the best makes the floor.
    """

    limits: Sequence[Trainer] = field(kw_only=True)

    @cached_property
    def best(self) -> tuple[Array, float]:
        """θ* of the pool, and the floor: the gap after training on all pairs' P(first ≻ second).

        The floor is the least gap that training reaches on this pool with labels of every pair
        without noise. What it leaves is due to prompts that were never seen, and to the training;
        nothing says that no other way of training does better.
        """
        pool, rewards = self.pool, self.truth.rewards
        theta, _ = best_in_class(pool, rewards, self.beta)
        pairs = numbered_pairs(pool, np.arange(pool.n_pairs))
        prompt, first, second = pairs.T
        labels = expit(rewards[prompt, first] - rewards[prompt, second])
        reached = [self.gap(t.fit(pool, self.beta, pairs, labels)) for t in self.limits]
        return theta, min(reached)

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the pool, ``(d, d)``."""
        return policy_covariance(self.pool, self.best[0], self.beta)
