"""MC dropout: one network, and what it says with parts of it switched off.

Source: Gal and Ghahramani 2016, arXiv 1506.02142. A draw is one mask, the same for all completions,
and so one reward function. What the untrained network says without a mask is subtracted, so that
before the first label all rewards are believed to be equal, up to the masks' noise.

How unsure such a belief is depends on the rate more than on the labels: with ever more of them it
does not become certain (Osband 2016, *Risk versus Uncertainty in Deep Learning*, NeurIPS workshop
on Bayesian deep learning). It is here because it is widely used.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench.errors import InvalidParameter
from pairbench.estimators.networks import (
    AT_ONCE,
    STIFFNESS,
    Comparisons,
    NetworkEstimator,
    Weights,
    perceptron,
    random_weights,
    trained,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Dropout(NetworkEstimator):
    """A network with two hidden layers, trained and asked under random masks.

    Attributes:
        masks: draws from the posterior.
        rate: the share of units that a mask switches off.
    """

    masks: int = 50
    rate: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("masks")
        if not 0 < self.rate < 1:
            raise InvalidParameter(f"rate must lie between 0 and 1, got {self.rate}.")

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """See :meth:`NetworkEstimator.rewards`."""
        sizes = (comparisons.inputs.shape[1], self.hidden, self.hidden, 1)
        start = random_weights(1, sizes, generator)
        masks = self._masks(self.masks, generator)

        def change(weights: Weights, inputs: "Tensor", masks: list["Tensor"]) -> "Tensor":
            return (perceptron(weights, inputs, masks) - perceptron(start, inputs))[..., 0]

        scale = comparisons.scale(comparisons.everywhere(lambda x: change(start, x, masks)))
        inputs = comparisons.inputs[comparisons.asked]

        def loss(weights: Weights) -> "Tensor":
            drawn = change(weights, inputs, self._masks(AT_ONCE, generator))
            return comparisons.loss(scale * drawn).sum() / AT_ONCE

        # The scale is that of the masks' noise, whose variance is this times the network's own.
        noise = (1 - self.rate) ** -2 - 1
        weights = trained(start, loss, self.steps, [STIFFNESS / noise] * 3)
        return comparisons.everywhere(lambda x: scale * change(weights, x, masks))

    def _masks(self, count: int, generator: "Generator") -> list["Tensor"]:
        """For each hidden layer, ``(count, 1, hidden)``, with mean one."""
        import torch

        shape = (2, count, 1, self.hidden)
        drawn = torch.rand(shape, generator=generator, dtype=torch.float32) >= self.rate
        return list(drawn.float() / (1 - self.rate))
