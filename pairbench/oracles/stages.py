"""What annotators are made of: stages that one question after the other goes through.

A **perception** changes by how much the first completion seems better than the second, a **choice**
turns that into an answer, and a **reply** changes answers. Each is a frozen dataclass of parameters
that, set on a scene, gives a step: a function of the questions and of what came out of the step
before.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.oracles.questions import Questions
from pairbench.pool import Pool, Rows

Array = NDArray[np.float64]
Step = Callable[[Questions, Array], Array]
"""Differences in, differences or answers out; or answers in, answers out; all ``(n,)``."""
Perceived = Callable[[Questions], Array]
"""By how much the first seems better than the second, ``(n,)`` reward units."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What an annotator may go by: all there is of a world, and random numbers of its own.

    Attributes:
        pool: the prompts and completions.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        steps: r* by step, ``(n_prompts, n_completions, steps)``, where it is known.
        seed: the world's.
        stream: what tells these random numbers from others of the same seed.
    """

    pool: Pool
    rewards: Array
    steps: Array | None
    seed: int
    stream: tuple[int, ...] = ()

    def within(self, name: str, place: int = 0) -> "Scene":
        """The same scene with random numbers that belong to a name, and a place among equals."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        return replace(self, stream=(*self.stream, number, place))

    def chance(self, asked: Questions, p: Array | float) -> Array:
        """1 with probability p, else 0, ``(n,)``; see :meth:`Questions.chance`."""
        return asked.chance(p, self.seed, self.stream)

    def rng(self) -> np.random.Generator:
        """For what is drawn once for the whole world."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=self.stream))


@dataclass(frozen=True)
class Stage(ABC):
    """One stage of an annotator; its fields are its parameters."""

    kind: ClassVar[str]

    def data_digest(self) -> str | None:
        """SHA-256 of the file or model that it reads, None where there is none."""
        return None

    def rows(self, pool: Pool) -> Rows | None:
        """Which completions it can compare, as the rows of another pool; None if it can all."""
        return None


@dataclass(frozen=True)
class Perception(Stage):
    """Changes the perceived difference in reward."""

    kind: ClassVar[str] = "perception"
    replaces: ClassVar[bool] = False
    """Whether it puts something else in the true reward's place, as one stage alone can."""

    @abstractmethod
    def on(self, scene: Scene) -> Step:
        """The step from perceived differences, ``(n,)`` reward units, to others."""


@dataclass(frozen=True)
class Choice(Stage):
    """Turns the perceived difference into an answer."""

    kind: ClassVar[str] = "choice"
    perceives: ClassVar[bool] = True
    """Whether the answer depends on what is perceived."""

    @abstractmethod
    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """The step from perceived differences, ``(n,)`` reward units, to answers.

        Args:
            scene: the world, with the world's own coin, so that the same questions meet the same
                luck whatever the choice is.
            perceived: what all perceptions make of a question.
        """


@dataclass(frozen=True)
class Reply(Stage):
    """Changes answers; no answer (NaN) stays none."""

    kind: ClassVar[str] = "reply"

    @abstractmethod
    def on(self, scene: Scene) -> Step:
        """The step from answers, ``(n,)``, to others."""


def check_share(name: str, value: float) -> None:
    """Say so where a probability or a share is none.

    Raises:
        InvalidParameter: If it is outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise InvalidParameter(f"{name} must be between 0 and 1, got {value}.")


def check_finite(name: str, value: float) -> None:
    """Say so where a number is infinite or none.

    Raises:
        InvalidParameter: If it is.
    """
    if not np.isfinite(value):
        raise InvalidParameter(f"{name} must be a finite number, got {value}.")


def check_positive(name: str, value: float) -> None:
    """Say so where a number is not positive and finite.

    Raises:
        InvalidParameter: If it is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise InvalidParameter(f"{name} must be positive and finite, got {value}.")
