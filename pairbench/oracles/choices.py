"""Choices: what a perceived difference Δ makes of the answer.

The random ones throw one coin for each question, the world's own, so that any two of them answer
alike wherever their probabilities allow it.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, stdtr

from pairbench.errors import InvalidParameter
from pairbench.oracles.calibration import calibrated_temperature
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import (
    Array,
    Choice,
    Perceived,
    Scene,
    Step,
    check_positive,
)


@dataclass(frozen=True)
class RandomChoice(Choice):
    """The first is preferred with a probability that grows with Δ/T.

    Attributes:
        temperature: T, reward units.
        agreement: given in place of T: the share of the pool's pairs in which the choice is to
            agree with the order of the true rewards, on average, over ½; see
            :func:`pairbench.oracles.calibration.calibrated_temperature`.
    """

    temperature: float = 1.0
    agreement: float | None = None

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        if self.agreement is None:
            return
        if not 0.5 < self.agreement < 1:
            raise InvalidParameter(
                "agreement must be more than 0.5, which is chance, and less than 1, which is "
                f"'deterministic'; got {self.agreement}."
            )
        if self.temperature != RandomChoice.temperature:
            raise InvalidParameter(
                f"agreement={self.agreement} sets the temperature, and so does "
                f"temperature={self.temperature}. Give one of them."
            )

    @abstractmethod
    def win(self, ratio: Array) -> Array:
        """The probability that the first is preferred, of Δ/T, ``(n,)``."""

    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """See :class:`pairbench.oracles.stages.Choice`."""
        temperature = self.temperature
        if self.agreement is not None:
            temperature = calibrated_temperature(self.win, scene, perceived, self.agreement)

        def choose(asked: Questions, delta: Array) -> Array:
            p = self.win(asked.turned(delta) / temperature)
            return asked.compare(p, scene.seed, scene.stream)

        return choose


@dataclass(frozen=True)
class LogisticChoice(RandomChoice):
    """The first is preferred with probability σ(Δ/T).

    Source: Bradley and Terry 1952, "Rank analysis of incomplete block designs".
    """

    def win(self, ratio: Array) -> Array:
        """σ(Δ/T)."""
        p: Array = expit(ratio)
        return p


@dataclass(frozen=True)
class Thurstone(RandomChoice):
    """The first is preferred with probability Φ(Δ/(T√2)): each seems as good as it is, plus noise.

    T is the standard deviation of the normal noise of each of the two completions.

    Source: Thurstone 1927, "A law of comparative judgment", case V.
    """

    def win(self, ratio: Array) -> Array:
        """Φ(Δ/(T√2))."""
        p: Array = ndtr(ratio / np.sqrt(2))
        return p


@dataclass(frozen=True)
class HeavyTailed(RandomChoice):
    """The first is preferred where Δ exceeds noise of heavy tails: large differences are missed.

    The probability is F(Δ/T), F the distribution function of Student's t. However large Δ, the
    probability of an error falls only as Δ to the power −df, where that of ``bradley-terry`` falls
    exponentially.

    Attributes:
        df: degrees of freedom; 1 is Cauchy's distribution, ∞ would be the normal one.
    """

    df: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("df", self.df)

    def win(self, ratio: Array) -> Array:
        """F(Δ/T)."""
        p: Array = stdtr(self.df, ratio)
        return p


@dataclass(frozen=True)
class Deterministic(Choice):
    """The one that seems better is preferred, always; ½ where neither does."""

    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """See :class:`pairbench.oracles.stages.Choice`."""
        return lambda asked, delta: (1 + np.sign(delta)) / 2
