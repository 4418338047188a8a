"""DPO of the log-linear policy, solved to its optimum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool

TOLERANCE = 1e-8
"""The gradient's Euclidean norm at which a fit is done, per label."""

_NEWTON_MAX_DIM, _NEWTON_MAX_LABELS = 512, 100_000


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
    z: NDArray[np.float64], labels: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Minimise Σ −y log σ(zᵀθ) − (1−y) log σ(−zᵀθ) + ½ λ‖θ‖² over θ.

    Damped Newton; beyond dim 512 or 10⁵ labels, where its Hessian costs too much, L-BFGS in torch.

    Args:
        z: feature differences, ``(n, dim)``.
        labels: ``(n,)`` in [0, 1].
        ridge: λ > 0.

    Returns:
        θ, ``(dim,)``, with a gradient norm below 10⁻⁸ per label.

    Raises:
        TrainingFailed: If that norm is not reached.
    """
    n, dim = z.shape
    if n == 0:
        return np.zeros(dim)
    if dim > _NEWTON_MAX_DIM or n > _NEWTON_MAX_LABELS:
        theta = _lbfgs(z, labels, ridge)
    else:
        theta = _newton(z, labels, ridge)
    norm = float(np.linalg.norm(_gradient(z, labels, ridge, theta)))
    if not norm <= TOLERANCE * n:
        raise TrainingFailed(
            f"the DPO fit stopped at a gradient norm of {norm / n:.1e} per label, where "
            f"{TOLERANCE:.0e} is asked. A larger ridge than {ridge:g} or features of a common "
            "scale make the problem better conditioned."
        )
    return theta


def logistic_slope(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """σ'(x) = σ(x) σ(−x), accurate in both tails."""
    slope: NDArray[np.float64] = expit(logit) * expit(-logit)
    return slope


def _loss(
    z: NDArray[np.float64], labels: NDArray[np.float64], ridge: float, theta: NDArray[np.float64]
) -> float:
    logit = z @ theta
    return float(np.sum(np.logaddexp(0, logit) - labels * logit) + ridge / 2 * theta @ theta)


def _gradient(
    z: NDArray[np.float64], labels: NDArray[np.float64], ridge: float, theta: NDArray[np.float64]
) -> NDArray[np.float64]:
    gradient: NDArray[np.float64] = z.T @ (expit(z @ theta) - labels) + ridge * theta
    return gradient


def _newton(
    z: NDArray[np.float64], labels: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    theta = np.zeros(z.shape[1])
    loss = _loss(z, labels, ridge, theta)
    for _ in range(200):
        gradient = _gradient(z, labels, ridge, theta)
        # A tenth of the tolerance: the last step costs little and leaves room for rounding.
        if np.linalg.norm(gradient) <= TOLERANCE / 10 * len(z):
            break
        hessian = (z * logistic_slope(z @ theta)[:, None]).T @ z + ridge * np.eye(len(theta))
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:  # the ridge is lost in rounding
            break
        slope = float(gradient @ step)
        damping = 1.0
        # Armijo's rule; near the optimum the loss no longer resolves the fall, so steps that
        # promise less than its rounding are taken whole.
        while damping > 1e-10:
            new = theta - damping * step
            new_loss = _loss(z, labels, ridge, new)
            if new_loss <= loss - 1e-4 * damping * slope or slope < 1e-12 * max(loss, 1.0):
                break
            damping /= 2
        theta, loss = new, new_loss
    return theta


def _lbfgs(
    z: NDArray[np.float64], labels: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    import torch

    features, y = torch.from_numpy(z), torch.from_numpy(labels)
    theta = torch.zeros(z.shape[1], dtype=torch.float64, requires_grad=True)
    # Scaled by 1/n, so that the optimiser's tolerance is the one that is promised per label.
    optimiser = torch.optim.LBFGS(
        [theta],
        max_iter=5000,
        max_eval=10_000,
        tolerance_grad=TOLERANCE / 10 / np.sqrt(z.shape[1]),
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        fit = torch.nn.functional.binary_cross_entropy_with_logits(features @ theta, y)
        loss = fit + ridge / (2 * len(z)) * theta.dot(theta)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return np.asarray(theta.detach().numpy(), dtype=np.float64)
