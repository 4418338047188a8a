"""MC dropout: one network, whose random dropout masks are draws from the posterior.

Source: Gal and Ghahramani 2016, arXiv 1506.02142. A draw is one mask, the same for all completions,
and so one reward function. The output of the untrained network without a mask is subtracted, so
that before the first label all expected rewards are equal, up to the masks' noise.

The uncertainty depends on the dropout rate more than on the labels: it does not vanish as labels
increase (Osband 2016, *Risk versus Uncertainty in Deep Learning*, NeurIPS workshop on Bayesian deep
learning). The method is here because it is widely used.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench._util.checks import check_at_least
from pairbench.errors import InvalidParameter
from pairbench.estimators.networks import (
    DRAWS_PER_STEP,
    PRIOR_PRECISION,
    Comparisons,
    NetworkEstimator,
    Weights,
    draw_weights,
    perceptron,
    train,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Dropout(NetworkEstimator):
    """A network with two hidden layers, trained and evaluated under random dropout masks.

    Attributes:
        masks: draws from the posterior.
        rate: the share of units that a mask drops.
    """

    masks: int = 50
    rate: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, masks=self.masks)
        if not 0 < self.rate < 1:
            raise InvalidParameter(f"rate must lie between 0 and 1, got {self.rate}.")

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """Train the network, and return its rewards under each mask, ``(masks, N K)``."""
        sizes = (comparisons.inputs.shape[1], self.hidden, self.hidden, 1)
        start = draw_weights(1, sizes, generator)
        masks = self._draw_masks(self.masks, generator)

        def change(weights: Weights, inputs: "Tensor", masks: list["Tensor"]) -> "Tensor":
            return (perceptron(weights, inputs, masks) - perceptron(start, inputs))[..., 0]

        scale = comparisons.scale(comparisons.evaluate_on_pool(lambda x: change(start, x, masks)))
        inputs = comparisons.inputs[comparisons.labelled]

        def loss(weights: Weights) -> "Tensor":
            rewards = change(weights, inputs, self._draw_masks(DRAWS_PER_STEP, generator))
            return comparisons.loss(scale * rewards).sum() / DRAWS_PER_STEP

        # The scale is that of the masks' noise, whose variance is this times the network's own.
        noise = (1 - self.rate) ** -2 - 1
        weights = train(start, loss, self.steps, [PRIOR_PRECISION / noise] * 3)
        return comparisons.evaluate_on_pool(lambda x: scale * change(weights, x, masks))

    def _draw_masks(self, count: int, generator: "Generator") -> list["Tensor"]:
        """Draw masks for both hidden layers, ``(count, 1, hidden)`` each, of mean one."""
        import torch

        shape = (2, count, 1, self.hidden)
        active = torch.rand(shape, generator=generator, dtype=torch.float32) >= self.rate
        return list(active.float() / (1 - self.rate))
