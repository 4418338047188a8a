"""Oracles: anything that labels pairs, through ``label(pairs, repeat, time)``."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pairbench.pool.pool import Pairs
from pairbench.pool.votes import Votes


class Oracle(Protocol):
    """A source of labels that gives the same question the same answer every time."""

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return labels, ``(n,)``: 1 if the first is better, 0 if the second, ½ a tie, NaN none.

        A label depends on the world's seed, the prompt, the unordered pair and ``repeat`` alone,
        so that all designs that ask a question get the same label, in any order and any process.
        Which of the two comes first matters only to oracles with a position bias, and ``time`` only
        to those whose preferences drift.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            repeat: how often each pair was asked before in this episode, ``(n,)``.
            time: how many labels were bought before each in this episode, ``(n,)``; 0 if None.
        """


@runtime_checkable
class VotingOracle(Oracle, Protocol):
    """An oracle that aggregates the votes of several annotators and exposes the single votes."""

    @property
    def size(self) -> int:
        """The number of votes per question."""

    def votes(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Votes:
        """Return the single votes on each question, which :meth:`label` aggregates.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            repeat: how often each pair was asked before in this episode, ``(n,)``.
            time: how many labels were bought before each in this episode, ``(n,)``; 0 if None.
        """


@runtime_checkable
class ExpectedLabelOracle(Oracle, Protocol):
    """An oracle that can compute its expected label."""

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return the expected label of each question, ``(n,)``, NaN where there is never a label.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            time: how many labels were bought before each in this episode, ``(n,)``; 0 if None.
        """
