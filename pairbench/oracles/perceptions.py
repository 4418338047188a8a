"""Perceptions: biases in the perceived difference between the two completions.

Each adds a term to the difference Δ in true reward, so that their order does not matter.
"""

from dataclasses import dataclass

import numpy as np

from pairbench._util.checks import check_between, check_finite, check_positive
from pairbench.errors import InvalidParameter
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, Perception, Step
from pairbench.pool.features import standardise
from pairbench.pool.pool import Pool


@dataclass(frozen=True)
class PositionBias(Perception):
    """Position bias: the completion presented first seems better.

    The order in which a design presents a pair then matters: exchanging the two does not merely
    reverse the answer.

    Attributes:
        weight: added to Δ, reward units; a negative value favours the second.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite(weight=self.weight)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that adds the weight."""
        return lambda questions, delta: delta + self.weight


@dataclass(frozen=True)
class LengthBias(Perception):
    """Length bias: longer completions seem better.

    Adds weight × the difference in log(1 + tokens), in standard deviations within prompts.

    Attributes:
        weight: reward units per standard deviation; a negative value favours short completions.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite(weight=self.weight)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that adds the weighted difference in length."""
        return _add_bonus(
            self.weight * standardise_within_prompts(np.log1p(context.pool.lengths), context.pool)
        )


@dataclass(frozen=True)
class Sycophancy(Perception):
    """Familiarity bias: completions that are more likely under the reference policy seem better.

    Adds weight × the difference in log π_ref. Sycophancy proper, agreement with the user's stated
    view, is not modelled.

    Attributes:
        weight: reward units per nat; a negative value favours unlikely completions.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        check_finite(weight=self.weight)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that adds the weighted difference in log π_ref."""
        pool = context.pool
        return _add_bonus(self.weight * np.where(pool.valid, pool.log_ref, 0.0))


@dataclass(frozen=True)
class Myopic(Perception):
    """Recency bias: early steps of a completion count less than late ones.

    The reward of step s of S, a step of reasoning or of a trajectory, is discounted by γ^(S−s), so
    that the last one counts fully. The environment has to have rewards by step.

    Attributes:
        gamma: γ, 0 to 1; 1 is no discount.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    gamma: float = 0.9

    def __post_init__(self) -> None:
        check_between(0, 1, gamma=self.gamma)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that replaces the sum of step rewards by their discounted sum.

        Raises:
            InvalidParameter: If the world has no rewards by step.
        """
        if context.steps is None:
            raise InvalidParameter(
                "annotator 'myopic' weighs rewards by step, and this world has none. Take an "
                "environment whose Truth has steps; where it has a parameter for them, such as "
                "steps=10, set that."
            )
        n_steps = context.steps.shape[2]
        return _add_bonus(context.steps @ (self.gamma ** np.arange(n_steps - 1, -1, -1) - 1))


@dataclass(frozen=True)
class Intransitive(Perception):
    """Cyclic preferences: A seems better than B, B than C, and C than A.

    Adds a cyclic part c, within each prompt c_ij = −c_ji and Σ_j c_ij = 0: over the pairs of a
    prompt it is orthogonal to every difference of rewards, so that no reward explains any of it.
    Each prompt's completions are random points (u, v) of a plane, centred and made orthonormal,
    and c_ij is proportional to u_i v_j − v_i u_j. Prompts of two completions have no cycles.

    Attributes:
        strength: the root mean square of c over the pairs of each prompt, reward units.

    Source: Jiang, Lim, Yao and Ye 2011, "Statistical ranking and combinatorial Hodge theory", for
        the decomposition; Balduzzi et al. 2019, "Open-ended learning in symmetric zero-sum games",
        for the disc game.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_finite(strength=self.strength)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that adds the cyclic part."""
        u, v = _disc_game(context)
        u = self.strength * u

        def add_cycles(questions: Questions, delta: Array) -> Array:
            prompt, i, j = questions.pairs.T
            perceived: Array = delta + (u[prompt, i] * v[prompt, j] - v[prompt, i] * u[prompt, j])
            return perceived

        return add_cycles


@dataclass(frozen=True)
class Drift(Perception):
    """Drifting preferences: they oscillate about the true rewards while labels are bought.

    Adds size · sin(2π t/period) × the difference in φᵀw, t being the labels bought before the
    question, and w a random direction of the features in which completions of a prompt have a
    standard deviation of 1. Over whole periods the mean preference is the true one; a period much
    longer than the budget makes a steady drift of size · 2π/period reward units per label.

    Attributes:
        size: amplitude of the oscillation, reward units.
        period: length of one oscillation, labels.
    """

    size: float = 1.0
    period: float = 400.0

    def __post_init__(self) -> None:
        check_finite(size=self.size)
        check_positive(period=self.period)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that adds the drift at the questions' times."""
        direction = context.rng().normal(size=context.pool.dim)
        amplitude = self.size * standardise_within_prompts(
            context.pool.project(direction), context.pool
        )

        def drift(questions: Questions, delta: Array) -> Array:
            if questions.time is None:
                return delta
            phase: Array = np.sin(2 * np.pi * questions.time / self.period)
            return delta + phase * questions.difference(amplitude)

        return drift


def _add_bonus(bonus: Array) -> Step:
    """Return the step that adds a bonus, ``(N, K)`` reward units, to each completion's reward."""
    return lambda questions, delta: delta + questions.difference(bonus)


def standardise_within_prompts(values: Array, pool: Pool) -> Array:
    """Standardise values, ``(N, K)``, within prompts: centred, in units of standard deviations.

    The standard deviation is over all completions, after centring.
    """
    standard: Array = standardise(values[:, :, None], pool.valid)[:, :, 0]
    return standard


def _disc_game(context: AnnotatorContext) -> tuple[Array, Array]:
    """Draw points of a plane, ``(N, K)`` each, whose cross products are cyclic, of RMS 1."""
    valid = context.pool.valid
    n = valid.sum(axis=1, keepdims=True)
    u, v = np.where(valid, context.rng().normal(size=(2, *valid.shape)), 0.0)
    u, v = (np.where(valid, x - x.sum(axis=1, keepdims=True) / n, 0.0) for x in (u, v))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v -= np.sum(u * v, axis=1, keepdims=True) * u
    # If u and v are orthonormal, the squared cross products of all pairs sum to 1. Two centred
    # points lie on a line through 0, so that v is 0.
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    scale = np.where(n > 2, np.sqrt(n * (n - 1) / 2) / np.where(n > 2, norm, 1.0), 0.0)
    return u, scale * v
