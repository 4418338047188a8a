"""Panels: choices that several annotators make, each for himself, and what they come to."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import Choice, Scene
from pairbench.pool import Pairs
from pairbench.votes import Votes, check_aggregate

Array = NDArray[np.float64]
Voters = Callable[[Questions], NDArray[np.int64]]
"""Whose vote it is, ``(n,)``."""


@dataclass(frozen=True)
class Panel(Choice):
    """A choice that is made several times over, before all else that becomes of an answer.

    Perceptions and replies are each voter's own: they are taken anew for each vote, and what comes
    out of the chain is aggregated.

    Attributes:
        aggregate: the label that votes come to: ``"majority"``, ½ if there is none, or ``"soft"``,
            their mean.
    """

    aggregate: str = field(default="majority", kw_only=True)

    def __post_init__(self) -> None:
        check_aggregate(self.aggregate)

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of votes on a question."""

    @abstractmethod
    def voters(self, scene: Scene) -> Voters:
        """Who gives the vote ``asked.vote`` on each question.

        Args:
            scene: the world, as for :meth:`on`.
        """


@dataclass(frozen=True, eq=False)
class PanelOracle:
    """A panel set on a world, a :class:`pairbench.oracles.VotingOracle`.

    Attributes:
        answers: the answers of one vote, ``(n,)``.
        voters: whose they are.
        size: votes on a question.
        aggregate: see :class:`Panel`.
    """

    answers: Callable[[Questions], Array]
    voters: Voters
    size: int
    aggregate: str

    def votes(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Votes:
        """See :class:`pairbench.oracles.VotingOracle`."""
        each = [Questions(pairs, repeat, time, vote) for vote in range(self.size)]
        voters = np.stack([self.voters(asked) for asked in each], axis=1)
        return Votes(voters, np.stack([self.answers(asked) for asked in each], axis=1))

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Array:
        """See :class:`pairbench.oracles.Oracle`."""
        return self.votes(pairs, repeat, time).labels(self.aggregate)
