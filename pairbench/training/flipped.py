"""cDPO and rDPO: DPO for labels that may have been flipped, each with probability ε.

Both are DPO on transformed labels: cDPO shrinks a label towards ½ by a factor of 1 − 2ε, rDPO
expands it by the inverse factor. Flips shrink the mean of a label towards ½, too, so **rDPO
corrects flips, and cDPO shrinks the labels a second time**. Where rewards are small and labels
many, θ̂ tends to 1 − 2ε times θ* for DPO, (1 − 2ε)² times θ* for cDPO, and θ* for rDPO.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.training.log_linear import LogisticLoss
from pairbench.training.pairwise import LogLinearTrainer, minimise_pairwise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FlippedLabels(LogLinearTrainer):
    """Base class of trainers that assume a rate of flipped labels.

    Attributes:
        ridge: λ > 0, as in DPO.
        flip_rate: ε, at least 0 and below ½; 0 gives DPO.
    """

    flip_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flip_rate < 0.5:
            raise InvalidParameter(
                f"flip_rate must be at least 0 and below 0.5, got {self.flip_rate}. At 0.5, "
                "labels carry no information; above, exchange 0 and 1."
            )


@dataclass(frozen=True)
class LogLinearCDPO(FlippedLabels):
    """Conservative DPO: y becomes (1 − ε) y + ε (1 − y), so that targets lie in [ε, 1 − ε].

    It does not correct flips, see the module: it regularises, as a larger ridge does, but most
    where all labels agree.

    Source: Mitchell 2023, *A note on DPO with noisy preferences & relationship to IPO*.

    Attributes:
        ridge: λ > 0, as in DPO.
        flip_rate: ε, at least 0 and below ½; 0 gives DPO.
    """

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ to the transformed labels; see :meth:`LogLinearTrainer.theta`."""
        loss = LogisticLoss(z, labels + self.flip_rate * (1 - 2 * labels), self.ridge)
        return minimise_pairwise(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class LogLinearRDPO(FlippedLabels):
    """Robust DPO: an unbiased estimate of DPO's loss on the labels before the flips.

    With ℓ DPO's loss of a label, ((1 − ε) ℓ(y) − ε ℓ(1 − y)) / (1 − 2ε); that is ℓ at
    (y − ε)/(1 − 2ε), since ℓ is linear in the label. θ̂ tends to θ* if ε is the rate at which labels
    were flipped, and flips do not depend on the pair. The price is variance: a label's standard
    deviation grows by 1/(1 − 2ε). Labels of 0 and 1 become less than 0 and more than 1, so that the
    loss is unbounded below where labels agree, and only the ridge bounds θ̂.

    Source: Chowdhury, Kini, Natarajan 2024, *Provably robust DPO*, arXiv 2403.00409; TRL's
    ``loss_type="robust"``.

    Attributes:
        ridge: λ > 0, as in DPO.
        flip_rate: ε, at least 0 and below ½; 0 gives DPO.
    """

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """Fit θ to the transformed labels; see :meth:`LogLinearTrainer.theta`."""
        loss = LogisticLoss(z, (labels - self.flip_rate) / (1 - 2 * self.flip_rate), self.ridge)
        return minimise_pairwise(loss, type(self).__name__, self.ridge)
