"""Labels by the Bradley–Terry model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.oracles.questions import ExpectedQuestions, Questions
from pairbench.pool.pool import Pairs


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """The model P(first ≻ second) = σ(r*(first) − r*(second)) (Bradley and Terry 1952).

    Attributes:
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        seed: the world's seed.
    """

    rewards: NDArray[np.float64]
    seed: int

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Draw labels, 0 or 1, ``(n,)``; see :meth:`pairbench.oracles.Oracle.label`."""
        return self._answers(Questions(pairs, repeat))

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Compute P(first ≻ second), ``(n,)``."""
        return self._answers(ExpectedQuestions.of(pairs))

    def _answers(self, questions: Questions) -> NDArray[np.float64]:
        difference = questions.orient(questions.difference(self.rewards))
        return questions.compare(expit(difference), self.seed)
