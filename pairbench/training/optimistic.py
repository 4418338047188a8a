"""XPO and SELM: DPO with an exploration bonus for moving probability away from π_ref.

Both minimise, over the answered labels i and with all expectations over the pool exact,

    Σ_i DPO_i(θ) + a Σ_i E_{y ~ π_ref(·|x_i)} log π_θ(y|x_i) + ½ λ‖θ‖²,

with a = α for XPO and a = α β for SELM. Up to a constant the bonus is −a Σ_i KL(π_ref ‖ π_θ) at the
labelled prompts. This is optimism: of two θ that fit the labels equally well, it prefers the one
with the larger regularised gain over π_ref, max_π E_π r − E_π_ref r − β KL(π ‖ π_ref) =
β KL(π_ref ‖ π_θ).

**A minimum exists**: for each label the bonus falls by (a/β) D ‖θ‖ at most, with D the largest
distance of two completions of a prompt, and the ridge grows quadratically. **It need not be
unique**, since the bonus is concave, with Hessian −(a/β²) Cov_π_θ[φ] for each label. It is unique
if λ > a n D²/(4 β²), n being the number of labels; otherwise the fit is the minimum that lies
downhill of DPO's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from pairbench._util.checks import check_nonnegative
from pairbench.information.fisher import policy_covariance
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool.pool import Pairs, Pool
from pairbench.training.log_linear import LogisticLoss, LogLinearDPO
from pairbench.training.minimise import minimise

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearXPO:
    """Exploratory preference optimisation: DPO's loss + α Σ_i E_π_ref log π_θ.

    The paper adds log π_θ(ỹ_i|x_i) for the completion ỹ_i ~ π_ref that label i compared; here its
    expectation, which does not depend on the pair that was compared.

    Source: Xie, Foster, Krishnamurthy, Rosset, Awadallah, Rakhlin 2024, arXiv 2405.21046,
    algorithm 1.

    Attributes:
        ridge: λ > 0, as in DPO.
        alpha: α ≥ 0, per label; the default is that of TRL's ``XPOConfig``. 0 gives DPO.
    """

    ridge: float = 1.0
    alpha: float = 1e-5

    def __post_init__(self) -> None:
        LogLinearDPO(self.ridge)  # checks the ridge
        check_nonnegative(alpha=self.alpha)

    def bonus(self, beta: float) -> float:
        """Compute a, the weight of one label's E_π_ref log π_θ."""
        return self.alpha

    def fit(
        self, pool: Pool, beta: float, pairs: Pairs, labels: NDArray[np.float64]
    ) -> LogLinearPolicy:
        """Find the minimum downhill of DPO's; see :class:`pairbench.training.Trainer`."""
        dpo = LogLinearDPO(self.ridge).fit(pool, beta, pairs, labels)
        answered = ~np.isnan(labels)
        bonus = self.bonus(beta)
        if not (bonus and answered.any()):
            return dpo
        pairs, labels = pairs[answered], labels[answered]
        data = LogisticLoss(pool.differences(pairs), labels, self.ridge)
        theta = minimise(
            OptimisticLoss(data, select_labelled_prompts(pool, pairs), beta, bonus),
            dpo.theta,
            type(self).__name__,
            f"A smaller alpha than {self.alpha:g} or a larger ridge than {self.ridge:g} make the "
            "problem better conditioned.",
        )
        return LogLinearPolicy(theta, beta)


@dataclass(frozen=True)
class LogLinearSELM(LogLinearXPO):
    """Self-exploring language models: DPO's loss + α β Σ_i E_π_ref log π_θ.

    With exact expectations this is XPO with α β for α. The paper's π_ref is the policy of the last
    round, from which the next round's completions are drawn; here it is the environment's, since
    the pool is fixed and every round's fit is to all labels.

    Source: Zhang, Yu, Sharma, Zhong, Liu, Yang, Wang, Hassan, Wang 2024, arXiv 2405.19332,
    equation 4.2.

    Attributes:
        ridge: λ > 0, as in DPO.
        alpha: α ≥ 0, per label; the default is the authors' for Zephyr. 0 gives DPO.
    """

    alpha: float = 1e-3

    def bonus(self, beta: float) -> float:
        """Compute a, the weight of one label's E_π_ref log π_θ."""
        return self.alpha * beta


