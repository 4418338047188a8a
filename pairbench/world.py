"""A world hides the truth; an environment is a recipe for worlds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, InvalidPool
from pairbench.information.fisher import label_information, policy_covariance, trace_criterion
from pairbench.information.optimal import optimal_weights
from pairbench.oracles import Oracle
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.stages import Scene
from pairbench.policies import Policy
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool, Rows, frozen_array
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
        steps: r* of the pool by step, ``(n_prompts, n_completions, steps)``, summing to
            ``rewards``, where completions have steps; otherwise None.
    """

    rewards: Array
    held_out: Array
    theta: Array | None = None
    steps: Array | None = None


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
        given: the completions of ``pool`` that are there from the beginning, two or more of each
            prompt, ``(n_prompts, n_completions)`` bool; the others have to be generated. None
            where all are there.
    """

    pool: Pool
    held_out: Pool
    truth: Truth
    oracle: Oracle
    trainer: Trainer
    beta: float
    given: NDArray[np.bool_] | None = None

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
        if self.given is not None and self.given.shape != self.pool.valid.shape:
            raise InvalidPool(
                f"given must have the pool's shape {self.pool.valid.shape}, got {self.given.shape}."
            )
        steps, rewards = self.truth.steps, self.truth.rewards
        if steps is not None:
            if steps.ndim != 3 or steps.shape[:2] != rewards.shape:
                n, k = rewards.shape
                raise InvalidPool(
                    f"rewards by step must have shape ({n}, {k}, steps), got {steps.shape}."
                )
            if not np.allclose(steps.sum(axis=2), rewards, rtol=1e-9, atol=1e-9):
                raise InvalidPool("rewards by step must sum to the rewards.")

    @cached_property
    def shown(self) -> Pool:
        """The pool as it is before anything is generated."""
        return self.pool if self.given is None else self.pool.only(self.given)

    @cached_property
    def start(self) -> Score:
        """The score before the first label, of which all episodes have the same."""
        none: Pairs = np.empty((0, 3), dtype=np.int64)
        return self.score(self.trainer.fit(self.shown, self.beta, none, np.empty(0)), none)

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

    def answered_by(self, annotator: str, seed: int) -> "World":
        """The same world, whose questions another annotator answers.

        One whose answers are a record is asked what is recorded: the pool is then made of the
        recorded pairs. What the policy is scored on stays as it is.

        Args:
            annotator: as text, see :func:`pairbench.oracles.annotators.make_annotator`.
            seed: the world's.

        Raises:
            UnknownAnnotator: If nothing answers to a name.
            InvalidParameter: If the annotator cannot be, or asks for what the world does not have.
            InvalidData: If a file that it reads is not what it should be.
        """
        made = make_annotator(annotator)
        rows = made.rows(self.pool)
        world = self if rows is None else self.over(rows)
        scene = Scene(world.pool, world.truth.rewards, world.truth.steps, seed)
        return replace(world, oracle=made.oracle(scene))

    def over(self, rows: Rows) -> "World":
        """The world of some of the pool's completions; its oracle still has to be given.

        Args:
            rows: which.

        Raises:
            InvalidParameter: If its completions have to be generated, so that there are none yet.
        """
        if self.given is not None:
            raise InvalidParameter(
                "votes are recorded on completions that are there, but this environment generates "
                "them. Take one with a fixed pool."
            )
        pool, steps = self.pool.rows(rows), self.truth.steps
        rewards = masked(rows.of(self.truth.rewards), pool)
        if steps is not None:
            steps = frozen_array(np.where(pool.valid[:, :, None], rows.of(steps), 0.0))
        return replace(self, pool=pool, truth=replace(self.truth, rewards=rewards, steps=steps))

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
        return Score(
            gap=value,
            pool_gap=gap(policy.log_probs(self.pool), self.pool, self.truth.rewards, self.beta),
            floor=floor,
            estimation=value - floor,
            win_rate=win_rate(policy.log_probs(self.held_out), self.held_out, self.truth.held_out),
            estimation_error=error,
            design_efficiency=self.design_efficiency(pairs),
        )

    def design_efficiency(self, pairs: Pairs) -> float:
        """ψ(best design at θ*) / ψ(these pairs), 0 for none; see :class:`Score`."""
        if not len(pairs):
            return 0.0
        information = label_information(self.pool, pairs, theta=self.best[0]) / len(pairs)
        criterion = trace_criterion(self.best_covariance, information)
        # 0 where the policy feels no direction at all: then any pairs are the best.
        return self.best_value / criterion if criterion > 0 else 1.0


ADDED = {"added": True}
"""Metadata of a parameter that came after an id was published: while it has its default, it stands
in no record, and what was played without it stays valid."""


@dataclass(frozen=True)
class Environment(ABC):
    """A recipe for worlds: a frozen dataclass whose fields are its parameters.

    Its docstring says what it diagnoses and what the known optimum is. Register it with
    :func:`pairbench.register_env`; play it with :func:`pairbench.play` or, through Gymnasium, as
    :class:`pairbench.PairEnv`.

    Attributes:
        annotator: who answers, as text, see :func:`pairbench.oracles.annotators.make_annotator`;
            whom :meth:`world` names if None.
        prices: what things cost, see :class:`pairbench.Prices`: ``"label=1, token_read=0.002"``.
        unit: what budgets count, ``"labels"`` or ``"money"``.

    Every environment has these, with nothing to be done.
    """

    annotator: str | None = field(default=None, kw_only=True, metadata=ADDED)
    prices: str = field(default="label=1", kw_only=True, metadata=ADDED)
    unit: str = field(default="labels", kw_only=True, metadata=ADDED)

    budgets: ClassVar[tuple[int, ...]] = (50, 100, 200, 400, 800)
    """The default schedule: cumulative budgets at which a policy is scored."""

    written_by_models: ClassVar[bool] = False
    """Whether language models make the world, so that drawing one takes long, or a GPU."""

    @abstractmethod
    def world(self, seed: int) -> World:
        """Draw a world; the same one for the same seed, on any machine."""

    def data_digest(self) -> str | None:
        """SHA-256 of the data file that the worlds are made of, None where there is none."""
        return None


def drawn_world(environment: Environment, seed: int) -> World:
    """The environment's world with its annotator, kept for the next cell that plays it."""
    return _drawn_world(environment, seed, data_digests(environment))


def data_digests(environment: Environment) -> tuple[str, ...]:
    """SHA-256 of each file that a world and its annotator are made of."""
    own = environment.data_digest()
    annotator = environment.annotator
    read = () if annotator is None else make_annotator(annotator).data_digests()
    return read if own is None else (own, *read)


@lru_cache(maxsize=2)
def _drawn_world(environment: Environment, seed: int, _data: tuple[str, ...]) -> World:
    world = environment.world(seed)
    if environment.annotator is None:
        return world
    return world.answered_by(environment.annotator, seed)


def masked(rewards: Array, pool: Pool) -> Array:
    """The rewards with 0 where the pool has no completion, read-only."""
    return frozen_array(np.where(pool.valid, rewards, 0.0))
