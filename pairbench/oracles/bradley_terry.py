"""Labels by the Bradley–Terry model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.oracles.counter import uniforms
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

    def label(self, pairs: Pairs, repeat: NDArray[np.int64]) -> NDArray[np.float64]:
        """See :class:`pairbench.oracles.Oracle`."""
        prompt, first, second = pairs.T
        # The coin belongs to the unordered pair; it is thrown for the lower index and then turned.
        low, high = np.minimum(first, second), np.maximum(first, second)
        coin = uniforms(self.seed, np.stack([prompt, low, high, repeat], axis=1))
        low_wins = coin < expit(self.rewards[prompt, low] - self.rewards[prompt, high])
        answers: NDArray[np.float64] = np.where(first == low, low_wins, ~low_wins).astype(float)
        return answers
