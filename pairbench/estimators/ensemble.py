"""A deep ensemble: networks with different initial weights and different weights of the labels.

Members: Lakshminarayanan, Pritzel, Blundell 2017, arXiv 1612.01474. Each is regularised towards its
own initial weights, a draw from the prior (Pearce et al. 2020, arXiv 1810.05546; for linear models
the same as the randomised prior functions of Osband, Aslanides, Cassirer 2018, arXiv 1806.03335),
and weighs the labels by draws from Exp(1), the Bayesian bootstrap (Rubin 1981; Newton and Raftery
1994). In a correctly specified linear model, the two together draw from the Laplace posterior: the
initial weights contribute A⁻¹(λI)A⁻¹ to the covariance, the label weights A⁻¹(A − λI)A⁻¹.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench._util.checks import check_at_least
from pairbench.estimators.networks import (
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
class Ensemble(NetworkEstimator):
    """E networks with two hidden layers, trained together; before the first label, the prior.

    Attributes:
        members: E.
        bootstrap: whether members weigh the labels differently; the original method does not, and
            is more confident.
    """

    members: int = 10
    bootstrap: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, members=self.members)

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """Train the members, and return their rewards, ``(members, N K)``."""
        import torch

        sizes = (comparisons.inputs.shape[1], self.hidden, self.hidden, 1)
        weights = draw_weights(self.members, sizes, generator)
        scale = comparisons.scale(
            comparisons.evaluate_on_pool(lambda x: perceptron(weights, x)[..., 0])
        )
        inputs = comparisons.inputs[comparisons.labelled]
        label_weights = torch.ones(self.members, len(comparisons.labels), dtype=torch.float32)
        if self.bootstrap:
            label_weights.exponential_(generator=generator)

        def reward(weights: Weights, inputs: "Tensor") -> "Tensor":
            return scale * perceptron(weights, inputs)[..., 0]

        def loss(weights: Weights) -> "Tensor":
            return (label_weights * comparisons.loss(reward(weights, inputs))).sum()

        weights = train(weights, loss, self.steps, [PRIOR_PRECISION] * 3)
        return comparisons.evaluate_on_pool(lambda inputs: reward(weights, inputs))
