"""Smooth losses to their optimum or a clear error, for every trainer of the log-linear policy."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]

TOLERANCE = 1e-8
"""The gradient's Euclidean norm at which a fit is done, per label."""

_NEWTON_MAX_DIM, _NEWTON_MAX_LABELS = 512, 100_000


class Objective(Protocol):
    """A twice differentiable loss of θ, summed over labels."""

    @property
    def n_labels(self) -> int:
        """How many labels it sums over."""

    @property
    def convex(self) -> bool:
        """Whether it is known to be convex."""

    def loss(self, theta: Array) -> float:
        """The loss at θ, ``(dim,)``."""

    def gradient(self, theta: Array) -> Array:
        """Its gradient, ``(dim,)``."""

    def hessian(self, theta: Array) -> Array:
        """Its second derivatives, ``(dim, dim)``."""

    def torch_loss(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """The loss per label, as a function that torch can differentiate."""


def minimise(objective: Objective, start: Array, what: str, advice: str) -> Array:
    """The minimum of a loss that lies downhill of the start.

    Damped Newton; beyond dim 512 or 10⁵ labels, where its Hessian costs too much, L-BFGS in torch,
    which may take a saddle for a minimum where the loss is not convex.

    Args:
        objective: the loss.
        start: the θ to begin with, ``(dim,)``.
        what: whose fit it is, for the message.
        advice: what to do if it fails, for the message.

    Returns:
        θ, ``(dim,)``, with a gradient norm below 10⁻⁸ per label.

    Raises:
        TrainingFailed: If that norm is not reached.
    """
    if len(start) > _NEWTON_MAX_DIM or objective.n_labels > _NEWTON_MAX_LABELS:
        theta = lbfgs(objective, start)
    else:
        theta = newton(objective, start)
        if not objective.convex:
            theta = _off_saddles(objective, theta)
            if not _slope(objective, theta) <= TOLERANCE:
                # Steps zigzag across a bend so sharp that the curvature beside it does not show it.
                theta = newton(objective, lbfgs(objective, theta))
    if not (slope := _slope(objective, theta)) <= TOLERANCE:
        raise TrainingFailed(
            f"the {what} fit stopped at a gradient norm of {slope:.1e} per label, where "
            f"{TOLERANCE:.0e} is asked. {advice}"
        )
    return theta


def newton(objective: Objective, start: Array) -> Array:
    """Damped Newton: a point without gradient downhill of the start, as near as rounding allows."""
    theta, n = start, objective.n_labels
    loss = objective.loss(theta)
    for _ in range(200):
        gradient = objective.gradient(theta)
        # A tenth of the tolerance: the last step costs little and leaves room for rounding.
        if np.linalg.norm(gradient) <= TOLERANCE / 10 * n:
            break
        try:
            step = _newton_step(objective, theta, gradient)
        except np.linalg.LinAlgError:  # the ridge is lost in rounding
            break
        slope = float(gradient @ step)
        damping = 1.0
        # Armijo's rule; near the optimum the loss no longer resolves the fall, so steps that
        # promise less than its rounding are taken whole.
        while damping > 1e-10:
            new = theta - damping * step
            new_loss = objective.loss(new)
            if new_loss <= loss - 1e-4 * damping * slope or slope < 1e-12 * max(abs(loss), 1.0):
                break
            damping /= 2
        theta, loss = new, new_loss
    return theta


def lbfgs(objective: Objective, start: Array) -> Array:
    """L-BFGS in torch, to the same end."""
    import torch

    # Scaled by 1/n, so that the optimiser's tolerance is the one that is promised per label.
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


def _slope(objective: Objective, theta: Array) -> float:
    return float(np.linalg.norm(objective.gradient(theta))) / objective.n_labels


def _newton_step(objective: Objective, theta: Array, gradient: Array) -> Array:
    hessian = objective.hessian(theta)
    if objective.convex:
        return np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
    # Where the loss bends down, its curvature's absolute value makes a step downhill of it
    # (Nocedal and Wright 2006, section 3.4).
    values, vectors = np.linalg.eigh(hessian)
    curvature = np.maximum(np.abs(values), 1e-12 * np.abs(values).max())
    downhill: Array = vectors @ (vectors.T @ gradient / curvature)
    return downhill


def _off_saddles(objective: Objective, theta: Array) -> Array:
    """From a point without gradient to a minimum: labels that cancel out can make it a saddle."""
    for _ in range(len(theta)):
        values, vectors = np.linalg.eigh(objective.hessian(theta))
        if values[0] >= -1e-9 * np.abs(values).max():
            break
        lengths = np.outer([1, -1], 2.0 ** -np.arange(30)).ravel()
        starts = theta + lengths[:, None] * vectors[:, 0]
        theta = newton(objective, min(starts, key=objective.loss))
    return theta
