"""Panels: choices by several annotators, whose votes on a question are aggregated to one label."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Choice
from pairbench.pool.pool import Pairs
from pairbench.pool.votes import Votes, check_aggregate

Array = NDArray[np.float64]
Voters = Callable[[Questions], NDArray[np.int64]]
"""Maps questions to the ids of the annotators who vote on them, ``(n,)``."""


@dataclass(frozen=True)
class Panel(Choice):
    """A choice that gives several votes on each question.

    The whole chain, with perceptions and replies, is applied to each vote separately, and the
    resulting votes are aggregated.

    Attributes:
        aggregate: how votes make a label: ``"majority"``, ½ if there is none, or ``"soft"``, their
            mean.
    """

    aggregate: str = field(default="majority", kw_only=True)

    def __post_init__(self) -> None:
        check_aggregate(self.aggregate)

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of votes per question."""

    @abstractmethod
    def voters(self, context: AnnotatorContext) -> Voters:
        """Return the function from questions to the annotators of the vote ``questions.vote``.

        Args:
            context: the world, with the world's own random stream, as for :meth:`on`.
        """


@dataclass(frozen=True, eq=False)
class PanelOracle:
    """A voting oracle whose labels aggregate a panel's votes.

    Attributes:
        answers: maps questions to the answers of one vote, ``(n,)``.
        voters: maps questions to the ids of the annotators of that vote, ``(n,)``.
        size: votes per question.
        aggregate: how votes make a label, see :class:`Panel`.
    """

    answers: Callable[[Questions], Array]
    voters: Voters
    size: int
    aggregate: str

    def votes(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Votes:
        """Return all votes on each question; see :meth:`pairbench.oracles.VotingOracle.votes`."""
        by_vote = [Questions(pairs, repeat, time, vote) for vote in range(self.size)]
        voters = np.stack([self.voters(questions) for questions in by_vote], axis=1)
        answers = np.stack([self.answers(questions) for questions in by_vote], axis=1)
        return Votes(voters, answers)

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Array:
        """Return the aggregated labels, ``(n,)``; see :meth:`pairbench.oracles.Oracle.label`."""
        return self.votes(pairs, repeat, time).labels(self.aggregate)
