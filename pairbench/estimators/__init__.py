"""Estimators, which fit posteriors over the rewards to labels, and their registry."""

from typing import Any

from pairbench.errors import UnknownEstimator
from pairbench.estimators.belief import (
    Belief,
    Estimator,
    Members,
    centre_rewards,
    reward_differences,
)
from pairbench.estimators.dropout import Dropout
from pairbench.estimators.ensemble import Ensemble
from pairbench.estimators.epistemic import Epistemic
from pairbench.estimators.laplace import Laplace, LaplaceBelief
from pairbench.spec.loading import Contract, Factory
from pairbench.spec.registry import Registry

__all__ = [
    "Belief",
    "Dropout",
    "Ensemble",
    "Epistemic",
    "Estimator",
    "Laplace",
    "LaplaceBelief",
    "Members",
    "centre_rewards",
    "describe_estimator",
    "estimator_names",
    "make_estimator",
    "register_estimator",
    "reward_differences",
]

ESTIMATORS: Registry[Estimator[Belief]] = Registry(
    Contract("estimator", Estimator, "pairbench.Estimator"),
    "pairbench.estimators",
    UnknownEstimator,
    lambda: {
        "dropout": "pairbench.estimators.dropout:Dropout",
        "ensemble": "pairbench.estimators.ensemble:Ensemble",
        "epistemic": "pairbench.estimators.epistemic:Epistemic",
        "laplace": "pairbench.estimators.laplace:Laplace",
    },
    register_with="pairbench.register_estimator",
)


def register_estimator(name: str, estimator: Factory | None = None) -> Any:
    """Register an estimator under a name; also usable as a decorator.

    Args:
        name: the name, such as ``"my-estimator"``.
        estimator: a subclass of :class:`Estimator`.
    """
    return ESTIMATORS.register(name, estimator)


def make_estimator(estimator: str) -> Estimator[Belief]:
    """Build an estimator from a name or spec.

    Args:
        estimator: ``"laplace"``, ``"ensemble"``, ``"dropout"``, ``"epistemic"``, or a registered
            name, with parameters as in ``"ensemble(members=20)"``.

    Raises:
        UnknownEstimator: If no estimator has the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
    """
    return ESTIMATORS.make(estimator)


def estimator_names() -> list[str]:
    """List the names of all estimators."""
    return ESTIMATORS.names()


def describe_estimator(name: str) -> dict[str, Any]:
    """Describe an estimator; see :func:`pairbench.spec.record.describe_factory`."""
    return ESTIMATORS.describe(name)
