"""Contract of trainers, which fit a policy to labels, and their registry."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import UnknownTrainer
from pairbench.policies import Policy
from pairbench.pool.pool import Pairs, Pool
from pairbench.spec.loading import Contract, Factory
from pairbench.spec.registry import Registry


class Trainer(Protocol):
    """Trainer of a policy on preference labels; the environment fixes which."""

    # Why: docs/decisions/007-a-view-tells-the-ridge.md
    @property
    def ridge(self) -> float:
        """λ of the penalty ½ λ‖θ‖² on the distance to π_ref, which designs know, as they know β."""

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: NDArray[np.float64]) -> Policy:
        """Train a policy on the labels; return π_ref if there are none.

        Args:
            pool: the pool that the pairs index.
            beta: β, reward units per nat.
            pairs: ``(n, 3)``.
            labels: ``(n,)`` in [0, 1], NaN for a missing label.
        """


TRAINERS: Registry[Trainer] = Registry(
    Contract("trainer", object, "pairbench.training.Trainer", methods=("fit",)),
    "pairbench.trainers",
    UnknownTrainer,
    lambda: {
        "cdpo": "pairbench.training.flipped:LogLinearCDPO",
        "davidson": "pairbench.training.ties:LogLinearDavidson",
        "dpo": "pairbench.training.log_linear:LogLinearDPO",
        "ipo": "pairbench.training.ipo:LogLinearIPO",
        "rao-kupper": "pairbench.training.ties:LogLinearRaoKupper",
        "rdpo": "pairbench.training.flipped:LogLinearRDPO",
        "selm": "pairbench.training.optimistic:LogLinearSELM",
        "xpo": "pairbench.training.optimistic:LogLinearXPO",
    },
    register_with="pairbench.register_trainer",
)


def register_trainer(name: str, trainer: Factory | None = None) -> Any:
    """Register a trainer under a name; works as a decorator, too: ``@register_trainer("mine")``.

    Args:
        name: the name, such as ``"my-loss"``.
        trainer: a frozen dataclass with a field ``ridge`` that is a :class:`Trainer`.
    """
    return TRAINERS.register(name, trainer)


def make_trainer(trainer: str, ridge: float) -> Trainer:
    """Build a trainer of the log-linear policy from a name or spec.

    ``"dpo"`` is meant for Bradley–Terry labels. ``"cdpo"`` and ``"rdpo"`` (parameter ``flip_rate``)
    correct for flipped labels; ``"rao-kupper"`` and ``"davidson"`` (``nu``) model ties as a third
    outcome; ``"ipo"`` (``tau``) fits margins by least squares; ``"selm"`` and ``"xpo"`` (``alpha``)
    add optimism.

    Args:
        trainer: a name, one of these or a registered one, with parameters in parentheses, such as
            ``"rdpo(flip_rate=0.2)"``.
        ridge: λ, which the environment fixes.

    Raises:
        UnknownTrainer: If no trainer has the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
    """
    return TRAINERS.make(trainer, {"ridge": ridge})


def trainer_names() -> list[str]:
    """List the names of all trainers."""
    return TRAINERS.names()


def describe_trainer(name: str) -> dict[str, Any]:
    """Describe a trainer and its parameters; see :func:`pairbench.spec.record.describe_factory`."""
    return TRAINERS.describe(name)
