"""DPO of the log-linear policy, solved to its optimum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.errors import InvalidParameter
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool
from pairbench.training.minimise import minimise

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LogLinearDPO:
    """DPO with a ridge: logistic regression without intercept on z = φ(first) − φ(second).

    Attributes:
        ridge: λ > 0; without it, separable labels would send θ to infinity.
    """

    ridge: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.ridge) and self.ridge > 0):
            raise InvalidParameter(
                f"ridge must be positive and finite, got {self.ridge}. "
                "Separable labels have no optimum without it; take a small one, such as 1e-3."
            )

    def fit(
        self, pool: Pool, beta: float, pairs: Pairs, labels: NDArray[np.float64]
    ) -> LogLinearPolicy:
        """The exact optimum; see :class:`pairbench.training.Trainer`."""
        answered = ~np.isnan(labels)
        theta = fit_theta(pool.differences(pairs[answered]), labels[answered], self.ridge)
        return LogLinearPolicy(theta, beta)


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
        offset: o, what is known of the logits, ``(n,)`` or one for all.

    Returns:
        θ, ``(dim,)``, with a gradient norm below 10⁻⁸ per label.

    Raises:
        TrainingFailed: If that norm is not reached.
    """
    if len(z) == 0:
        return np.zeros(z.shape[1])
    return minimise(
        Logistic(z, labels, ridge, offset),
        np.zeros(z.shape[1]),
        "DPO",
        f"A larger ridge than {ridge:g} or features of a common scale make the problem better "
        "conditioned.",
    )


def logistic_slope(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """σ'(x) = σ(x) σ(−x), accurate in both tails."""
    slope: NDArray[np.float64] = expit(logit) * expit(-logit)
    return slope


@dataclass(frozen=True)
class Logistic:
    """The loss of :func:`fit_theta`, an :class:`pairbench.training.minimise.Objective`."""

    z: NDArray[np.float64]
    labels: NDArray[np.float64]
    ridge: float
    offset: NDArray[np.float64] | float = 0.0
    convex: ClassVar[bool] = True

    @property
    def n_labels(self) -> int:
        """How many labels it sums over."""
        return len(self.labels)

    def logit(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logits o + zᵀθ, ``(n,)``."""
        logit: NDArray[np.float64] = self.z @ theta + self.offset
        return logit

    def loss(self, theta: NDArray[np.float64]) -> float:
        """The loss at θ."""
        logit = self.logit(theta)
        fit = np.sum(np.logaddexp(0, logit) - self.labels * logit)
        return float(fit + self.ridge / 2 * theta @ theta)

    def gradient(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its gradient, ``(dim,)``."""
        gradient: NDArray[np.float64] = (
            self.z.T @ (expit(self.logit(theta)) - self.labels) + self.ridge * theta
        )
        return gradient

    def hessian(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its second derivatives, ``(dim, dim)``."""
        slope = logistic_slope(self.logit(theta))
        hessian: NDArray[np.float64] = (self.z * slope[:, None]).T @ self.z
        return hessian + self.ridge * np.eye(len(theta))

    def torch_loss(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """The loss per label, as a function that torch can differentiate."""
        import torch

        features, y = torch.from_numpy(self.z), torch.from_numpy(self.labels)
        offset = torch.as_tensor(self.offset, dtype=torch.float64)

        def loss(theta: torch.Tensor) -> torch.Tensor:
            logit = features @ theta + offset
            fit = torch.nn.functional.binary_cross_entropy_with_logits(logit, y)
            return fit + self.ridge / (2 * self.n_labels) * theta.dot(theta)

        return loss
