"""Choices: answers as a function of the perceived difference Δ.

Random choices all draw from the world's own random stream, one number for each question. With
these common random numbers two choices differ only where their probabilities do.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, stdtr

from pairbench._util.checks import check_positive
from pairbench.errors import InvalidParameter
from pairbench.oracles.calibration import calibrate_temperature
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, Choice, PerceivedDifference, Step


@dataclass(frozen=True)
class RandomChoice(Choice):
    """A choice that prefers the first with a probability that increases with Δ/T.

    Attributes:
        temperature: T, reward units.
        agreement: in place of T, the share of the pool's pairs in which the choice agrees with the
            order of the true rewards, on average, over ½; see
            :func:`pairbench.oracles.calibration.calibrate_temperature`.
    """

    temperature: float = 1.0
    agreement: float | None = None

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
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
        """Compute the probability that the first is preferred from Δ/T, ``(n,)``."""

    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step that draws answers at the temperature, calibrating it if asked to."""
        temperature = self.temperature
        if self.agreement is not None:
            temperature = calibrate_temperature(self.win, context, perceived, self.agreement)

        def choose(questions: Questions, delta: Array) -> Array:
            p = self.win(questions.orient(delta) / temperature)
            return questions.compare(p, context.seed, context.stream)

        return choose


@dataclass(frozen=True)
class LogisticChoice(RandomChoice):
    """Logistic choice: the first is preferred with probability σ(Δ/T).

    Source: Bradley and Terry 1952, "Rank analysis of incomplete block designs".
    """

    def win(self, ratio: Array) -> Array:
        """Compute σ(Δ/T)."""
        p: Array = expit(ratio)
        return p


@dataclass(frozen=True)
class Thurstone(RandomChoice):
    """Probit choice: the first is preferred with probability Φ(Δ/(T√2)).

    Each completion's perceived reward has normal noise of standard deviation T, and the larger one
    is preferred.

    Source: Thurstone 1927, "A law of comparative judgment", case V.
    """

    def win(self, ratio: Array) -> Array:
        """Compute Φ(Δ/(T√2))."""
        p: Array = ndtr(ratio / np.sqrt(2))
        return p


@dataclass(frozen=True)
class HeavyTailed(RandomChoice):
    """Choice under heavy-tailed noise: even large differences are sometimes missed.

    The first is preferred with probability F(Δ/T), F the distribution function of Student's t. As
    Δ grows, the probability of an error falls only as Δ to the power −df; that of ``bradley-terry``
    falls exponentially.

    Attributes:
        df: degrees of freedom; 1 is the Cauchy distribution, and the limit ∞ the normal one.
    """

    df: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(df=self.df)

    def win(self, ratio: Array) -> Array:
        """Compute F(Δ/T)."""
        p: Array = stdtr(self.df, ratio)
        return p


@dataclass(frozen=True)
class Deterministic(Choice):
    """Noise-free choice: the completion that seems better is preferred; ½ if they seem equal."""

    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step from the sign of Δ to 1, ½ or 0."""
        return lambda questions, delta: (1 + np.sign(delta)) / 2
