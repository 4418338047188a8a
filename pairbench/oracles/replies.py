"""Replies: changes to an answer after it was chosen."""

from dataclasses import dataclass

import numpy as np

from pairbench._util.checks import check_between, check_nonnegative
from pairbench._util.counter import uniforms
from pairbench.errors import InvalidParameter
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, Reply, Step


@dataclass(frozen=True)
class Mistake(Reply):
    """Random mistakes: some answers are reversed, independently each time a pair is asked.

    Repeated labels average out the mistakes.

    Attributes:
        rate: the probability of a mistake.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        check_between(0, 1, rate=self.rate)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that reverses random answers."""

        def reverse_some(questions: Questions, answers: Array) -> Array:
            return answers + context.draw_bernoulli(questions, self.rate) * (1 - 2 * answers)

        return reverse_some


@dataclass(frozen=True)
class Adversary(Reply):
    """Adversarial prompts: every answer about some of the prompts is reversed.

    It is as if an adversary labelled these prompts: unlike with ``mistake``, repeated labels do not
    average out the errors.

    Attributes:
        fraction: the expected share of prompts.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        check_between(0, 1, fraction=self.fraction)

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that reverses the answers about the adversarial prompts."""
        counter = np.zeros((context.pool.n_prompts, 4), dtype=np.int64)
        counter[:, 0] = np.arange(len(counter))
        adversarial = uniforms(context.seed, counter, context.stream) < self.fraction

        def reverse_adversarial(questions: Questions, answers: Array) -> Array:
            return np.where(adversarial[questions.pairs[:, 0]], 1 - answers, answers)

        return reverse_adversarial


@dataclass(frozen=True)
class _Threshold(Reply):
    """A reply that depends on the true rewards and a threshold.

    Attributes:
        epsilon: the threshold as a share of the mean advantage, under π_ref, of a completion over
            its prompt's worst.
        threshold: in place of epsilon, the threshold itself, reward units.
    """

    epsilon: float = 0.1
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_nonnegative(epsilon=self.epsilon)
        if self.threshold is None:
            return
        check_nonnegative(threshold=self.threshold)
        if self.epsilon != _Threshold.epsilon:
            raise InvalidParameter(
                f"threshold={self.threshold} takes the place of epsilon={self.epsilon}. "
                "Give one of them."
            )

    def _threshold(self, context: AnnotatorContext) -> float:
        """Compute the threshold, reward units."""
        if self.threshold is not None:
            return self.threshold
        pool = context.pool
        mean = np.sum(np.exp(pool.log_ref) * _above_worst(context), axis=1)
        return self.epsilon * float(pool.prompt_weights @ mean)


@dataclass(frozen=True)
class Skip(_Threshold):
    """Skipped questions: there is no answer where both completions are poor.

    A completion is poor if it is better than its prompt's worst by no more than a threshold. The
    label is paid for all the same.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that removes the answers about two poor completions."""
        threshold = self._threshold(context)
        # As in B-Pref, a threshold of 0 skips nothing.
        poor = (_above_worst(context) <= threshold) & (threshold > 0)

        def skip(questions: Questions, answers: Array) -> Array:
            prompt, first, second = questions.pairs.T
            return np.where(poor[prompt, first] & poor[prompt, second], np.nan, answers)

        return skip


@dataclass(frozen=True)
class Equal(_Threshold):
    """Ties: the answer is ½ where true rewards differ by less than a threshold.

    Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based
        Reinforcement Learning", arXiv 2111.03026.
    """

    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that answers ½ where the true rewards are close."""
        threshold = self._threshold(context)

        def tie(questions: Questions, answers: Array) -> Array:
            close = np.abs(questions.difference(context.rewards)) < threshold
            return np.where(close & ~np.isnan(answers), 0.5, answers)

        return tie


def _above_worst(context: AnnotatorContext) -> Array:
    """Compute each completion's reward less the lowest of its prompt, ``(N, K)``."""
    worst = np.where(context.pool.valid, context.rewards, np.inf).min(axis=1, keepdims=True)
    above: Array = np.where(context.pool.valid, context.rewards - worst, 0.0)
    return above
