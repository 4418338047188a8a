"""Questions put to an oracle, and random numbers that depend on the question alone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pairbench._util.counter import uniforms
from pairbench.pool.pool import Pairs

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Questions:
    """Pairs to be labelled, with the number of earlier questions and labels.

    Attributes:
        pairs: ``(n, 3)``, in the order in which the completions are presented.
        repeat: how often each pair was asked before, ``(n,)``.
        time: how many labels were bought before each, ``(n,)``; 0 if None.
        vote: index among several votes on each question; each vote has its own random stream.
    """

    pairs: Pairs
    repeat: NDArray[np.int64]
    time: NDArray[np.int64] | None = None
    vote: int = 0

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """Mask of the pairs whose first completion has the lower index, ``(n,)``."""
        ordered: NDArray[np.bool_] = self.pairs[:, 1] < self.pairs[:, 2]
        return ordered

    @cached_property
    def counter(self) -> NDArray[np.int64]:
        """Random-number counter of the unordered pair, ``(n, 4)``: prompt, low, high, repeat."""
        prompt, first, second = self.pairs.T
        low, high = np.minimum(first, second), np.maximum(first, second)
        return np.stack([prompt, low, high, self.repeat], axis=1)

    def difference(self, values: Array) -> Array:
        """Compute the first completion's value less the second's, ``(n,)``.

        Args:
            values: of all completions, ``(n_prompts, n_completions)``.
        """
        prompt, first, second = self.pairs.T
        difference: Array = values[prompt, first] - values[prompt, second]
        return difference

    def draw_bernoulli(self, p: Array | float, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """Draw 1 with probability p, else 0, ``(n,)``, by the unordered pair and its repeat.

        Args:
            p: the probabilities, ``(n,)``, or one for all.
            seed: the world's seed.
            stream: spawn key of the random stream.
        """
        # Vote 0 adds nothing to the stream, so that it shares random numbers with single labels.
        stream = (*stream, self.vote) if self.vote else stream
        return (uniforms(seed, self.counter, stream) < p).astype(np.float64)

    def compare(self, p: Array, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """Draw answers, ``(n,)``, where the lower index wins with probability p.

        The draw is for the unordered pair, and the answer is then oriented as the pair is
        presented.

        Args:
            p: the probabilities, ``(n,)``.
            seed: the world's seed.
            stream: spawn key of the random stream.
        """
        low_wins = self.draw_bernoulli(p, seed, stream)
        return np.where(self.ordered, low_wins, 1.0 - low_wins)

    def orient(self, difference: Array) -> Array:
        """Convert differences first less second to lower index less higher index, ``(n,)``."""
        return np.where(self.ordered, difference, -difference)


class ExpectedQuestions(Questions):
    """Questions whose expected answer is computed: draws return their probability."""

    def draw_bernoulli(self, p: Array | float, seed: int, stream: tuple[int, ...] = ()) -> Array:
        """Return the probability itself, ``(n,)``."""
        return np.broadcast_to(np.asarray(p, dtype=np.float64), len(self.pairs))

    @classmethod
    def of(cls, pairs: Pairs, time: NDArray[np.int64] | None = None) -> Self:
        """Build first-time questions about pairs, ``(n, 3)``."""
        return cls(pairs, np.zeros(len(pairs), dtype=np.int64), time)