def select_labelled_prompts(pool: Pool, pairs: Pairs) -> Pool:
    """Select the prompts of labelled pairs, weighted by the number of their pairs."""
    prompts, counts = np.unique(pairs[:, 0], return_counts=True)
    return Pool(
        pool.features[prompts],
        log_ref=pool.log_ref[prompts],
        valid=pool.valid[prompts],
        prompt_weights=counts,
    )


@dataclass(frozen=True, eq=False)
class OptimisticLoss:
    """Loss of XPO and SELM, an :class:`pairbench.training.minimise.Objective`.

    The value of E_π_ref log π_θ at θ = 0 is subtracted from it, which makes it −KL(π_ref ‖ π_θ) =
    −log E_π_ref exp((φ − E_π_ref φ)ᵀθ/β).

    Attributes:
        data: DPO's loss.
        pool: the labelled prompts, weighted by their numbers of labels.
        beta: β, reward units per nat.
        bonus: a, the weight of the bonus of one label.
    """

    data: LogisticLoss
    pool: Pool
    beta: float
    bonus: float
    convex: ClassVar[bool] = False

    @property
    def n_labels(self) -> int:
        """Number of labels in the sum."""
        return self.data.n_labels

    def loss(self, theta: Array) -> float:
        """Compute the loss at θ, ``(dim,)``."""
        kl = self.pool.prompt_weights @ logsumexp(self._logits(theta), axis=1)
        return self.data.loss(theta) - self._weight * float(kl)

    def gradient(self, theta: Array) -> Array:
        """Compute the gradient at θ, ``(dim,)``.

        That of the bonus is −a/β times E_π_θ φ − E_π_ref φ, summed over the labels' prompts.
        """
        difference = softmax(self._logits(theta), axis=1) - self._ref
        difference *= self.pool.prompt_weights[:, None]
        mean: Array = difference.ravel() @ self.pool.phi.reshape(-1, self.pool.dim)
        return self.data.gradient(theta) - self._weight / self.beta * mean

    def hessian(self, theta: Array) -> Array:
        """Compute the Hessian at θ, ``(dim, dim)``."""
        covariance = policy_covariance(self.pool, theta, self.beta)
        return self.data.hessian(theta) - self._weight / self.beta**2 * covariance

    def torch_loss(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Return the loss per label as a function of θ that torch can differentiate."""
        import torch

        dpo = self.data.torch_loss()
        phi, ref, log_ref, rho = (
            torch.tensor(array)
            for array in (self.pool.phi, self._ref, self.pool.log_ref, self.pool.prompt_weights)
        )

        def loss(theta: torch.Tensor) -> torch.Tensor:
            rewards = phi @ theta
            rewards = rewards - (ref * rewards).sum(dim=1, keepdim=True)
            kl = torch.logsumexp(log_ref + rewards / self.beta, dim=1)
            return dpo(theta) - self.bonus * rho.dot(kl)

        return loss

    @cached_property
    def _ref(self) -> Array:
        """π_ref of the completions, ``(n_prompts, n_completions)``; 0 where not valid."""
        return np.exp(self.pool.log_ref)

    @property
    def _weight(self) -> float:
        """Weight of the bonus of all labels."""
        return self.bonus * self.n_labels

    def _logits(self, theta: Array) -> Array:
        """Compute log π_ref + (φ − E_π_ref φ)ᵀθ/β, whose normaliser is exp KL(π_ref ‖ π_θ)."""
        rewards = self.pool.project(theta)
        rewards = rewards - (self._ref * rewards).sum(axis=1, keepdims=True)
        logits: Array = self.pool.log_ref + rewards / self.beta
        return logits
