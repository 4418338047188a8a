"""Labels by the Bradley–Terry model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.oracles.questions import OnAverage, Questions
from pairbench.pool import Pairs


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """P(first ≻ second) = σ(r*(first) − r*(second)) (Bradley and Terry 1952).

    Attributes:
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        seed: the world's seed.
    """

    rewards: NDArray[np.float64]
    seed: int

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """See :class:`pairbench.oracles.Oracle`."""
        return self._answers(Questions(pairs, repeat))

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See :class:`pairbench.oracles.KnownOracle`."""
        return self._answers(OnAverage.of(pairs))

    def _answers(self, asked: Questions) -> NDArray[np.float64]:
        difference = asked.turned(asked.difference(self.rewards))
        return asked.compare(expit(difference), self.seed)
