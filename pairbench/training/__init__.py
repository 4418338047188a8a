"""Trainers: labels in, policy out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import UnknownTrainer
from pairbench.policies import Policy
from pairbench.pool import Pairs, Pool

_HOMES = {
    "cdpo": ("flipped", "LogLinearCDPO"),
    "davidson": ("ties", "LogLinearDavidson"),
    "dpo": ("log_linear", "LogLinearDPO"),
    "ipo": ("ipo", "LogLinearIPO"),
    "rao-kupper": ("ties", "LogLinearRaoKupper"),
    "rdpo": ("flipped", "LogLinearRDPO"),
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

    ``"dpo"`` is meant for Bradley–Terry labels. ``"cdpo"`` and ``"rdpo"`` (parameter ``flip_rate``)
    are told that labels were flipped; ``"rao-kupper"`` and ``"davidson"`` (``nu``) take ties for
    answers of their own; ``"ipo"`` (``tau``) fits margins by least squares; ``"selm"`` and
    ``"xpo"`` (``alpha``) add optimism.

    Args:
        trainer: one of these names, with parameters as in ``"rdpo(flip_rate=0.2)"``.
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
