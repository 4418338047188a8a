"""Synthetic worlds with a known optimum, for the log-linear policy.

A world has N prompts with K completions each, features φ in d dimensions, a reward r* = φᵀθ* (plus,
if asked for, a term outside the features), a reference policy over the pool, and Bradley–Terry
labels. DPO is solved exactly, and the suboptimality gap is exact, so only the choice of pairs is
measured.

``pairbench/LogLinear-v1`` has all parameters; the other ids are presets, each of which changes one
mechanism.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BradleyTerry,
    Environment,
    InvalidParameter,
    Pool,
    Truth,
    World,
    make_trainer,
    register_env,
)
from pairbench.training import Trainer
from pairbench.worlds.environment import ADDED_AFTER_PUBLICATION

Array = NDArray[np.float64]


@register_env("pairbench/LogLinear-v1")
@dataclass(frozen=True)
class LogLinear(Environment):
    """The whole family of log-linear worlds; its defaults are ``pairbench/Isotropic-v1``.

    **What this diagnoses.** It depends on the parameters; see the presets.

    **Known optimum.** The design that minimises tr(C(θ*) Σ_w(θ*)⁻¹); its gap after n labels is that
    trace over 2 β n, for large n.

    **Arguments.**

    - ``prompts``, ``held_out_prompts``: numbers of prompts that labels can be bought for, and that
      the policy is scored on.
    - ``completions``: K, for each prompt.
    - ``dim``: d, the number of features.
    - ``reward_scale``: the standard deviation of r* over completions, reward units.
    - ``decay``: a of the feature spectrum, feature k having variance ∝ k^−a; 0 is isotropic.
    - ``duplicates``: the share of each prompt's completions that collapse onto one mode.
    - ``clusters``, ``skew``: prompts fall into clusters that use different features, cluster c
      holding a share ∝ c^−skew of the prompts.
    - ``sharpness``: the standard deviation of log π_ref before normalisation, nats.
    - ``misspecification``: the standard deviation of a part of r* that no feature explains, reward
      units.
    - ``missing``: the share of completions, beyond each prompt's first two, that do not exist.
    - ``score_noise``: if not None, the pool to choose from has external scores (``pool.scores``),
      such as a reward model's: r* plus noise of this standard deviation, reward units. Nothing
      else of the world changes.
    - ``given``: number of a prompt's completions that the pool has initially; the others have to be
      generated. None: all.
    - ``steps``: number of steps of a completion, for annotators that judge steps (``Truth.steps``).
      Rewards of steps are independent given their sum, near-duplicates have nearly the same, and
      nothing else of the world changes; 1 is none.
    - ``beta``: β, reward units per nat.
    - ``ridge``: λ of the fit. Features have E‖φ‖² = 1, so λ is the inverse of the variance that the
      fit expects of rewards; the default is that of the default ``reward_scale``.
    - ``trainer``: how labels are turned into a policy: ``"dpo"``, or a trainer for flipped labels,
      for ties, with a squared loss or with optimism, see :func:`pairbench.make_trainer`. The known
      optimum, predictions and the design efficiency are of ``"dpo"``.

    **Version history.** v1: first.
    """

    prompts: int = 100
    held_out_prompts: int = 200
    completions: int = 8
    dim: int = 16
    reward_scale: float = 2.0
    decay: float = 0.0
    duplicates: float = 0.0
    clusters: int = 1
    skew: float = 0.0
    sharpness: float = 0.5
    misspecification: float = 0.0
    missing: float = 0.0
    score_noise: float | None = None
    given: int | None = field(default=None, metadata=ADDED_AFTER_PUBLICATION)
    beta: float = 1.0
    ridge: float = 0.25
    trainer: str = "dpo"
    steps: int = field(default=1, kw_only=True, metadata=ADDED_AFTER_PUBLICATION)

    def __post_init__(self) -> None:
        for name, least in (
            ("prompts", 1),
            ("held_out_prompts", 1),
            ("completions", 2),
            ("dim", 1),
            ("clusters", 1),
            ("steps", 1),
        ):
            if (value := getattr(self, name)) < least:
                raise InvalidParameter(f"{name} must be {least} or more, got {value}.")
        for name in ("reward_scale", "decay", "skew", "sharpness", "misspecification"):
            if not (np.isfinite(value := getattr(self, name)) and value >= 0):
                raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")
        if self.score_noise is not None and not 0 <= self.score_noise < np.inf:
            raise InvalidParameter(
                "score_noise must be a finite number, 0 or more, or None for a pool without "
                f"scores, got {self.score_noise}."
            )
        if self.given is not None and self.given < 2:
            raise InvalidParameter(
                f"given must be 2 or more, so that there is a pair to compare, got {self.given}."
            )
        for name in ("duplicates", "missing"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InvalidParameter(f"{name} is a share, 0 to 1, got {value}.")
        if self.clusters > self.dim:
            raise InvalidParameter(
                f"each cluster needs a feature of its own: clusters={self.clusters} is more than "
                f"dim={self.dim}."
            )
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise InvalidParameter(f"beta must be positive and finite, got {self.beta}.")
        _ = self.policy_trainer  # raises if the spec is invalid

    @cached_property
    def policy_trainer(self) -> Trainer:
        """The trainer that turns labels into a policy."""
        return make_trainer(self.trainer, self.ridge)

    def parts(self) -> tuple[object, ...]:
        """Return the annotator's stages and the trainer."""
        return (*super().parts(), self.policy_trainer)

    def world(self, seed: int) -> World:
        """Draw θ*, the pool, the held-out pool, the scores' noise and the steps, in this order."""
        rng = np.random.default_rng(seed)
        # Clusters have disjoint blocks of features.
        block = np.arange(self.dim) * self.clusters // self.dim
        # E‖φ‖² = 1 for every prompt, so that under a ridge of λ rewards have prior variance 1/λ.
        scale: Array = np.arange(1.0, self.dim + 1) ** (-self.decay / 2)
        scale /= _block_norm(scale, block)
        theta = rng.normal(size=self.dim)
        theta *= self.reward_scale / _block_norm(theta * scale, block)
        pool, rewards, order = self._pool(rng, self.prompts, scale, theta, block)
        held_out, held_out_rewards, _ = self._pool(rng, self.held_out_prompts, scale, theta, block)
        if self.score_noise is not None:
            noise = self.score_noise * rng.normal(size=rewards.shape)
            pool = pool.with_scores(rewards + noise)
        steps = self._steps(rng, rewards, order) if self.steps > 1 else None
        theta_star = None if self.misspecification else theta
        return World(
            pool=pool,
            held_out=held_out,
            truth=Truth(rewards, held_out_rewards, theta_star, steps),
            oracle=BradleyTerry(rewards, seed),
            trainer=self.policy_trainer,
            beta=self.beta,
            initial_mask=None if self.given is None else pool.valid.cumsum(axis=1) <= self.given,
        )

    def _pool(
        self,
        rng: np.random.Generator,
        n: int,
        scale: Array,
        theta: Array,
        block: NDArray[np.int64],
    ) -> tuple[Pool, Array, NDArray[np.int64]]:
        """Draw a pool, its rewards ``(n, K)`` and the order of its completions ``(n, K)``."""
        shape = (n, self.completions)
        phi = rng.normal(size=(*shape, self.dim)) * scale
        if self.clusters > 1:
            share = np.arange(1, self.clusters + 1) ** -self.skew
            cluster = rng.choice(self.clusters, size=n, p=share / share.sum())
            phi *= (block == cluster[:, None])[:, None, :]
        order = np.tile(np.arange(self.completions), (n, 1))
        if self._copies > 1:
            # In random order, so that the position does not reveal the copies.
            order = rng.permuted(order, axis=1)
            phi = self._copied(phi, order)
        log_ref = self.sharpness * rng.normal(size=shape)
        residual = self.misspecification * rng.normal(size=shape)
        valid = (rng.random(shape) >= self.missing) | (np.arange(self.completions) < 2)
        lengths = rng.integers(20, 200, size=shape)
        pool = Pool(phi, log_ref=log_ref, lengths=lengths, valid=valid)
        return pool, np.where(valid, pool.phi @ theta + residual, 0.0), order

    def _steps(self, rng: np.random.Generator, rewards: Array, order: NDArray[np.int64]) -> Array:
        """Draw rewards of steps, normal given their sum, ``(N, K, steps)``."""
        deviation = np.hypot(self.reward_scale, self.misspecification) / np.sqrt(self.steps)
        parts: Array = deviation * rng.normal(size=(*rewards.shape, self.steps))
        if self._copies > 1:
            parts = self._copied(parts, order)
        parts += (rewards - parts.sum(axis=2))[:, :, None] / self.steps
        return parts

    @property
    def _copies(self) -> int:
        """Number of nearly equal completions of each prompt."""
        return round(self.duplicates * self.completions)

    def _copied(self, values: Array, order: NDArray[np.int64]) -> Array:
        """Make the first values near-copies of one, and reorder all by ``order``, ``(N, K, m)``."""
        copies = self._copies
        values[:, :copies] = values[:, :1] + 0.05 * values[:, :copies]
        copied: Array = np.take_along_axis(values, order[:, :, None], axis=1)
        return copied


