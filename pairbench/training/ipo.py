"""IPO: a squared loss, which asks for a margin and no more."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss, optimum

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearIPO(LogLinearTrainer):
    """Identity preference optimisation: the least Σ (h s − 1/(2τ))² + ½ λ‖θ‖².

    h = zᵀθ/β is how much more than π_ref the policy prefers the first completion, nats, and
    s = ±1 who won. As s² = 1, that is least squares of s/(2τ) on h; a soft label's s is 2y − 1, so
    that a tie asks for h = 0. In closed form,

        θ̂ = (β/τ) (Σ z zᵀ + ½ λ β² I)⁻¹ Σ z (y − ½).

    **What it converges to** is not r*: on Bradley–Terry labels zᵀθ̂ tends to the best linear fit of
    (β/τ)(σ(Δr*) − ½) over the labelled pairs, and depends on which these are. That flattens large
    rewards, and is Δr* β/(4τ) for small ones: with τ = β the policy moves a quarter as far as
    DPO's, with τ = β/4 as far. If a pair is two independent draws from μ(·|x), and the policy can
    be anything, it tends to the paper's π ∝ π_ref exp(P(y ≻ μ)/τ).

    **The ridge** weighs more the larger β is: at θ = 0 a label has the curvature 2/β² here and ¼ in
    DPO, so λ counts for β²/8 of what it counts for there.

    Source: Azar, Rowland, Piot, Guo, Calandriello, Valko, Munos 2023, arXiv 2310.12036, equation
    17; TRL's ``loss_type="ipo"``, but for its division of log ratios by the number of tokens.

    Attributes:
        ridge: λ > 0.
        tau: τ > 0, per nat: a win asks for h = 1/(2τ); β where not given.
    """

    tau: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau is not None and not 0 < self.tau < np.inf:
            raise InvalidParameter(
                f"tau must be positive and finite, or None for β, got {self.tau}."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """See :meth:`LogLinearTrainer.theta`."""
        # In units in which targets are ±½: Newton's first step is the closed form.
        loss = Squared(z, labels, self.ridge * beta**2 / 2)
        tau = beta if self.tau is None else self.tau
        return beta / tau * optimum(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class Squared(PairwiseLoss):
    """f = ½ (x − (y − ½))²: IPO's loss times τ²/2, with x = τ h."""

    def values(self, logit: Array) -> Array:
        """f at each pair's logit, ``(n,)``."""
        return self.slopes(logit) ** 2 / 2

    def slopes(self, logit: Array) -> Array:
        """f', ``(n,)``."""
        slopes: Array = logit - (self.labels - 0.5)
        return slopes

    def curvatures(self, logit: Array) -> Array:
        """f'' = 1, ``(n,)``."""
        return np.ones(len(logit))

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """The mean of f."""
        return ((logit - (labels - 0.5)) ** 2).mean() / 2
