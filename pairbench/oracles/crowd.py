"""A crowd: annotators of different reliability and taste, several of whom answer each question."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.errors import InvalidParameter
from pairbench.oracles.counter import uniforms
from pairbench.oracles.panels import Panel, Voters
from pairbench.oracles.perceptions import in_deviations
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import (
    Array,
    Perceived,
    Scene,
    Step,
    check_positive,
    check_share,
)


@dataclass(frozen=True)
class Crowd(Panel):
    """Each vote is another annotator's, drawn from a pool of them.

    With probability ρ_a annotator a judges for himself, preferring the first with probability
    σ((Δ + Δ_g)/T); otherwise he throws a coin. Δ is what is perceived, and Δ_g is what his taste
    adds to it: φᵀw_g, the same for all of his group.

    Attributes:
        votes: how many annotators answer each question; all of them different.
        annotators: how many there are to draw from.
        reliability: the least and the greatest ρ_a; each annotator's is drawn between them.
        temperature: T, reward units.
        tastes: the number of groups, of equal size as nearly as can be. One shares one taste, too.
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
        for name in ("votes", "annotators", "tastes"):
            if (value := getattr(self, name)) < 1:
                raise InvalidParameter(f"{name} must be 1 or more, got {value}.")
        for name, most in (("votes", self.annotators), ("tastes", self.annotators)):
            if (value := getattr(self, name)) > most:
                raise InvalidParameter(
                    f"{name} must be at most {most}, the number of annotators, got {value}."
                )
        for bound in self.reliability:
            check_share("each bound of reliability", bound)
        if self.reliability[0] > self.reliability[1]:
            raise InvalidParameter(
                f"reliability must be its least value and its greatest, got {self.reliability}."
            )
        check_positive("temperature", self.temperature)
        if not 0 <= self.deviation < np.inf:
            raise InvalidParameter(
                f"deviation must be a finite number, 0 or more, got {self.deviation}."
            )

    @property
    def size(self) -> int:
        """See :class:`pairbench.oracles.panels.Panel`."""
        return self.votes

    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """See :class:`pairbench.oracles.stages.Choice`."""
        people, voters = self.people(scene), self.voters(scene)

        def choose(asked: Questions, delta: Array) -> Array:
            voter = voters(asked)
            prompt, first, second = asked.pairs.T
            group, sure = people.group[voter], people.reliability[voter]
            added = people.taste[group, prompt, first] - people.taste[group, prompt, second]
            own = expit(asked.turned(delta + added) / self.temperature)
            return asked.compare(sure * own + (1 - sure) / 2, scene.seed, scene.stream)

        return choose

    def voters(self, scene: Scene) -> Voters:
        """See :class:`pairbench.oracles.panels.Panel`; votes on one question are of several."""
        own = scene.within("crowd")

        def drawn(asked: Questions) -> NDArray[np.int64]:
            # The first of a random order of all annotators (Fisher and Yates): vote v is of one of
            # those who are not taken, counted without them.
            taken = np.empty((len(asked.pairs), 0), dtype=np.int64)
            for vote in range(asked.vote + 1):
                luck = uniforms(own.seed, asked.counter, (*own.stream, vote))
                voter = (luck * (self.annotators - vote)).astype(np.int64)
                for other in taken.T:
                    voter += voter >= other
                taken = np.sort(np.column_stack([taken, voter]), axis=1)
            return voter

        return drawn

    def people(self, scene: Scene) -> "People":
        """All annotators of the world."""
        rng = scene.within("crowd").rng()
        reliability = rng.uniform(*self.reliability, size=self.annotators)
        group = rng.permutation(np.arange(self.annotators) % self.tastes)
        added = scene.pool.project(rng.normal(size=(scene.pool.dim, self.tastes)))
        own = [in_deviations(values, scene.pool) for values in np.moveaxis(added, 2, 0)]
        return People(reliability, group, self.deviation * np.stack(own))


class People(NamedTuple):
    """The annotators of a crowd.

    Attributes:
        reliability: ρ, ``(annotators,)``.
        group: each one's, ``(annotators,)``.
        taste: φᵀw of each group, ``(tastes, n_prompts, n_completions)`` reward units.
    """

    reliability: Array
    group: NDArray[np.int64]
    taste: Array
