"""A crowd of annotators that differ in reliability and taste; several answer each question."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench._util.checks import (
    check_at_least,
    check_between,
    check_nonnegative,
    check_positive,
)
from pairbench._util.counter import uniforms
from pairbench.errors import InvalidParameter
from pairbench.oracles.panels import Panel, Voters
from pairbench.oracles.perceptions import standardise_within_prompts
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, PerceivedDifference, Step


class CrowdTraits(NamedTuple):
    """Parameters of the annotators of a crowd.

    Attributes:
        reliability: ρ, ``(annotators,)``.
        group: index of each annotator's group, ``(annotators,)``.
        taste: φᵀw of each group, ``(tastes, n_prompts, n_completions)`` reward units.
    """

    reliability: Array
    group: NDArray[np.int64]
    taste: Array


@dataclass(frozen=True)
class Crowd(Panel):
    """Crowd: each vote comes from a different annotator, drawn from a set of them.

    Annotator a judges a pair with probability ρ_a and guesses otherwise. A judgement prefers the
    first with probability σ((Δ + Δ_g)/T), where Δ is the perceived difference, and Δ_g the
    difference in the taste φᵀw_g that all annotators of group g share.

    Attributes:
        votes: how many annotators answer each question; all of them different.
        annotators: size of the crowd.
        reliability: bounds of ρ_a, which is drawn uniformly between them for each annotator.
        temperature: T, reward units.
        tastes: the number of groups, of sizes as equal as possible.
        deviation: the standard deviation of φᵀw_g over completions of a prompt, reward units; w_g
            is a random direction of the features.
    """

    votes: int = 3
    annotators: int = 30
    reliability: tuple[float, float] = (0.5, 1.0)
    temperature: float = 1.0
    tastes: int = 1
    deviation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, votes=self.votes, annotators=self.annotators, tastes=self.tastes)
        for name in ("votes", "tastes"):
            if (value := getattr(self, name)) > self.annotators:
                raise InvalidParameter(
                    f"{name} must be at most {self.annotators}, the number of annotators, "
                    f"got {value}."
                )
        for bound in self.reliability:
            check_between(0, 1, **{"each bound of reliability": bound})
        if self.reliability[0] > self.reliability[1]:
            raise InvalidParameter(
                f"reliability must be its least value and its greatest, got {self.reliability}."
            )
        check_positive(temperature=self.temperature)
        check_nonnegative(deviation=self.deviation)

    @property
    def size(self) -> int:
        """The number of votes per question."""
        return self.votes

    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step that draws the answers of each question's annotators."""
        people, voters = self.sample_traits(context), self.voters(context)

        def choose(questions: Questions, delta: Array) -> Array:
            voter = voters(questions)
            prompt, first, second = questions.pairs.T
            group, reliability = people.group[voter], people.reliability[voter]
            taste = people.taste[group, prompt, first] - people.taste[group, prompt, second]
            p = expit(questions.orient(delta + taste) / self.temperature)
            p = reliability * p + (1 - reliability) / 2
            return questions.compare(p, context.seed, context.stream)

        return choose

    def voters(self, context: AnnotatorContext) -> Voters:
        """Return the function that draws annotators; votes on one question have different ones."""
        random = context.substream("crowd")

        def draw_voters(questions: Questions) -> NDArray[np.int64]:
            # The first of a random order of all annotators (Fisher and Yates): vote v is by one of
            # those not drawn before, numbered without those that were.
            previous = np.empty((len(questions.pairs), 0), dtype=np.int64)
            for vote in range(questions.vote + 1):
                u = uniforms(random.seed, questions.counter, (*random.stream, vote))
                voter = (u * (self.annotators - vote)).astype(np.int64)
                for earlier in previous.T:
                    voter += voter >= earlier
                previous = np.sort(np.column_stack([previous, voter]), axis=1)
            return voter

        return draw_voters

    def sample_traits(self, context: AnnotatorContext) -> CrowdTraits:
        """Draw the parameters of all annotators.

        Args:
            context: the world, with the world's own random stream.
        """
        rng = context.substream("crowd").rng()
        reliability = rng.uniform(*self.reliability, size=self.annotators)
        group = rng.permutation(np.arange(self.annotators) % self.tastes)
        projected = context.pool.project(rng.normal(size=(context.pool.dim, self.tastes)))
        tastes = [
            standardise_within_prompts(values, context.pool)
            for values in np.moveaxis(projected, 2, 0)
        ]
        return CrowdTraits(reliability, group, self.deviation * np.stack(tastes))
