"""Trainers: labels in, policy out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import UnknownTrainer
from pairbench.policies import Policy
from pairbench.pool import Pairs, Pool

_HOMES = {
    "dpo": ("log_linear", "LogLinearDPO"),
    "selm": ("optimistic", "LogLinearSELM"),
    "xpo": ("optimistic", "LogLinearXPO"),
}


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


def make_trainer(trainer: str, ridge: float) -> Trainer:
    """A trainer of the log-linear policy by name or spec.

    Args:
        trainer: ``"dpo"``, ``"selm"`` or ``"xpo"``, with parameters as in ``"xpo(alpha=0.01)"``.
        ridge: λ, which belongs to the environment.

    Raises:
        UnknownTrainer: If nothing answers to the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
    """
    from pairbench.registry import make_kind

    made: Trainer = make_kind(
        trainer, "trainer", "pairbench.training", _HOMES, UnknownTrainer, ridge=ridge
    )
    return made
