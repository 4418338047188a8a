"""Questions as an oracle meets them, and what chance decides of their answers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pairbench.oracles.counter import uniforms
from pairbench.pool import Pairs

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Questions:
    """Which pairs are asked, and how often and how much was asked before.

    Attributes:
        pairs: ``(n, 3)``, as they are shown.
        repeat: how often each was asked before, ``(n,)``.
        time: how many labels were bought before each, ``(n,)``; 0 if None.
        vote: which of several votes on each question this is; chance is another in each.
    """

    pairs: Pairs
    repeat: NDArray[np.int64]
    time: NDArray[np.int64] | None = None
    vote: int = 0

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """Whether the first has the lower index, ``(n,)``."""
        ordered: NDArray[np.bool_] = self.pairs[:, 1] < self.pairs[:, 2]
        return ordered

    @cached_property
    def counter(self) -> NDArray[np.int64]:
        """What belongs to the unordered pair, ``(n, 4)``: prompt, low, high, repeat."""
        prompt, first, second = self.pairs.T
        low, high = np.minimum(first, second), np.maximum(first, second)
        return np.stack([prompt, low, high, self.repeat], axis=1)

    def difference(self, values: Array) -> Array:
        """What the first has more than the second, ``(n,)``, of values ``(N, K)``."""
        prompt, first, second = self.pairs.T
        difference: Array = values[prompt, first] - values[prompt, second]
        return difference

    def chance(self, p: Array | float, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """1 with probability p, else 0, ``(n,)``: a coin of the unordered pair and its repeat.

        Args:
            p: ``(n,)``, or one for all.
            seed: the world's.
            stream: whose coin it is.
        """
        # Where there is one vote, it meets the luck of those who have no others beside them.
        stream = (*stream, self.vote) if self.vote else stream
        return (uniforms(seed, self.counter, stream) < p).astype(np.float64)

    def compare(self, p: Array, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """The answers, ``(n,)``, where the lower index wins with probability p, ``(n,)``.

        The coin belongs to the unordered pair: it is thrown for the lower index and then turned.
        """
        low_wins = self.chance(p, seed, stream)
        return np.where(self.ordered, low_wins, 1.0 - low_wins)

    def turned(self, difference: Array) -> Array:
        """Differences of first and second as those of lower and higher index, ``(n,)``."""
        return np.where(self.ordered, difference, -difference)


class OnAverage(Questions):
    """Questions of which the mean answer is wanted: chance is what it is on average."""

    def chance(self, p: Array | float, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """The probability itself, ``(n,)``."""
        return np.broadcast_to(np.asarray(p, dtype=np.float64), len(self.pairs))

    @classmethod
    def of(cls, pairs: Pairs, time: NDArray[np.int64] | None = None) -> "OnAverage":
        """The questions of these pairs."""
        return cls(pairs, np.zeros(len(pairs), dtype=np.int64), time)
