"""Stages of annotators: perceptions, choices and replies, applied to each question in this order.

A **perception** changes the perceived difference in reward between the two completions, a
**choice** turns that difference into an answer, and a **reply** changes answers. Each stage is a
frozen dataclass of parameters. Bound by ``on`` to a context, it gives a step: a function of the
questions and of the previous step's output.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pairbench._util.deprecation import warn_renamed
from pairbench.oracles.questions import Questions
from pairbench.pool.pool import CompletionIndex, Pool

Array = NDArray[np.float64]
Step = Callable[[Questions, Array], Array]
"""Maps differences to differences, differences to answers, or answers to answers; all ``(n,)``."""
PerceivedDifference = Callable[[Questions], Array]
"""Perceived reward of the first completion less that of the second, ``(n,)`` reward units."""


@dataclass(frozen=True, eq=False)
class AnnotatorContext:
    """The data of a world that an annotator may use, and a random stream.

    Attributes:
        pool: the prompts and completions.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        steps: r* by step, ``(n_prompts, n_completions, steps)``, None if the world has no steps.
        seed: the world's seed.
        stream: spawn key that separates this random stream from others of the same seed.
    """

    pool: Pool
    rewards: Array
    steps: Array | None
    seed: int
    stream: tuple[int, ...] = ()

    def substream(self, name: str, index: int = 0) -> Self:
        """Return a copy whose random stream belongs to a stage.

        Args:
            name: the stage's name.
            index: the number of stages of that name that come before it in the chain.
        """
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        return replace(self, stream=(*self.stream, number, index))

    def draw_bernoulli(self, questions: Questions, p: Array | float) -> Array:
        """Draw 1 with probability p, else 0, ``(n,)``; see :meth:`Questions.draw_bernoulli`."""
        return questions.draw_bernoulli(p, self.seed, self.stream)

    def chance(self, questions: Questions, p: Array | float) -> Array:
        """Call :meth:`draw_bernoulli`, the new name of this method."""
        warn_renamed("AnnotatorContext.chance", "AnnotatorContext.draw_bernoulli")
        return self.draw_bernoulli(questions, p)

    def rng(self) -> np.random.Generator:
        """Return a generator for parameters that are drawn once per world."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=self.stream))


@dataclass(frozen=True)
class Stage(ABC):
    """One stage of an annotator; its fields are its parameters."""

    kind: ClassVar[str]

    def data_digest(self) -> str | None:
        """Return the SHA-256 of the file or model that the stage reads, None if it reads none."""
        return None

    def rows(self, pool: Pool) -> CompletionIndex | None:
        """Return the pool of completions that the stage can compare; None if it can compare all.

        Args:
            pool: the environment's pool, whose completions are regrouped.
        """
        return None


@dataclass(frozen=True)
class Perception(Stage):
    """A stage that changes the perceived difference in reward."""

    kind: ClassVar[str] = "perception"
    replaces: ClassVar[bool] = False
    """Whether the stage replaces the true reward, as at most one stage of a chain may."""

    @abstractmethod
    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that maps perceived differences to new ones, ``(n,)`` reward units.

        Args:
            context: the world, with the stage's own random stream.
        """


@dataclass(frozen=True)
class Choice(Stage):
    """A stage that turns the perceived difference into an answer."""

    kind: ClassVar[str] = "choice"
    perceives: ClassVar[bool] = True
    """Whether the answer depends on the perceived difference."""

    @abstractmethod
    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step that maps perceived differences, ``(n,)`` reward units, to answers.

        Args:
            context: the world, with the world's own random stream, so that all choices share common
                random numbers.
            perceived: the perceived difference after all perceptions.
        """


@dataclass(frozen=True)
class Reply(Stage):
    """A stage that changes answers; a missing answer (NaN) stays missing."""

    kind: ClassVar[str] = "reply"

    @abstractmethod
    def on(self, context: AnnotatorContext) -> Step:
        """Return the step that maps answers, ``(n,)``, to answers.

        Args:
            context: the world, with the stage's own random stream.
        """
