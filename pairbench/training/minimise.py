"""Minimisation of smooth losses to a guaranteed gradient norm, for log-linear policies."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]

TOLERANCE = 1e-8
"""The Euclidean norm of the gradient per label at which a fit has converged."""

_NEWTON_MAX_DIM, _NEWTON_MAX_LABELS = 512, 100_000
_NEWTON_MAX_STEPS = 200


class Objective(Protocol):
    """A twice differentiable loss, a function of θ, summed over labels."""

    @property
    def n_labels(self) -> int:
        """Number of labels in the sum."""

    @property
    def convex(self) -> bool:
        """Whether the loss is known to be convex."""

    def loss(self, theta: Array) -> float:
        """Compute the loss at θ, ``(dim,)``."""

    def gradient(self, theta: Array) -> Array:
        """Compute the gradient at θ, ``(dim,)``."""

    def hessian(self, theta: Array) -> Array:
        """Compute the Hessian at θ, ``(dim, dim)``."""

    def torch_loss(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Return the loss per label as a function of θ that torch can differentiate."""


def minimise(objective: Objective, start: Array, name: str, advice: str) -> Array:
    """Find the minimum of a loss that lies downhill of the start.

    Damped Newton; beyond dim 512 or 10⁵ labels, where the Hessian is too expensive, L-BFGS in
    torch, which can end at a saddle point where the loss is not convex.

    Args:
        objective: the loss.
        start: the initial θ, ``(dim,)``.
        name: the name of the fit, for the message.
        advice: what to change if the fit fails, for the message.

    Returns:
        θ, ``(dim,)``, with a gradient norm below 10⁻⁸ per label.

    Raises:
        TrainingFailed: If that norm is not reached.
    """
    if len(start) > _NEWTON_MAX_DIM or objective.n_labels > _NEWTON_MAX_LABELS:
        theta = lbfgs(objective, start)
        # The line search ends where rounding hides the decrease of the loss, which depends on the
        # processor; the gradient can still be made smaller there.
        if not _gradient_norm(objective, theta) <= TOLERANCE:
            theta = newton_cg(objective, theta)
    else:
        theta = newton(objective, start)
        if not objective.convex:
            theta = _leave_saddles(objective, theta)
            if not _gradient_norm(objective, theta) <= TOLERANCE:
                # Newton steps can zigzag across a valley so narrow that the Hessian beside it does
                # not show its curvature.
                theta = newton(objective, lbfgs(objective, theta))
    if not (norm := _gradient_norm(objective, theta)) <= TOLERANCE:
        raise TrainingFailed(
            f"the {name} fit stopped at a gradient norm of {norm:.1e} per label, where "
            f"{TOLERANCE:.0e} is required. {advice}"
        )
    return theta


def newton(objective: Objective, start: Array) -> Array:
    """Find a stationary point downhill of the start by damped Newton, as far as rounding allows."""
    theta, n = start, objective.n_labels
    loss = objective.loss(theta)
    for _ in range(_NEWTON_MAX_STEPS):
        gradient = objective.gradient(theta)
        # Stopping at a tenth of the tolerance costs little and leaves room for rounding.
        if np.linalg.norm(gradient) <= TOLERANCE / 10 * n:
            break
        try:
            step = _newton_step(objective, theta, gradient)
        except np.linalg.LinAlgError:  # rounding has absorbed the ridge
            break
        slope = float(gradient @ step)
        damping = 1.0
        # Armijo's rule. Near the optimum rounding hides the decrease of the loss, so a step whose
        # predicted decrease is below rounding is taken undamped.
        while damping > 1e-10:
            new = theta - damping * step
            new_loss = objective.loss(new)
            if new_loss <= loss - 1e-4 * damping * slope or slope < 1e-12 * max(abs(loss), 1.0):
                break
            damping /= 2
        theta, loss = new, new_loss
    return theta


def lbfgs(objective: Objective, start: Array) -> Array:
    """Find a stationary point downhill of the start by L-BFGS in torch."""
    import torch

    # The loss per label makes the optimiser's tolerance one per label.
    loss_of = objective.torch_loss()
    theta = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [theta],
        max_iter=5000,
        max_eval=10_000,
        tolerance_grad=TOLERANCE / 10 / np.sqrt(len(start)),
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = loss_of(theta)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return np.asarray(theta.detach().numpy(), dtype=np.float64)


def newton_cg(objective: Objective, start: Array) -> Array:
    """Take undamped Newton steps near a minimum, each solved by conjugate gradients.

    Steps are taken while they halve the gradient norm: near the minimum each does much better.
    """
    import torch
    from scipy.sparse.linalg import LinearOperator, cg

    theta, dim = start, len(start)
    norm = _gradient_norm(objective, theta)
    while not norm <= TOLERANCE / 10:
        point = torch.tensor(theta)

        def hessian_times(vector: Array, point: torch.Tensor = point) -> Array:
            direction = torch.from_numpy(np.ascontiguousarray(vector).reshape(dim))
            _, product = torch.autograd.functional.hvp(  # type: ignore[no-untyped-call]
                objective.torch_loss(), point, direction
            )
            return np.asarray(product.numpy(), dtype=np.float64)

        hessian = LinearOperator((dim, dim), matvec=hessian_times, dtype=np.float64)
        step, _ = cg(hessian, objective.gradient(theta) / objective.n_labels, rtol=1e-3)
        next_norm = _gradient_norm(objective, theta - step)
        if not next_norm < norm / 2:
            break
        theta, norm = theta - step, next_norm
    return theta


def _gradient_norm(objective: Objective, theta: Array) -> float:
    """Compute the Euclidean norm of the gradient per label."""
    return float(np.linalg.norm(objective.gradient(theta))) / objective.n_labels


def _newton_step(objective: Objective, theta: Array, gradient: Array) -> Array:
    """Compute H⁻¹∇, or |H|⁻¹∇ where the loss may not be convex."""
    hessian = objective.hessian(theta)
    if objective.convex:
        return np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
    # The absolute values of negative eigenvalues make the step a descent direction (Nocedal and
    # Wright 2006, section 3.4).
    values, vectors = np.linalg.eigh(hessian)
    curvature = np.maximum(np.abs(values), 1e-12 * np.abs(values).max())
    downhill: Array = vectors @ (vectors.T @ gradient / curvature)
    return downhill


def _leave_saddles(objective: Objective, theta: Array) -> Array:
    """Descend from a stationary point to a minimum.

    Labels that cancel out can make a stationary point a saddle.
    """
    for _ in range(len(theta)):
        values, vectors = np.linalg.eigh(objective.hessian(theta))
        if values[0] >= -1e-9 * np.abs(values).max():
            break
        lengths = np.outer([1, -1], 2.0 ** -np.arange(30)).ravel()
        starts = theta + lengths[:, None] * vectors[:, 0]
        theta = newton(objective, min(starts, key=objective.loss))
    return theta
