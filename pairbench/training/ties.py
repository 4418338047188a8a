"""DPO where a tie is an answer of its own: the models of Rao and Kupper, and of Davidson.

With x the reward difference of a pair, both give the answers "first", "tie" and "second"
probabilities that depend on x and a fixed ν, and the policy is the maximum of the penalised
likelihood. A label of exactly ½ is a tie; a label y in between says that the first wins with
probability y and the second with 1 − y.

Fitted to labels that such a model draws, θ̂ tends to θ*, where DPO, to which a tie is half a win and
half a loss, tends to rewards that are too small. **Fitted to Bradley–Terry labels, which have no
ties, both overrate**: the model takes the lack of ties for large differences. Small rewards come
out (1 + ν)/2 times too large by Rao and Kupper, 1 + ν times by Davidson, twice by either default.

Source: Chen, Yang, Lin, Mei, Byrne 2024, *On extending direct preference optimization to
accommodate ties*, arXiv 2409.17431, whose DPO-RK and DPO-D these are, with its ν: equal completions
tie every other time.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.errors import InvalidParameter
from pairbench.training.log_linear import logistic_slope
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss, optimum

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearRaoKupper(LogLinearTrainer):
    """DPO by the model of Rao and Kupper: who differs by less than a threshold may tie.

        P(first) = σ(x − log ν),   P(second) = σ(−x − log ν),   P(tie) = (ν² − 1) P(first) P(second)

    So to the loss a tie is one whole win of either side.

    Source: Rao, Kupper 1967, JASA 62(317); see the module.

    Attributes:
        ridge: λ > 0, as DPO's.
        nu: ν > 1; equal completions tie with probability (ν − 1)/(ν + 1). At 1 there would be no
            ties, and it would be DPO.
    """

    nu: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 < self.nu < np.inf:
            raise InvalidParameter(
                f"nu must be more than 1 and finite, got {self.nu}. At 1, ties cannot happen; "
                "trainer 'dpo' is without them."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """See :meth:`LogLinearTrainer.theta`."""
        loss = RaoKupperLoss(z, labels, self.ridge, nu=self.nu)
        return optimum(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class LogLinearDavidson(LogLinearTrainer):
    """DPO by the model of Davidson: ties leave the odds of the two wins as they were.

        P(first) : P(tie) : P(second) = exp(x/2) : 2ν : exp(−x/2)

    To the gradient a tie is half a win of either side, as it is to DPO; what differs is the
    expectation that this is held against. At the default ν = 1 the loss is twice DPO's at x/2, so
    that θ̂ is twice DPO's θ̂ under twice the ridge, whatever the labels are.

    Source: Davidson 1970, JASA 65(329), with 2ν for its ν; see the module.

    Attributes:
        ridge: λ > 0, as DPO's.
        nu: ν > 0; equal completions tie with probability ν/(1 + ν). At 0 there would be no ties,
            and it would be DPO.
    """

    nu: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.nu < np.inf:
            raise InvalidParameter(
                f"nu must be positive and finite, got {self.nu}. At 0, ties cannot happen; "
                "trainer 'dpo' is without them."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """See :meth:`LogLinearTrainer.theta`."""
        loss = DavidsonLoss(z, labels, self.ridge, nu=self.nu)
        return optimum(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class RaoKupperLoss(PairwiseLoss):
    """f = −log likelihood, less what is constant: −w₁ log σ(x − α) − w₀ log σ(−x − α), α = log ν.

    (w₁, w₀) is (y, 1 − y), but (1, 1) for a tie.
    """

    nu: float = field(kw_only=True)

    def values(self, logit: Array) -> Array:
        """f at each pair's logit, ``(n,)``."""
        first, second = self._wins
        above, below = self._shifted(logit)
        values: Array = first * np.logaddexp(0, -below) + second * np.logaddexp(0, above)
        return values

    def slopes(self, logit: Array) -> Array:
        """f', ``(n,)``."""
        first, second = self._wins
        above, below = self._shifted(logit)
        slopes: Array = second * expit(above) - first * expit(-below)
        return slopes

    def curvatures(self, logit: Array) -> Array:
        """f'' ≥ 0, ``(n,)``."""
        first, second = self._wins
        above, below = self._shifted(logit)
        return first * logistic_slope(below) + second * logistic_slope(above)

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """The mean of f."""
        import torch
        from torch.nn.functional import logsigmoid

        first, second = (torch.from_numpy(wins) for wins in self._wins)
        threshold = np.log(self.nu)
        wins = first * logsigmoid(logit - threshold) + second * logsigmoid(-logit - threshold)
        return -wins.mean()

    @property
    def _wins(self) -> tuple[Array, Array]:
        tie = self.labels == 0.5
        return np.where(tie, 1.0, self.labels), np.where(tie, 1.0, 1 - self.labels)

    def _shifted(self, logit: Array) -> tuple[Array, Array]:
        return logit + np.log(self.nu), logit - np.log(self.nu)


@dataclass(frozen=True)
class DavidsonLoss(PairwiseLoss):
    """f = −log likelihood, less what is constant: log(eˣᐟ² + 2ν + e⁻ˣᐟ²) − (y − ½) x."""

    nu: float = field(kw_only=True)

    def values(self, logit: Array) -> Array:
        """f at each pair's logit, ``(n,)``."""
        values: Array = self._log_total(logit) - (self.labels - 0.5) * logit
        return values

    def slopes(self, logit: Array) -> Array:
        """f', ``(n,)``: the expected label, a tie being ½, less the label."""
        first, tie, _ = self._chances(logit)
        return first + tie / 2 - self.labels

    def curvatures(self, logit: Array) -> Array:
        """f'' ≥ 0, ``(n,)``: the label's variance, summed so that it is accurate in both tails."""
        first, tie, second = self._chances(logit)
        return first * second + tie * (first + second) / 4

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """The mean of f."""
        import torch

        log_total = torch.logaddexp(
            torch.logaddexp(logit / 2, -logit / 2), torch.full_like(logit, self._log_tie)
        )
        return (log_total - (labels - 0.5) * logit).mean()

    @property
    def _log_tie(self) -> float:
        return float(np.log(2) + np.log(self.nu))

    def _log_total(self, logit: Array) -> Array:
        total: Array = np.logaddexp(np.logaddexp(logit / 2, -logit / 2), self._log_tie)
        return total

    def _chances(self, logit: Array) -> tuple[Array, Array, Array]:
        """The probabilities of the first, a tie and the second, each ``(n,)``."""
        log_total = self._log_total(logit)
        return (
            np.exp(logit / 2 - log_total),
            np.exp(self._log_tie - log_total),
            np.exp(-logit / 2 - log_total),
        )
