"""Small multilayer perceptrons, many at once, trained on comparisons: a base of neural estimators.

All weights are standard normal a priori, and every sum is divided by the root of the number of its
terms (Jacot, Gabriel, Hongler 2018, arXiv 1806.07572), so that the prior variance of the outputs
does not depend on the width. Training regularises the weights towards their initial values, not
towards zero (Pearce et al. 2020, arXiv 1810.05546): where there are no labels, a network keeps its
prior output.

Outputs are scaled so that the prior variance of the rewards is, on average over the pool, that of
the linear model r = φᵀθ, θ ~ N(0, I/λ), with λ the view's ridge.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench._util.checks import check_at_least
from pairbench.estimators.belief import Estimator, Members, centre_rewards
from pairbench.pool import features
from pairbench.view.view import View

if TYPE_CHECKING:
    from torch import Generator, Tensor

Weights = list["Tensor"]
"""Slopes and, last, intercepts of each layer, ``(networks, inputs + 1, outputs)``."""

LEARNING_RATE = 0.1
"""Initial learning rate of Adam, which falls linearly to 0. Weights are of size one. A hundred
steps at this rate do what a thousand smaller ones do."""

PRIOR_PRECISION = 5.0
"""Precision of the weights' prior in training. By the network's tangent kernel, small changes of
all weights make four to five times as much variance of reward differences as the initial weights
do. So 5 keeps the prior of the learnt part at that of the linear model."""

DRAWS_PER_STEP = 4
"""Number of draws per training step, where a loss is averaged over masks or indices."""

_EPSILON = 1.0  # Adam's ε: gradients below this, about that of one label, move weights less
_BLOCK = 512  # completions per forward pass over a pool


@dataclass(frozen=True)
class NetworkEstimator(Estimator[Members]):
    """An estimator that trains networks with two hidden layers.

    Attributes:
        hidden: units in each hidden layer.
        steps: number of steps of Adam, each on all labels.
    """

    hidden: int = 32
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, hidden=self.hidden, steps=self.steps)

    def believe(self, view: View) -> Members:
        """Train the networks on ``view.labels``."""
        import torch

        seed = int(view.rng.integers(2**63))
        # Small matrices are slower on several threads, and rounding could depend on their number.
        with threadpool_limits(limits=1):
            comparisons = Comparisons.of(view)
            rewards = self.rewards(comparisons, torch.Generator().manual_seed(seed))
        return Members(view.pool, _numpy(rewards).reshape(-1, *view.pool.valid.shape))

    @abstractmethod
    def rewards(self, comparisons: "Comparisons", generator: "Generator") -> "Tensor":
        """Train, and return equally likely rewards of all completions, ``(E, N K)``.

        Args:
            comparisons: the labels so far.
            generator: the only source of randomness.
        """


@dataclass(frozen=True, eq=False)
class Comparisons:
    """A view's labels as torch tensors.

    Attributes:
        view: the view.
        inputs: features of all completions, ``(N K, d)``, of mean 0 and mean square 1.
        labelled: indices of the completions that a label compares, ``(u,)``, ascending.
        first: index of each label's first completion in ``labelled``, ``(l,)``.
        second: index of each label's second completion in ``labelled``, ``(l,)``.
        labels: the labels, in [0, 1], ``(l,)``.
    """

    view: View
    inputs: "Tensor"
    labelled: "Tensor"
    first: "Tensor"
    second: "Tensor"
    labels: "Tensor"

    @classmethod
    def of(cls, view: View) -> Self:
        """Convert the labels of a view, without missing ones (NaN)."""
        import torch

        pool = view.pool
        phi = pool.block(slice(None)).astype(np.float64)
        phi -= phi[pool.valid].mean(axis=0)
        scale = float(np.sqrt(np.mean(phi[pool.valid] ** 2)))
        inputs = (phi / (scale or 1.0)).reshape(-1, pool.dim)
        answered = ~np.isnan(view.labels)
        prompt, first, second = view.pairs[answered].T
        completions = prompt * pool.n_completions + np.stack([first, second])
        labelled, index = np.unique(completions, return_inverse=True)
        index = index.reshape(2, -1)
        return cls(
            view=view,
            inputs=torch.from_numpy(inputs.astype(np.float32)),
            labelled=torch.from_numpy(labelled),
            first=torch.from_numpy(index[0]),
            second=torch.from_numpy(index[1]),
            labels=torch.from_numpy(view.labels[answered].astype(np.float32)),
        )

    def loss(self, rewards: "Tensor") -> "Tensor":
        """Compute −log P(label) under Bradley–Terry, ``(E, l)``.

        Args:
            rewards: of the completions ``labelled``, ``(E, u)``.
        """
        from torch.nn.functional import softplus

        logit = rewards.index_select(1, self.first) - rewards.index_select(1, self.second)
        return softplus(logit) - self.labels * logit

    def scale(self, outputs: "Tensor") -> float:
        """Compute the factor that gives outputs the linear model's mean prior variance.

        Args:
            outputs: draws from the prior, of mean zero, ``(E, N K)``.
        """
        pool = self.view.pool
        phi = features.centre(pool.phi, pool.valid)
        linear = (phi**2).sum(axis=2)[pool.valid].mean() / self.view.ridge
        draws = centre_rewards(pool, _numpy(outputs).reshape(-1, *pool.valid.shape))[:, pool.valid]
        variance = np.mean(draws**2)
        # If all completions have the same features, there are no differences to scale.
        return math.sqrt(linear / variance) if variance > 0 else 1.0

    def evaluate_on_pool(self, function: Callable[["Tensor"], "Tensor"]) -> "Tensor":
        """Evaluate a function of inputs at all completions, ``(E, N K)``, in blocks.

        Args:
            function: maps inputs ``(b, d)`` to ``(E, b)``.
        """
        import torch

        with torch.no_grad():
            return torch.cat([function(x) for x in torch.split(self.inputs, _BLOCK)], dim=1)


def draw_weights(count: int, sizes: Sequence[int], generator: "Generator") -> Weights:
    """Draw standard normal weights of several networks of the same shape.

    Args:
        count: the number of networks.
        sizes: the number of inputs, of units in each hidden layer, and of outputs.
        generator: the source of randomness.
    """
    import torch

    return [
        torch.randn(count, n + 1, m, generator=generator, dtype=torch.float32)
        for n, m in pairwise(sizes)
    ]


def perceptron(weights: Weights, inputs: "Tensor", masks: Sequence["Tensor"] = ()) -> "Tensor":
    """Compute the networks' outputs, ``(E, b, outputs)``, of prior variance about one.

    Args:
        weights: of each layer.
        inputs: ``(b, inputs)`` for all networks or ``(E, b, inputs)``, of mean square about one.
        masks: factors of each hidden layer's units, ``(E, 1, hidden)``.
    """
    values = inputs
    for depth, weight in enumerate(weights):
        if depth:
            values = scaled_relu(values)
            values = values * masks[depth - 1] if masks else values
        layer = weight / math.sqrt(weight.shape[1])
        values = values @ layer[:, :-1] + layer[:, -1:]
    return values


def scaled_relu(values: "Tensor") -> "Tensor":
    """Compute √2 max(0, x), which keeps the mean square of symmetric distributions."""
    return values.relu() * math.sqrt(2)


def train(
    start: Weights,
    loss: Callable[[Weights], "Tensor"],
    steps: int,
    precisions: Sequence[float],
) -> Weights:
    """Minimise a loss plus ½ Σ c ‖W − W₀‖² over the layers, by Adam from W₀.

    Adam: Kingma and Ba 2015, arXiv 1412.6980. Its ε is large, or rounding errors would move weights
    whose gradient is zero. Adam is implemented here because importing ``torch.optim`` takes longer
    than the training.

    Args:
        start: W₀.
        loss: maps W to the total loss of all labels.
        steps: the number of steps.
        precisions: c of each layer, the precision of its weights' prior.
    """
    import torch

    weights = [weight.clone().requires_grad_() for weight in start]
    means = [torch.zeros_like(weight) for weight in start]
    squares = [torch.zeros_like(weight) for weight in start]
    for step in range(1, steps + 1):
        rate = LEARNING_RATE * (1 - (step - 1) / steps)
        gradients = torch.autograd.grad(loss(weights), weights)
        with torch.no_grad():
            layers = zip(weights, start, precisions, gradients, means, squares, strict=True)
            for weight, initial, precision, gradient, mean, square in layers:
                total = gradient + precision * (weight - initial)
                mean.lerp_(total, 0.1)
                square.lerp_(total**2, 0.01)
                root = (square / (1 - 0.99**step)).sqrt() + _EPSILON
                weight -= rate / (1 - 0.9**step) * mean / root
    return [weight.detach() for weight in weights]


def _numpy(tensor: "Tensor") -> NDArray[np.float64]:
    return np.asarray(tensor.numpy(), dtype=np.float64)
