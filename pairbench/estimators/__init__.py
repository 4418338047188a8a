"""What a design may believe about rewards from the labels so far."""

from pairbench.errors import UnknownEstimator
from pairbench.estimators.belief import (
    Belief,
    Estimator,
    Members,
    centred,
    reward_differences,
)
from pairbench.estimators.dropout import Dropout
from pairbench.estimators.ensemble import Ensemble
from pairbench.estimators.epistemic import Epistemic
from pairbench.estimators.laplace import Laplace, LaplaceBelief

__all__ = [
    "Belief",
    "Dropout",
    "Ensemble",
    "Epistemic",
    "Estimator",
    "Laplace",
    "LaplaceBelief",
    "Members",
    "centred",
    "make_estimator",
    "reward_differences",
]

_HOMES = {
    "dropout": ("dropout", "Dropout"),
    "ensemble": ("ensemble", "Ensemble"),
    "epistemic": ("epistemic", "Epistemic"),
    "laplace": ("laplace", "Laplace"),
}


def make_estimator(estimator: str) -> Estimator[Belief]:
    """An estimator by name or spec.

    Args:
        estimator: ``"laplace"``, ``"ensemble"``, ``"dropout"`` or ``"epistemic"``, with parameters
            as in ``"ensemble(members=20)"``.

    Raises:
        UnknownEstimator: If nothing answers to the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
    """
    from pairbench.registry import make_kind

    made: Estimator[Belief] = make_kind(
        estimator, "estimator", "pairbench.estimators", _HOMES, UnknownEstimator
    )
    return made
