"""Perceptions: by how much the first completion seems better than the second.

All of these add something to the difference Δ in true reward, so that their order does not matter.
"""

from dataclasses import dataclass

import numpy as np

from pairbench.errors import InvalidParameter
from pairbench.features import standardised
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import (
    Array,
    Perception,
    Scene,
    Step,
    check_finite,
    check_positive,
    check_share,
)
from pairbench.pool import Pool


@dataclass(frozen=True)
class PositionBias(Perception):
    """The one that is shown first seems better.

    Which of the two a design puts first then matters, and swapping them does not just turn the
    answer.

    Attributes:
        weight: by how much, reward units; less than 0 favours the second.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite("weight", self.weight)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        return lambda asked, delta: delta + self.weight


@dataclass(frozen=True)
class LengthBias(Perception):
    """Longer completions seem better.

    Added is weight × the difference in log(1 + tokens), in standard deviations within prompts.

    Attributes:
        weight: reward units per standard deviation; less than 0 favours short ones.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite("weight", self.weight)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        return _tasting(self.weight * in_deviations(np.log1p(scene.pool.lengths), scene.pool))


@dataclass(frozen=True)
class Sycophancy(Perception):
    """What the reference policy would say seems better: people like what they are used to.

    Added is weight × the difference in log π_ref.

    Attributes:
        weight: reward units per nat; less than 0 favours what is new.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite("weight", self.weight)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        pool = scene.pool
        return _tasting(self.weight * np.where(pool.valid, pool.log_ref, 0.0))


@dataclass(frozen=True)
class Myopic(Perception):
    """Early steps count less than late ones.

    Step s of S counts γ^(S−s), the last one fully. The environment has to give rewards by step.

    Attributes:
        gamma: γ, 0 to 1; 1 is no discount.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    gamma: float = 0.9

    def __post_init__(self) -> None:
        check_share("gamma", self.gamma)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        if scene.steps is None:
            raise InvalidParameter(
                "annotator 'myopic' weighs rewards by step, and this world has none. Take an "
                "environment whose Truth has steps; where it has a parameter for them, such as "
                "steps=10, give that."
            )
        steps = scene.steps.shape[2]
        return _tasting(scene.steps @ (self.gamma ** np.arange(steps - 1, -1, -1) - 1))


@dataclass(frozen=True)
class Intransitive(Perception):
    """Preferences go round in circles: A seems better than B, B than C, and C than A.

    Added is a cyclic part c, within each prompt c_ij = −c_ji and Σ_j c_ij = 0: over the pairs of a
    prompt it is orthogonal to every difference of rewards, so that no reward explains any of it.
    Each prompt's completions are drawn as points (u, v) of a plane, centred and made orthonormal,
    and c_ij is in proportion to u_i v_j − v_i u_j. Prompts of two completions have no circles.

    Attributes:
        strength: the root mean square of c over the pairs of each prompt, reward units.

    Source: Jiang, Lim, Yao and Ye 2011, "Statistical ranking and combinatorial Hodge theory", for
        the decomposition; Balduzzi et al. 2019, "Open-ended learning in symmetric zero-sum games",
        for the disc game.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_finite("strength", self.strength)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        u, v = _circles(scene)
        u = self.strength * u

        def go_round(asked: Questions, delta: Array) -> Array:
            prompt, i, j = asked.pairs.T
            seems: Array = delta + (u[prompt, i] * v[prompt, j] - v[prompt, i] * u[prompt, j])
            return seems

        return go_round


@dataclass(frozen=True)
class Drift(Perception):
    """Taste swings about the true rewards while labels are bought.

    Added is size · sin(2π t/period) × the difference in φᵀw, t being the labels bought before the
    question, and w a random direction of the features in which completions of a prompt have a
    standard deviation of 1. Over whole periods the mean taste is the true one; a period much longer
    than the budget makes a steady drift of size · 2π/period reward units a label.

    Attributes:
        size: how far it swings, reward units.
        period: labels that a whole swing takes, there and back.
    """

    size: float = 1.0
    period: float = 400.0

    def __post_init__(self) -> None:
        check_finite("size", self.size)
        check_positive("period", self.period)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Perception`."""
        direction = scene.rng().normal(size=scene.pool.dim)
        taste = self.size * in_deviations(scene.pool.project(direction), scene.pool)

        def drift(asked: Questions, delta: Array) -> Array:
            if asked.time is None:
                return delta
            swing: Array = np.sin(2 * np.pi * asked.time / self.period)
            return delta + swing * asked.difference(taste)

        return drift


def _tasting(extra: Array) -> Step:
    """Every completion seems better by something, ``(N, K)`` reward units."""
    return lambda asked, delta: delta + asked.difference(extra)


def in_deviations(values: Array, pool: Pool) -> Array:
    """Values ``(N, K)``, centred within prompts, in units of their standard deviation there."""
    unit: Array = standardised(values[:, :, None], pool.valid)[:, :, 0]
    return unit


def _circles(scene: Scene) -> tuple[Array, Array]:
    """The points of a plane whose cross products are cyclic, of root mean square 1."""
    valid = scene.pool.valid
    n = valid.sum(axis=1, keepdims=True)
    u, v = np.where(valid, scene.rng().normal(size=(2, *valid.shape)), 0.0)
    u, v = (np.where(valid, x - x.sum(axis=1, keepdims=True) / n, 0.0) for x in (u, v))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v -= np.sum(u * v, axis=1, keepdims=True) * u
    # Of orthonormal u and v, the squares of the cross products of all pairs sum to 1. Two points
    # that are centred lie on a line through 0.
    length = np.linalg.norm(v, axis=1, keepdims=True)
    scale = np.where(n > 2, np.sqrt(n * (n - 1) / 2) / np.where(n > 2, length, 1.0), 0.0)
    return u, scale * v
