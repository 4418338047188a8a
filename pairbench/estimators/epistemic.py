"""An epistemic neural network: a network that also takes a random index, z ~ N(0, I).

Source: Osband et al. 2021, *Epistemic Neural Networks*, arXiv 2107.08924; as a reward model for
choosing pairs: Dwaracherla et al. 2024, *Efficient Exploration for LLMs*, arXiv 2402.00396.

The reward is μ(φ) + (σ(h, φ, z) + p(φ))ᵀz / √D: a base network μ with last hidden layer h, the
epinet σ, which is trained but passes no gradient on to h, and D prior networks p, which keep their
initial weights. Each z is one reward function; training minimises the mean loss over z. The
untrained outputs of μ and σ are subtracted, so that before the first label the rewards have the
prior distribution.

Larger differences lower a mean loss over z, too: where λ is so small that the prior's standard
deviation is many logits, and the epinet cannot cancel all of it, μ exaggerates.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairbench._util.checks import check_at_least
from pairbench.estimators.networks import (
    DRAWS_PER_STEP,
    PRIOR_PRECISION,
    Comparisons,
    NetworkEstimator,
    Weights,
    draw_weights,
    perceptron,
    scaled_relu,
    train,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Epistemic(NetworkEstimator):
    """A base network with two hidden layers, and an epinet with one, three times as wide.

    Attributes:
        indices: draws of z, each one reward function of the posterior.
        index_dim: D, the dimension of z.
    """

    indices: int = 50
    index_dim: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, indices=self.indices, index_dim=self.index_dim)

    def rewards(self, comparisons: Comparisons, generator: "Generator") -> "Tensor":
        """Train both networks, and return the rewards of each index, ``(indices, N K)``."""
        import torch

        dim, hidden, size = comparisons.inputs.shape[1], self.hidden, self.index_dim
        base = draw_weights(1, (dim, hidden, hidden, 1), generator)
        epinet = draw_weights(1, (hidden + dim + size, 3 * hidden, size), generator)
        priors = draw_weights(size, (dim, hidden, hidden, 1), generator)
        start = base + epinet

        prior = comparisons.evaluate_on_pool(lambda x: perceptron(priors, x)[..., 0])
        scale = comparisons.scale(prior)
        prior /= math.sqrt(size)
        inputs = comparisons.inputs[comparisons.labelled]
        prior_labelled = prior[:, comparisons.labelled]

        def draw_indices(count: int) -> "Tensor":
            return torch.randn(count, size, generator=generator, dtype=torch.float32)

        def change(weights: Weights, inputs: "Tensor", z: "Tensor") -> "Tensor":
            return self._learnable(weights, inputs, z) - self._learnable(start, inputs, z)

        def loss(weights: Weights) -> "Tensor":
            z = draw_indices(DRAWS_PER_STEP)
            rewards = change(weights, inputs, z) + z @ prior_labelled
            return comparisons.loss(scale * rewards).sum() / DRAWS_PER_STEP

        # On average over z, each output of the epinet counts as 1/D of a network.
        precisions = [PRIOR_PRECISION] * len(base) + [PRIOR_PRECISION / size] * len(epinet)
        weights = train(start, loss, self.steps, precisions)
        z = draw_indices(self.indices)
        return scale * (comparisons.evaluate_on_pool(lambda x: change(weights, x, z)) + z @ prior)

    def _learnable(self, weights: Weights, inputs: "Tensor", z: "Tensor") -> "Tensor":
        """Compute μ + σᵀz/√D, ``(E, b)``.

        Args:
            weights: of the base network and the epinet.
            inputs: ``(b, d)``.
            z: ``(E, D)``.
        """
        import torch

        base, epinet = weights[:3], weights[3:]
        last = scaled_relu(perceptron(base[:2], inputs))
        shared = torch.cat([last[0].detach(), inputs], dim=1)
        # The epinet's first layer for each row of `shared` joined with each z, without forming the
        # joined rows.
        layer = epinet[0][0] / math.sqrt(epinet[0].shape[1])
        sizes = [shared.shape[1], self.index_dim, 1]
        shared_slopes, z_slopes, intercept = torch.split(layer, sizes)
        units = shared @ shared_slopes + (z @ z_slopes + intercept)[:, None]
        sigma_z = perceptron(epinet[1:], scaled_relu(units)) @ z[:, :, None]
        return perceptron(base[2:], last)[..., 0] + sigma_z[..., 0] / math.sqrt(self.index_dim)
