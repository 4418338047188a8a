"""Worlds, each of which holds a pool of completions and the hidden truth about it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pairbench._util.deprecation import warn_renamed
from pairbench.errors import InvalidParameter, InvalidPool
from pairbench.information.fisher import label_information, policy_covariance, trace_criterion
from pairbench.information.optimal import optimal_weights
from pairbench.oracles import Oracle
from pairbench.oracles.annotators import Annotator, make_annotator
from pairbench.oracles.stages import AnnotatorContext
from pairbench.policies import Policy
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool.pool import CompletionIndex, Pairs, Pool, freeze_array
from pairbench.scoring.exact import best_in_class, gap, win_rate
from pairbench.scoring.score import Score
from pairbench.training import Trainer

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """The true rewards of a world, hidden from designs.

    Attributes:
        rewards: r* of the pool, ``(n_prompts, n_completions)`` reward units.
        held_out: r* of the held-out pool, ``(n_held_out, n_completions)`` reward units.
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
    """A draw of an environment, with all that an episode needs.

    Attributes:
        pool: the prompts and completions for which labels can be bought.
        held_out: the prompts and completions on which the policy is scored.
        truth: the true rewards, for the oracle and the score.
        oracle: labels pairs of ``pool``.
        trainer: fits a policy to labels.
        beta: β, reward units per nat.
        initial_mask: mask of the completions of ``pool`` that are available from the start, at
            least two per prompt, ``(n_prompts, n_completions)`` bool; the remaining ones have to be
            generated. None if all are available.
    """

    pool: Pool
    held_out: Pool
    truth: Truth
    oracle: Oracle
    trainer: Trainer
    beta: float
    initial_mask: NDArray[np.bool_] | None = None

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
        if self.initial_mask is not None and self.initial_mask.shape != self.pool.valid.shape:
            raise InvalidPool(
                f"initial_mask must have the pool's shape {self.pool.valid.shape}, got "
                f"{self.initial_mask.shape}."
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
    def initial_pool(self) -> Pool:
        """The pool before any completion is generated."""
        return self.pool if self.initial_mask is None else self.pool.restrict(self.initial_mask)

    @cached_property
    def initial_score(self) -> Score:
        """The score before the first label, equal for all episodes."""
        none: Pairs = np.empty((0, 3), dtype=np.int64)
        return self.score(self.trainer.fit(self.initial_pool, self.beta, none, np.empty(0)), none)

    @cached_property
    def best_in_class(self) -> tuple[Array, float]:
        """θ* of the best log-linear policy, and the floor, its gap on the held-out prompts.

        Exact, with a floor of 0, where the reward is linear in the features; otherwise computed by
        :func:`pairbench.scoring.exact.best_in_class`.
        """
        if self.truth.theta is not None:
            return self.truth.theta, 0.0
        return best_in_class(self.held_out, self.truth.held_out, self.beta)

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the held-out prompts, ``(d, d)``."""
        return policy_covariance(self.held_out, self.best_in_class[0], self.beta)

    @cached_property
    def optimal_criterion(self) -> float:
        """The trace criterion of the optimal design at θ*, proven to within 5 %."""
        theta, covariance = self.best_in_class[0], self.best_covariance
        return optimal_weights(self.pool, theta=theta, covariance=covariance, tol=0.05).value

    def with_annotator(self, annotator: str | Annotator, seed: int) -> "World":
        """Return a copy of the world in which another annotator labels pairs.

        For an annotator that replays recorded votes, the pool is reduced to the recorded pairs. The
        held-out prompts do not change.

        Args:
            annotator: a spec or an object, see
                :func:`pairbench.oracles.annotators.make_annotator`.
            seed: seed of the world.

        Raises:
            UnknownAnnotator: If a stage of the annotator is not registered.
            InvalidParameter: If the annotator is invalid, or needs what the world does not have.
            InvalidData: If a file that it reads is invalid.
        """
        chain = make_annotator(annotator)
        index = chain.rows(self.pool)
        world = self if index is None else self.regroup(index)
        scene = AnnotatorContext(world.pool, world.truth.rewards, world.truth.steps, seed)
        return replace(world, oracle=chain.oracle(scene))

    def answered_by(self, annotator: str | Annotator, seed: int) -> "World":
        """Call :meth:`with_annotator`, the new name of this method."""
        warn_renamed("World.answered_by", "World.with_annotator")
        return self.with_annotator(annotator, seed)

    # Why: docs/decisions/010-recorded-votes-form-their-own-pool.md
    def regroup(self, index: CompletionIndex) -> "World":
        """Return a copy of the world with selected completions of its pool, but the old oracle.

        Args:
            index: completions of the pool, grouped into the prompts of the new one.

        Raises:
            InvalidParameter: If completions have to be generated.
        """
        if self.initial_mask is not None:
            raise InvalidParameter(
                "recorded votes need existing completions, but this environment generates them. "
                "Take one with a fixed pool."
            )
        pool, steps = self.pool.regroup(index), self.truth.steps
        rewards = mask_rewards(index.take(self.truth.rewards), pool)
        if steps is not None:
            steps = freeze_array(np.where(pool.valid[:, :, None], index.take(steps), 0.0))
        return replace(self, pool=pool, truth=replace(self.truth, rewards=rewards, steps=steps))

    @property
    def start(self) -> Score:
        """Old name of :attr:`initial_score`."""
        warn_renamed("World.start", "World.initial_score")
        return self.initial_score

    @property
    def best(self) -> tuple[Array, float]:
        """Old name of :attr:`best_in_class`."""
        warn_renamed("World.best", "World.best_in_class")
        return self.best_in_class

    def over(self, index: CompletionIndex) -> "World":
        """Call :meth:`regroup`, the new name of this method."""
        warn_renamed("World.over", "World.regroup")
        return self.regroup(index)

    def gap(self, policy: Policy) -> float:
        """Compute the policy's gap on the held-out prompts, reward units."""
        log_probs = policy.log_probs(self.held_out)
        return gap(log_probs, self.held_out, self.truth.held_out, self.beta)

    def score(self, policy: Policy, pairs: Pairs) -> Score:
        """Compute all figures of merit of a policy trained on labels of ``pairs``."""
        theta, floor = self.best_in_class
        value = self.gap(policy)
        error = None
        if self.truth.theta is not None and isinstance(policy, LogLinearPolicy):
            delta = policy.theta - theta
            error = float(delta @ self.best_covariance @ delta)
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
        """Compute ψ(optimal design at θ*) / ψ(pairs), 0 without pairs; see :class:`Score`."""
        if not len(pairs):
            return 0.0
        information = label_information(self.pool, pairs, theta=self.best_in_class[0]) / len(pairs)
        criterion = trace_criterion(self.best_covariance, information)
        # The criterion is 0 where C(θ*) is 0; every design is then optimal.
        return self.optimal_criterion / criterion if criterion > 0 else 1.0


def mask_rewards(rewards: Array, pool: Pool) -> Array:
    """Set rewards to 0 where the pool has no completion, and make them read-only."""
    return freeze_array(np.where(pool.valid, rewards, 0.0))
