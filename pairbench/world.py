"""A world hides the truth; an environment is a recipe for worlds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidPool
from pairbench.information.fisher import label_information, policy_covariance, trace_criterion
from pairbench.information.optimal import optimal_weights
from pairbench.oracles import Oracle
from pairbench.policies import Policy
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool, frozen_array
from pairbench.scoring import Score, best_in_class, gap, win_rate
from pairbench.training import Trainer

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """What only the harness knows.

    Attributes:
        rewards: r* of the pool, ``(n_prompts, n_completions)`` reward units.
        held_out: r* of the held-out pool, likewise.
        theta: θ*, ``(dim,)``, where r* = φᵀθ* up to a constant for each prompt; otherwise None.
    """

    rewards: Array
    held_out: Array
    theta: Array | None = None


@dataclass(frozen=True, eq=False)
class World:
    """One draw of an environment: everything that an episode needs.

    Attributes:
        pool: the prompts and completions that labels can be bought for.
        held_out: prompts of the same kind that the policy is scored on.
        truth: the rewards, for the oracle and the score.
        oracle: answers questions about ``pool``.
        trainer: turns the labels into a policy.
        beta: β, reward units per nat.
    """

    pool: Pool
    held_out: Pool
    truth: Truth
    oracle: Oracle
    trainer: Trainer
    beta: float

    def __post_init__(self) -> None:
        for name, rewards, pool in (
            ("rewards", self.truth.rewards, self.pool),
            ("held-out rewards", self.truth.held_out, self.held_out),
        ):
            if rewards.shape != pool.valid.shape:
                raise InvalidPool(
                    f"the {name} must have the pool's shape {pool.valid.shape}, "
                    f"got {rewards.shape}."
                )
            if not np.isfinite(rewards).all():
                raise InvalidPool(f"the {name} must be finite, and 0 where not valid.")
        theta = self.truth.theta
        if theta is not None and theta.shape != (self.pool.dim,):
            raise InvalidPool(f"θ* must have shape ({self.pool.dim},), got {theta.shape}.")

    @cached_property
    def best(self) -> tuple[Array, float]:
        """θ* and the floor: the best log-linear policy and its gap on the held-out prompts.

        Exact, with a floor of 0, where the reward is linear in the features; otherwise as
        :func:`pairbench.scoring.best_in_class` finds it.
        """
        if self.truth.theta is not None:
            return self.truth.theta, 0.0
        return best_in_class(self.held_out, self.truth.held_out, self.beta)

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the held-out prompts, ``(d, d)``."""
        return policy_covariance(self.held_out, self.best[0], self.beta)

    @cached_property
    def best_value(self) -> float:
        """The trace criterion of the best design at θ*, proven to within 5 %."""
        theta, covariance = self.best[0], self.best_covariance
        return optimal_weights(self.pool, theta=theta, covariance=covariance, tol=0.05).value

    def gap(self, policy: Policy) -> float:
        """The policy's gap on the held-out prompts, reward units."""
        log_probs = policy.log_probs(self.held_out)
        return gap(log_probs, self.held_out, self.truth.held_out, self.beta)

    def score(self, policy: Policy, pairs: Pairs) -> Score:
        """All figures of merit of a policy trained on labels of ``pairs``."""
        theta, floor = self.best
        value = self.gap(policy)
        error = None
        if self.truth.theta is not None and isinstance(policy, LogLinearPolicy):
            miss = policy.theta - theta
            error = float(miss @ self.best_covariance @ miss)
        efficiency = 0.0
        if len(pairs):
            information = label_information(self.pool, pairs, theta=theta) / len(pairs)
            criterion = trace_criterion(self.best_covariance, information)
            # 0 where the policy feels no direction at all: then any pairs are the best.
            efficiency = self.best_value / criterion if criterion > 0 else 1.0
        return Score(
            gap=value,
            pool_gap=gap(policy.log_probs(self.pool), self.pool, self.truth.rewards, self.beta),
            floor=floor,
            estimation=value - floor,
            win_rate=win_rate(policy.log_probs(self.held_out), self.held_out, self.truth.held_out),
            estimation_error=error,
            design_efficiency=efficiency,
        )


@dataclass(frozen=True)
class Environment(ABC):
    """A recipe for worlds: a frozen dataclass whose fields are its parameters.

    Its docstring says what it diagnoses and what the known optimum is. Register it with
    :func:`pairbench.register_env`; play it with :func:`pairbench.play` or, through Gymnasium, as
    :class:`pairbench.PairEnv`.
    """

    budgets: ClassVar[tuple[int, ...]] = (50, 100, 200, 400, 800)
    """The default schedule: cumulative numbers of labels at which a policy is scored."""

    @abstractmethod
    def world(self, seed: int) -> World:
        """Draw a world; the same one for the same seed, on any machine."""

    def data_digest(self) -> str | None:
        """SHA-256 of the data file that the worlds are made of, None where there is none."""
        return None


def drawn_world(environment: Environment, seed: int) -> World:
    """``environment.world(seed)``, kept for the next cell that plays the same one."""
    return _drawn_world(environment, seed, environment.data_digest())


@lru_cache(maxsize=2)
def _drawn_world(environment: Environment, seed: int, _data: str | None) -> World:
    return environment.world(seed)


def masked(rewards: Array, pool: Pool) -> Array:
    """The rewards with 0 where the pool has no completion, read-only."""
    return frozen_array(np.where(pool.valid, rewards, 0.0))
