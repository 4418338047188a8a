"""IPO: a squared loss, which fits a finite margin."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss, minimise_pairwise

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearIPO(LogLinearTrainer):
    """Identity preference optimisation: minimise Σ (h s − 1/(2τ))² + ½ λ‖θ‖².

    h = zᵀθ/β is the log odds of the first completion under the policy less those under π_ref,
    nats, and s is 1 where the first is preferred and −1 where the second is. As s² = 1, this is a
    least squares fit of h to s/(2τ); a soft label's s is 2y − 1, so that the target of a tie is
    h = 0. In closed form,

        θ̂ = (β/τ) (Σ z zᵀ + ½ λ β² I)⁻¹ Σ z (y − ½).

    **The limit** is not r*: on Bradley–Terry labels zᵀθ̂ tends to the best linear fit of
    (β/τ)(σ(Δr*) − ½) over the labelled pairs, and depends on which these are. That saturates for
    large rewards, and is Δr* β/(4τ) for small ones: with τ = β the policy moves a quarter as far as
    DPO's, with τ = β/4 as far. If a pair is two independent draws from μ(·|x), and the policy class
    is unrestricted, it tends to the paper's π ∝ π_ref exp(P(y ≻ μ)/τ).

    **The ridge** has more effect the larger β is: at θ = 0 the curvature of a label is 2/β² here
    and ¼ in DPO, so λ has β²/8 times its effect in DPO.

    Source: Azar, Rowland, Piot, Guo, Calandriello, Valko, Munos 2023, arXiv 2310.12036, equation
    17; TRL's ``loss_type="ipo"``, but for its division of log ratios by the number of tokens.

    Attributes:
        ridge: λ > 0.
        tau: τ > 0, per nat: the target of a win is h = 1/(2τ); β if not given.
    """

    tau: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau is not None and not 0 < self.tau < np.inf:
            raise InvalidParameter(
                f"tau must be positive and finite, or None for β, got {self.tau}."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ by least squares; see :meth:`LogLinearTrainer.theta`."""
        # Scaled to targets of ±½. The first Newton step is the closed form.
        loss = SquaredLoss(z, labels, self.ridge * beta**2 / 2)
        tau = beta if self.tau is None else self.tau
        return beta / tau * minimise_pairwise(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class SquaredLoss(PairwiseLoss):
    """Squared loss f = ½ (x − (y − ½))²: IPO's loss times τ²/2, with x = τ h."""

    def values(self, logit: Array) -> Array:
        """Compute f at each pair's logit, ``(n,)``."""
        return self.slopes(logit) ** 2 / 2

    def slopes(self, logit: Array) -> Array:
        """Compute f', ``(n,)``."""
        slopes: Array = logit - (self.labels - 0.5)
        return slopes

    def curvatures(self, logit: Array) -> Array:
        """Return f'' = 1, ``(n,)``."""
        return np.ones(len(logit))

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the mean of f in torch."""
        return ((logit - (labels - 0.5)) ** 2).mean() / 2