def _block_norm(values: Array, block: NDArray[np.int64]) -> Array:
    """Compute the Euclidean norm of each value's block, ``(d,)``."""
    norm: Array = np.sqrt(np.bincount(block, values**2))[block]
    return norm


@register_env("pairbench/Isotropic-v1")
@dataclass(frozen=True)
class Isotropic(LogLinear):
    """Features of equal variance in all directions: the world in which uniform is hardest to beat.

    **What this diagnoses.** Whether a design does worse than uniform by following its estimate
    (best-versus-worst, smallest gap).

    **Known optimum.** Without reward, all directions matter equally, and the best design takes long
    differences: pairs far apart. Given the reward, it takes those orthogonal to θ*, where labels do
    not saturate.
    """


@register_env("pairbench/PowerLaw-v1")
@dataclass(frozen=True)
class PowerLaw(LogLinear):
    """Features whose variance falls as 1/k, as embeddings' do.

    **What this diagnoses.** Whether a design depends on the scale of the features, as distances and
    similarities do: where one direction has sixteen times the variance of another, they depend on
    little but the first.

    **Known optimum.** At θ = 0 and without the ridge, the isotropic world's in rescaled features:
    information in proportion to a direction's variance. Both the trace criterion and log det are
    invariant under a change of basis, so D-optimal designs do the same.
    """

    decay: float = 1.0


