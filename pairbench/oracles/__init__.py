"""Who answers the questions: anything with ``label(pairs, repeat)``."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.pool import Pairs


class Oracle(Protocol):
    """Answers questions, the same question always in the same way."""

    def label(self, pairs: Pairs, repeat: NDArray[np.int64]) -> NDArray[np.float64]:
        """The answers, ``(n,)``: 1 the first is better, 0 the second, ½ a tie, NaN no answer.

        An answer depends on the world's seed, the prompt, the unordered pair and ``repeat`` alone,
        so that all designs that ask one question get one answer, in any order and any process.

        Args:
            pairs: proper pairs, ``(n, 3)``.
            repeat: how often each was asked before in this episode, ``(n,)``.
        """
