"""DPO of the log-linear policy, a convex problem that is solved to its optimum."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench._util.numerics import logistic_slope
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss, minimise_pairwise

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LogLinearDPO(LogLinearTrainer):
    """DPO with a ridge: logistic regression without intercept on z = φ(first) − φ(second).

    Attributes:
        ridge: λ > 0; without it, θ would diverge on separable labels.
    """

    def theta(
        self, z: NDArray[np.float64], labels: NDArray[np.float64], beta: float
    ) -> NDArray[np.float64]:
        """Fit θ, which does not depend on β; see :meth:`LogLinearTrainer.theta`."""
        return fit_theta(z, labels, self.ridge)


def fit_theta(
    z: NDArray[np.float64],
    labels: NDArray[np.float64],
    ridge: float,
    offset: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Minimise Σ −y log σ(o + zᵀθ) − (1−y) log σ(−o − zᵀθ) + ½ λ‖θ‖² over θ.

    Args:
        z: feature differences, ``(n, dim)``.
        labels: ``(n,)`` in [0, 1].
        ridge: λ > 0.
        offset: o, a known part of the logits, ``(n,)`` or one number for all.

    Returns:
        θ, ``(dim,)``, with a gradient norm below 10⁻⁸ per label.

    Raises:
        TrainingFailed: If that norm is not reached.
    """
    return minimise_pairwise(LogisticLoss(z, labels, ridge, offset), "DPO", ridge)


@dataclass(frozen=True)
class LogisticLoss(PairwiseLoss):
    """Loss of :func:`fit_theta`: f = log(1 + eˣ) − y x, convex for any label."""

    def values(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute f at each pair's logit, ``(n,)``."""
        values: NDArray[np.float64] = np.logaddexp(0, logit) - self.labels * logit
        return values

    def slopes(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute f' = σ(x) − y, ``(n,)``."""
        slopes: NDArray[np.float64] = expit(logit) - self.labels
        return slopes

    def curvatures(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute f'' = σ'(x), ``(n,)``."""
        return logistic_slope(logit)

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the mean of f in torch."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logit, labels)