@register_env("pairbench/NearDuplicates-v1")
@dataclass(frozen=True)
class NearDuplicates(LogLinear):
    """Prompts of which three quarters of the completions, six of eight, are nearly the same text.

    **What this diagnoses.** Whether a design detects that most pairs carry no information: for
    K = 8, 15 of 28 pairs are within the mode, where uniform spends more than half of its labels.

    **Known optimum.** No label within the mode; the two completions outside it against it, and
    against each other.
    """

    duplicates: float = 0.8


@register_env("pairbench/StrongReward-v1")
@dataclass(frozen=True)
class StrongReward(LogLinear):
    """Rewards so different that most labels are nearly certain.

    **What this diagnoses.** Whether a design accounts for saturation of labels: σ'(Δ) falls as
    exp(−|Δ|), so the longest differences, optimal at θ = 0, have no information. Designs need an
    estimate of θ* here.

    **Known optimum.** Pairs of small |Δ| and large distance: orthogonal to θ*, not along it.
    """

    reward_scale: float = 6.0
    ridge: float = 1 / 36


@register_env("pairbench/SkewedClusters-v1")
@dataclass(frozen=True)
class SkewedClusters(LogLinear):
    """Prompts in four clusters of very different sizes with disjoint sets of features.

    **What this diagnoses.** Whether a design weighs prompts by the information of a label, rather
    than by the size of their cluster: cluster sizes fall as 1/c^1.5. Rewards are half as strong as
    elsewhere, so that labels hardly saturate, which other worlds diagnose.

    **Known optimum.** Labels in proportion to the square root of a cluster's share (at θ = 0, from
    minimising Σ ρ_c a/w_c); uniform spends them in proportion to the share itself.
    """

    clusters: int = 4
    skew: float = 1.5
    reward_scale: float = 1.0


@register_env("pairbench/SharpReference-v1")
@dataclass(frozen=True)
class SharpReference(LogLinear):
    """A reference policy that puts nine tenths of its mass on two completions a prompt, on average.

    **What this diagnoses.** Whether a design uses the reference policy: rewards of completions to
    which both π_ref and π* give no weight do not matter.

    **Known optimum.** The feature covariance C(θ*) under the optimal policy has a small trace and
    unequal eigenvalues; the best design learns the directions that separate each prompt's few
    likely completions, from the pairs that are most informative about these directions.
    """

    sharpness: float = 4.0


@register_env("pairbench/Misspecified-v1")
@dataclass(frozen=True)
class Misspecified(LogLinear):
    """A reward of which a fifth of the variance is not explained by the features.

    **What this diagnoses.** Robustness to a misspecified model: a choice of pairs by the model also
    selects residuals, and the fit converges to another θ than the best one. The score reports the
    floor, the least gap of any log-linear policy, and the excess over it.

    **Known optimum.** None in closed form. Uniform estimates the θ that fits all pairs; a design
    that concentrates on a few pairs estimates the θ that fits those.
    """

    misspecification: float = 1.0


@register_env("pairbench/WidePool-v1")
@dataclass(frozen=True)
class WidePool(LogLinear):
    """Sixty-four completions a prompt and 96 features: at first, fewer labels than unknowns.

    **What this diagnoses.** Behaviour where Σ_w is singular without the prior, and whether a design
    finds the few informative ones among 2,016 pairs a prompt.

    **Known optimum.** As in the isotropic world; with 64 completions there are much longer
    differences than uniform's average one, so designs gain more.
    """

    completions: int = 64
    dim: int = 96
    prompts: int = 50


@register_env("pairbench/GenerateThenLabel-v1")
@dataclass(frozen=True)
class GenerateThenLabel(LogLinear):
    """Completions at a price, as labels: each prompt begins with two of sixty-four.

    **What this diagnoses.** How well a design divides its money between a larger pool, whose best
    pairs are more informative, and more labels (Han, Goyal, Ma 2026, introduction). Policies
    are scored on held-out prompts with all their completions, whatever was generated.

    **Known optimum.** None in closed form. A random design gains from more completions as long as
    it would repeat pairs without them; one that chooses informative pairs gains as the longest of
    K(K − 1)/2 differences does, and pays for K. docs/generate-then-label.md has
    the best K by price.
    """

    prompts: int = 50
    completions: int = 64
    given: int | None = 2
    prices: str = field(default="label=1, completion=0.1", kw_only=True)
    unit: str = field(default="money", kw_only=True)
