"""cDPO and rDPO: DPO for labels that may have been flipped, each with probability ε.

Both are DPO on labels of other values: cDPO pulls a label towards ½ by a factor of 1 − 2ε, rDPO
pushes it away by the same factor. Flips pull the mean of a label towards ½, too, so **rDPO undoes
them, and cDPO does to the labels once more what the flips did**. Where rewards are small and labels
many, θ̂ tends to 1 − 2ε times θ* for DPO, (1 − 2ε)² times θ* for cDPO, and θ* for rDPO.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.training.log_linear import Logistic
from pairbench.training.pairwise import LogLinearTrainer, optimum

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FlippedLabels(LogLinearTrainer):
    """A trainer that is told how many labels were flipped.

    Attributes:
        ridge: λ > 0, as DPO's.
        flip_rate: ε, at least 0 and below ½; 0 is DPO.
    """

    flip_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flip_rate < 0.5:
            raise InvalidParameter(
                f"flip_rate must be at least 0 and below 0.5, got {self.flip_rate}. At a half, "
                "labels tell nothing; beyond, turn them round."
            )


@dataclass(frozen=True)
class LogLinearCDPO(FlippedLabels):
    """Conservative DPO: y becomes (1 − ε) y + ε (1 − y), so that no label asks for more than 1 − ε.

    It does not correct flips, see the module: it asks for less, as a larger ridge does, but most
    where all labels agree.

    Source: Mitchell 2023, *A note on DPO with noisy preferences & relationship to IPO*.

    Attributes:
        ridge: λ > 0, as DPO's.
        flip_rate: ε, at least 0 and below ½; 0 is DPO.
    """

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """See :meth:`LogLinearTrainer.theta`."""
        loss = Logistic(z, labels + self.flip_rate * (1 - 2 * labels), self.ridge)
        return optimum(loss, type(self).__name__, self.ridge)


@dataclass(frozen=True)
class LogLinearRDPO(FlippedLabels):
    """Robust DPO: the loss whose mean over flips is DPO's loss on the labels before them.

    With ℓ DPO's loss of a label, ((1 − ε) ℓ(y) − ε ℓ(1 − y)) / (1 − 2ε); that is ℓ at
    (y − ε)/(1 − 2ε), since ℓ is linear in the label. θ̂ tends to θ* if ε is the rate at which labels
    were flipped, and flips do not depend on the pair. The price is noise: a label's standard
    deviation grows by 1/(1 − 2ε). As labels of 0 and 1 become less than 0 and more than 1, those
    that nothing contradicts pull without end, and it is the ridge alone that holds them.

    Source: Chowdhury, Kini, Natarajan 2024, *Provably robust DPO*, arXiv 2403.00409; TRL's
    ``loss_type="robust"``.

    Attributes:
        ridge: λ > 0, as DPO's.
        flip_rate: ε, at least 0 and below ½; 0 is DPO.
    """

    def theta(self, z: Array, labels: Array, beta: float) -> Array:
        """See :meth:`LogLinearTrainer.theta`."""
        loss = Logistic(z, (labels - self.flip_rate) / (1 - 2 * self.flip_rate), self.ridge)
        return optimum(loss, type(self).__name__, self.ridge)
