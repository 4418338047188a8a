"""Who answers the questions: anything with ``label(pairs, repeat, time)``."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pairbench.pool import Pairs
from pairbench.votes import Votes


class Oracle(Protocol):
    """Answers questions, the same question always in the same way."""

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """The answers, ``(n,)``: 1 the first is better, 0 the second, ½ a tie, NaN no answer.

        An answer depends on the world's seed, the prompt, the unordered pair and ``repeat`` alone,
        so that all designs that ask one question get one answer, in any order and any process;
        which of the two comes first matters only to those with a position bias, and ``time`` only
        to those whose taste drifts.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            repeat: how often each was asked before in this episode, ``(n,)``.
            time: how many labels were bought before each in this episode, ``(n,)``; 0 if None.
        """


@runtime_checkable
class VotingOracle(Oracle, Protocol):
    """An oracle that asks several annotators, and tells who said what."""

    @property
    def size(self) -> int:
        """The number of votes on a question."""

    def votes(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Votes:
        """The single votes on each question, of which :meth:`label` is the aggregate.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            repeat: as for :meth:`Oracle.label`.
            time: likewise.
        """


@runtime_checkable
class KnownOracle(Oracle, Protocol):
    """An oracle that can say how it answers on average."""

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """The mean answer to each question, ``(n,)``, NaN where there is never one.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            time: as for :meth:`Oracle.label`.
        """
