"""Base classes of trainers whose loss is a sum over labelled pairs, such as DPO.

The trainers differ in one function of a pair's logit and label, and in a transformation of labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool.pool import Pairs, Pool
from pairbench.training.minimise import minimise

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearTrainer(ABC):
    """Base class of log-linear trainers that use feature differences and labels only.

    Attributes:
        ridge: λ > 0; without it, θ would diverge on separable labels.
    """

    ridge: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.ridge) and self.ridge > 0):
            raise InvalidParameter(
                f"ridge must be positive and finite, got {self.ridge}. "
                "Separable labels have no optimum without it; take a small one, such as 1e-3."
            )

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> LogLinearPolicy:
        """Fit the policy to the answered labels; see :class:`pairbench.training.Trainer`."""
        answered = ~np.isnan(labels)
        theta = self.theta(pool.differences(pairs[answered]), labels[answered], beta)
        return LogLinearPolicy(theta, beta)

    @abstractmethod
    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ of the policy, ``(dim,)``; 0 where there are no labels.

        Args:
            z: feature differences, ``(n, dim)``.
            labels: ``(n,)`` in [0, 1].
            beta: β, reward units per nat.

        Raises:
            TrainingFailed: If the gradient norm per label stays above 10⁻⁸.
        """


@dataclass(frozen=True)
class PairwiseLoss(ABC):
    """Σ f(x, y) + ½ λ‖θ‖² with x = o + zᵀθ, an :class:`pairbench.training.minimise.Objective`.

    A subclass defines f, which must be convex in x.

    Attributes:
        z: feature differences, ``(n, dim)``.
        labels: y, ``(n,)``.
        ridge: λ.
        offset: o, a known part of the logits, ``(n,)`` or one number for all.
    """

    z: Array
    labels: Array
    ridge: float
    offset: Array | float = 0.0
    convex: ClassVar[bool] = True

    @abstractmethod
    def values(self, logit: Array) -> Array:
        """Compute f at each pair's logit, ``(n,)``."""

    @abstractmethod
    def slopes(self, logit: Array) -> Array:
        """Compute f', ``(n,)``."""

    @abstractmethod
    def curvatures(self, logit: Array) -> Array:
        """Compute f'' ≥ 0, ``(n,)``."""

    @abstractmethod
    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the mean of f in torch."""

    @property
    def n_labels(self) -> int:
        """Number of labels in the sum."""
        return len(self.labels)

    def logit(self, theta: Array) -> Array:
        """Compute the logits o + zᵀθ, ``(n,)``."""
        logit: Array = self.z @ theta + self.offset
        return logit

    def loss(self, theta: Array) -> float:
        """Compute the loss at θ, ``(dim,)``."""
        fit = np.sum(self.values(self.logit(theta)))
        return float(fit + self.ridge / 2 * theta @ theta)

    def gradient(self, theta: Array) -> Array:
        """Compute the gradient at θ, ``(dim,)``."""
        gradient: Array = self.z.T @ self.slopes(self.logit(theta)) + self.ridge * theta
        return gradient

    def hessian(self, theta: Array) -> Array:
        """Compute the Hessian at θ, ``(dim, dim)``."""
        curvatures = self.curvatures(self.logit(theta))
        hessian: Array = (self.z * curvatures[:, None]).T @ self.z
        return hessian + self.ridge * np.eye(len(theta))

    def torch_loss(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Return a function from θ, ``(dim,)``, to the mean loss over labels, for torch."""
        import torch

        features, labels = torch.from_numpy(self.z), torch.from_numpy(self.labels)
        offset = torch.as_tensor(self.offset, dtype=torch.float64)

        def loss(theta: torch.Tensor) -> torch.Tensor:
            fit = self.torch_mean(features @ theta + offset, labels)
            return fit + self.ridge / (2 * self.n_labels) * theta.dot(theta)

        return loss


def minimise_pairwise(loss: PairwiseLoss, name: str, ridge: float) -> Array:
    """Minimise a loss from θ = 0.

    Args:
        loss: the loss.
        name: the name of the fit, for the message.
        ridge: λ of the trainer, for the message; the loss may be scaled.

    Returns:
        θ, ``(dim,)``; 0 where there are no labels.

    Raises:
        TrainingFailed: If the gradient norm per label stays above 10⁻⁸.
    """
    start = np.zeros(loss.z.shape[1])
    if not loss.n_labels:
        return start
    return minimise(
        loss,
        start,
        name,
        f"A larger ridge than {ridge:g} or features of a common scale make the problem better "
        "conditioned.",
    )
