"""An epistemic neural network: a network that also takes a random index, z ~ N(0, I).

Source: Osband et al. 2021, *Epistemic Neural Networks*, arXiv 2107.08924; as a reward model for
choosing pairs: Dwaracherla et al. 2024, *Efficient Exploration for LLMs*, arXiv 2402.00396.

The reward is μ(φ) + (σ(h, φ, z) + p(φ))ᵀz / √D: a base network μ with last hidden layer h, the
epinet σ, which learns but passes no gradient on to h, and D prior networks p, which stay as they
were drawn. Each z is one reward function; the training minimises the loss averaged over z. What μ
and σ say untrained is subtracted, so that before the first label the rewards are the prior's.

An average over z is also met by larger differences: where λ is so small that the prior's spread is
many logits, and the epinet cannot take all of it back, μ exaggerates.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench.estimators.networks import (
    AT_ONCE,
    STIFFNESS,
    Comparisons,
    NetworkEstimator,
    Weights,
    activated,
    perceptron,
    random_weights,
    trained,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Epistemic(NetworkEstimator):
    """A base network with two hidden layers, and an epinet with one that is three times as wide.

    Attributes:
        indices: draws of z from which the belief is made.
        index_dim: D, the dimension of z.
    """

    indices: int = 50
    index_dim: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("indices", "index_dim")

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """See :meth:`NetworkEstimator.rewards`."""
        import torch

        dim, hidden, size = comparisons.inputs.shape[1], self.hidden, self.index_dim
        base = random_weights(1, (dim, hidden, hidden, 1), generator)
        epinet = random_weights(1, (hidden + dim + size, 3 * hidden, size), generator)
        priors = random_weights(size, (dim, hidden, hidden, 1), generator)
        start = base + epinet

        prior = comparisons.everywhere(lambda x: perceptron(priors, x)[..., 0])
        scale = comparisons.scale(prior)
        prior /= math.sqrt(size)
        inputs, prior_asked = comparisons.inputs[comparisons.asked], prior[:, comparisons.asked]

        def draw(count: int) -> "Tensor":
            return torch.randn(count, size, generator=generator, dtype=torch.float32)

        def change(weights: Weights, inputs: "Tensor", z: "Tensor") -> "Tensor":
            return self._learnable(weights, inputs, z) - self._learnable(start, inputs, z)

        def loss(weights: Weights) -> "Tensor":
            z = draw(AT_ONCE)
            drawn = change(weights, inputs, z) + z @ prior_asked
            return comparisons.loss(scale * drawn).sum() / AT_ONCE

        # The average over z feels each output of the epinet as 1/D of a network.
        stiffness = [STIFFNESS] * len(base) + [STIFFNESS / size] * len(epinet)
        weights = trained(start, loss, self.steps, stiffness)
        z = draw(self.indices)
        return scale * (comparisons.everywhere(lambda x: change(weights, x, z)) + z @ prior)

    def _learnable(self, weights: Weights, inputs: "Tensor", z: "Tensor") -> "Tensor":
        """μ + σᵀz/√D, ``(E, b)``."""
        import torch

        base, epinet = weights[:3], weights[3:]
        last = activated(perceptron(base[:2], inputs))
        seen = torch.cat([last[0].detach(), inputs], dim=1)
        # The epinet's first layer, of each row of `seen` beside each z, without making the rows.
        layer = epinet[0][0] / math.sqrt(epinet[0].shape[1])
        of_seen, of_z, intercept = torch.split(layer, [seen.shape[1], self.index_dim, 1])
        units = seen @ of_seen + (z @ of_z + intercept)[:, None]
        spread = perceptron(epinet[1:], activated(units)) @ z[:, :, None]
        return perceptron(base[2:], last)[..., 0] + spread[..., 0] / math.sqrt(self.index_dim)
