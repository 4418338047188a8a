"""Replies: what becomes of an answer once it is chosen."""

from dataclasses import dataclass

import numpy as np

from pairbench.errors import InvalidParameter
from pairbench.oracles.counter import uniforms
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import Array, Reply, Scene, Step, check_share


@dataclass(frozen=True)
class Mistake(Reply):
    """Some answers are the opposite of what was chosen, another time than the next.

    Asking again averages mistakes out.

    Attributes:
        rate: the probability of a mistake.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        check_share("rate", self.rate)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Reply`."""

        def err(asked: Questions, answers: Array) -> Array:
            return answers + scene.chance(asked, self.rate) * (1 - 2 * answers)

        return err


@dataclass(frozen=True)
class Adversary(Reply):
    """Every answer about some of the prompts is the opposite of what was chosen.

    As if these prompts had gone to one who answers wrongly on purpose: unlike a ``mistake``, asking
    again brings the same wrong answer, and nothing averages it out.

    Attributes:
        fraction: the share of prompts, on average.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Reply`."""
        counter = np.zeros((scene.pool.n_prompts, 4), dtype=np.int64)
        counter[:, 0] = np.arange(len(counter))
        hostile = uniforms(scene.seed, counter, scene.stream) < self.fraction

        def oppose(asked: Questions, answers: Array) -> Array:
            return np.where(hostile[asked.pairs[:, 0]], 1 - answers, answers)

        return oppose


@dataclass(frozen=True)
class _Threshold(Reply):
    """A reply that depends on the true rewards and a threshold.

    Attributes:
        epsilon: the threshold, as a share of how much better than its prompt's worst a completion
            of π_ref is on average.
        threshold: given in place of epsilon: the threshold itself, reward units.
    """

    epsilon: float = 0.1
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("epsilon", "threshold"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")
        if self.threshold is not None and self.epsilon != _Threshold.epsilon:
            raise InvalidParameter(
                f"threshold={self.threshold} takes the place of epsilon={self.epsilon}. "
                "Give one of them."
            )

    def _threshold(self, scene: Scene) -> float:
        """The threshold, reward units."""
        if self.threshold is not None:
            return self.threshold
        pool = scene.pool
        mean = np.sum(np.exp(pool.log_ref) * _above_worst(scene), axis=1)
        return self.epsilon * float(pool.prompt_weights @ mean)


@dataclass(frozen=True)
class Skip(_Threshold):
    """There is no answer where neither completion is any good.

    That is where neither is better than its prompt's worst by more than a threshold. The label is
    paid for all the same.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Reply`."""
        threshold = self._threshold(scene)
        # As there, a threshold of 0 skips nothing.
        poor = (_above_worst(scene) <= threshold) & (threshold > 0)

        def skip(asked: Questions, answers: Array) -> Array:
            prompt, first, second = asked.pairs.T
            return np.where(poor[prompt, first] & poor[prompt, second], np.nan, answers)

        return skip


@dataclass(frozen=True)
class Equal(_Threshold):
    """The answer is ½ where true rewards differ by less than a threshold.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    def on(self, scene: Scene) -> Step:
        """See :class:`pairbench.oracles.stages.Reply`."""
        threshold = self._threshold(scene)

        def level(asked: Questions, answers: Array) -> Array:
            alike = np.abs(asked.difference(scene.rewards)) < threshold
            return np.where(alike & ~np.isnan(answers), 0.5, answers)

        return level


def _above_worst(scene: Scene) -> Array:
    """By how much each completion is better than the worst of its prompt, ``(N, K)``."""
    worst = np.where(scene.pool.valid, scene.rewards, np.inf).min(axis=1, keepdims=True)
    above: Array = np.where(scene.pool.valid, scene.rewards - worst, 0.0)
    return above
