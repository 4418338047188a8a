"""A deep ensemble: networks that begin differently and see the labels with different weights.

Members: Lakshminarayanan, Pritzel, Blundell 2017, arXiv 1612.01474. Each is pulled back to its own
beginning, a draw from the prior (Pearce et al. 2020, arXiv 1810.05546; for linear models the same
as the randomised prior functions of Osband, Aslanides, Cassirer 2018, arXiv 1806.03335), and weighs
the labels by draws from Exp(1), the Bayesian bootstrap (Rubin 1981; Newton and Raftery 1994). In a
linear model that holds, the two together draw from the Laplace posterior: the beginnings contribute
A⁻¹(λI)A⁻¹ to the covariance, the weights A⁻¹(A − λI)A⁻¹.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench.estimators.networks import (
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
class Ensemble(NetworkEstimator):
    """E networks with two hidden layers, all trained at once; before the first label, the prior.

    Attributes:
        members: E.
        bootstrap: whether each member weighs the labels in its own way; the original does not, and
            is surer of itself.
    """

    members: int = 10
    bootstrap: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("members")

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """See :meth:`NetworkEstimator.rewards`."""
        import torch

        sizes = (comparisons.inputs.shape[1], self.hidden, self.hidden, 1)
        weights = random_weights(self.members, sizes, generator)
        scale = comparisons.scale(comparisons.everywhere(lambda x: perceptron(weights, x)[..., 0]))
        inputs = comparisons.inputs[comparisons.asked]
        importance = torch.ones(self.members, len(comparisons.labels), dtype=torch.float32)
        if self.bootstrap:
            importance.exponential_(generator=generator)

        def reward(weights: Weights, inputs: "Tensor") -> "Tensor":
            return scale * perceptron(weights, inputs)[..., 0]

        def loss(weights: Weights) -> "Tensor":
            return (importance * comparisons.loss(reward(weights, inputs))).sum()

        weights = trained(weights, loss, self.steps, [STIFFNESS] * 3)
        return comparisons.everywhere(lambda inputs: reward(weights, inputs))
