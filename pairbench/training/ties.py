"""DPO with ties as a third outcome: the models of Rao and Kupper, and of Davidson.

With x the reward difference of a pair, both models give the outcomes "first", "tie" and "second"
probabilities that depend on x and a fixed ν, and the policy maximises the penalised likelihood. A
label of exactly ½ is a tie; any other label y is a soft one: the first wins with probability y, the
second with 1 − y.

On labels drawn from the model, θ̂ tends to θ*, whereas DPO, which counts a tie as half a win and
half a loss, tends to rewards that are too small. **On Bradley–Terry labels, which have no ties,
both overestimate rewards**: the model explains the absence of ties by large differences. Small
rewards are estimated (1 + ν)/2 times too large by Rao and Kupper, 1 + ν times by Davidson, twice by
either default.

Source: Chen, Yang, Lin, Mei, Byrne 2024, *On extending direct preference optimization to
accommodate ties*, arXiv 2409.17431: its DPO-RK and DPO-D, with its defaults of ν, at which equal
completions tie with probability ½.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench._util.numerics import logistic_slope
from pairbench.errors import InvalidParameter
from pairbench.training.pairwise import LogLinearTrainer, PairwiseLoss, minimise_pairwise

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearRaoKupper(LogLinearTrainer):
    """DPO by the model of Rao and Kupper, whose ties are differences below a threshold.

        P(first) = σ(x − log ν),   P(second) = σ(−x − log ν),   P(tie) = (ν² − 1) P(first) P(second)

    So the loss counts a tie as one win of each side.

    Source: Rao, Kupper 1967, JASA 62(317); see the module.

    Attributes:
        ridge: λ > 0, as in DPO.
        nu: ν > 1; equal completions tie with probability (ν − 1)/(ν + 1). The limit 1 has no ties,
            and is DPO.
    """

    nu: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 < self.nu < np.inf:
            raise InvalidParameter(
                f"nu must be more than 1 and finite, got {self.nu}. At 1 there are no "
                "ties; take trainer 'dpo'."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ by maximum penalised likelihood; see :meth:`LogLinearTrainer.theta`."""
        loss = RaoKupperLoss(z, labels, self.ridge, nu=self.nu)
        return minimise_pairwise(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class LogLinearDavidson(LogLinearTrainer):
    """DPO by the model of Davidson, where ties do not change the odds of the two wins.

        P(first) : P(tie) : P(second) = exp(x/2) : 2ν : exp(−x/2)

    The gradient counts a tie as half a win of each side, as DPO's does; only the expected label
    that is subtracted differs. At the default ν = 1 the loss is twice DPO's at x/2, so that θ̂ is
    twice DPO's θ̂ under twice the ridge, for any labels.

    Source: Davidson 1970, JASA 65(329), with 2ν for its ν; see the module.

    Attributes:
        ridge: λ > 0, as in DPO.
        nu: ν > 0; equal completions tie with probability ν/(1 + ν). The limit 0 has no ties, and is
            DPO.
    """

    nu: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.nu < np.inf:
            raise InvalidParameter(
                f"nu must be positive and finite, got {self.nu}. At 0 there are no "
                "ties; take trainer 'dpo'."
            )

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ by maximum penalised likelihood; see :meth:`LogLinearTrainer.theta`."""
        loss = DavidsonLoss(z, labels, self.ridge, nu=self.nu)
        return minimise_pairwise(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class RaoKupperLoss(PairwiseLoss):
    """Negative log-likelihood f = −w₁ log σ(x − α) − w₀ log σ(−x − α), α = log ν, up to a constant.

    (w₁, w₀) is (y, 1 − y), but (1, 1) for a tie.

    Attributes:
        nu: ν > 1.
    """

    nu: float = field(kw_only=True)

    def values(self, logit: Array) -> Array:
        """Compute f at each pair's logit, ``(n,)``."""
        first, second = self._wins
        above, below = self._shift(logit)
        values: Array = first * np.logaddexp(0, -below) + second * np.logaddexp(0, above)
        return values

    def slopes(self, logit: Array) -> Array:
        """Compute f', ``(n,)``."""
        first, second = self._wins
        above, below = self._shift(logit)
        slopes: Array = second * expit(above) - first * expit(-below)
        return slopes

    def curvatures(self, logit: Array) -> Array:
        """Compute f'' ≥ 0, ``(n,)``."""
        first, second = self._wins
        above, below = self._shift(logit)
        return first * logistic_slope(below) + second * logistic_slope(above)

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the mean of f in torch."""
        import torch
        from torch.nn.functional import logsigmoid

        first, second = (torch.from_numpy(wins) for wins in self._wins)
        threshold = np.log(self.nu)
        wins = first * logsigmoid(logit - threshold) + second * logsigmoid(-logit - threshold)
        return -wins.mean()

    @property
    def _wins(self) -> tuple[Array, Array]:
        """Weights w₁ and w₀, each ``(n,)``."""
        tie = self.labels == 0.5
        return np.where(tie, 1.0, self.labels), np.where(tie, 1.0, 1 - self.labels)

    def _shift(self, logit: Array) -> tuple[Array, Array]:
        """Return x + α and x − α, each ``(n,)``."""
        return logit + np.log(self.nu), logit - np.log(self.nu)


@dataclass(frozen=True)
class DavidsonLoss(PairwiseLoss):
    """Negative log-likelihood f = log(eˣᐟ² + 2ν + e⁻ˣᐟ²) − (y − ½) x, up to a constant.

    Attributes:
        nu: ν > 0.
    """

    nu: float = field(kw_only=True)

    def values(self, logit: Array) -> Array:
        """Compute f at each pair's logit, ``(n,)``."""
        values: Array = self._log_total(logit) - (self.labels - 0.5) * logit
        return values

    def slopes(self, logit: Array) -> Array:
        """Compute f', ``(n,)``: the expected label, where a tie is ½, less the label."""
        first, tie, _ = self._probabilities(logit)
        return first + tie / 2 - self.labels

    def curvatures(self, logit: Array) -> Array:
        """Compute f'' ≥ 0, ``(n,)``: the label's variance, accurate in both tails."""
        first, tie, second = self._probabilities(logit)
        return first * second + tie * (first + second) / 4

    def torch_mean(self, logit: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the mean of f in torch."""
        import torch

        log_total = torch.logaddexp(
            torch.logaddexp(logit / 2, -logit / 2), torch.full_like(logit, self._log_tie)
        )
        return (log_total - (labels - 0.5) * logit).mean()

    @property
    def _log_tie(self) -> float:
        """Logarithm of the tie's weight 2ν."""
        return float(np.log(2) + np.log(self.nu))

    def _log_total(self, logit: Array) -> Array:
        """Compute log(eˣᐟ² + 2ν + e⁻ˣᐟ²), ``(n,)``."""
        total: Array = np.logaddexp(np.logaddexp(logit / 2, -logit / 2), self._log_tie)
        return total

    def _probabilities(self, logit: Array) -> tuple[Array, Array, Array]:
        """Compute the probabilities of "first", "tie" and "second", each ``(n,)``."""
        log_total = self._log_total(logit)
        return (
            np.exp(logit / 2 - log_total),
            np.exp(self._log_tie - log_total),
            np.exp(-logit / 2 - log_total),
        )
