"""Trainers: labels in, policy out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.policies import Policy
from pairbench.pool import Pairs, Pool


class Trainer(Protocol):
    """Turns labels into a policy, by a procedure that belongs to the environment."""

    @property
    def ridge(self) -> float:
        """λ of the penalty ½ λ‖θ‖² that pulls the policy to π_ref; public, as β is."""

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: NDArray[np.float64]) -> Policy:
        """The policy trained on the labels; π_ref when there are none.

        Args:
            pool: the pool that the pairs point into.
            beta: β, reward units per nat.
            pairs: ``(n, 3)``.
            labels: ``(n,)`` in [0, 1], NaN where the question was not answered.
        """
