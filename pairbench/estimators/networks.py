"""Small multilayer perceptrons, many at once, trained on comparisons: what neural estimators share.

All weights are standard normal a priori, and every sum is divided by the root of the number of its
terms (Jacot, Gabriel, Hongler 2018, arXiv 1806.07572), so that the width changes nothing but the
detail. Training pulls the weights to where they began, not to zero (Pearce et al. 2020,
arXiv 1810.05546): where no label speaks, a network stays what it was a priori.

Outputs are scaled so that the rewards' variance a priori is, on average over the pool, that of the
linear model r = φᵀθ, θ ~ N(0, I/λ), whose λ the view tells.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench.design import View
from pairbench.errors import InvalidParameter
from pairbench.estimators.belief import Estimator, Members, centred
from pairbench.estimators.laplace import centred_features

if TYPE_CHECKING:
    from torch import Generator, Tensor

Weights = list["Tensor"]
"""A layer's slopes and, last, its intercepts, ``(networks, inputs + 1, outputs)`` for each."""

LEARNING_RATE = 0.1
"""Of Adam at the first step, falling to 0 in a straight line; weights are of size one. A hundred
steps of this reach what a thousand smaller ones do."""

STIFFNESS = 5.0
"""The precision of the weights' prior in training. By the network's tangent kernel, small changes
of all its weights make four to five times as much variance of reward differences as the weights
make to begin with; so 5 keeps the prior of what is learnt at that of the linear model."""

AT_ONCE = 4
"""How many draws a step takes, where a training averages over masks or indices."""

_SMALL = 1.0  # Adam's ε: a slope below this, a label's worth, moves a weight the less
_BLOCK = 512  # completions at a time, where all of a pool are evaluated


@dataclass(frozen=True)
class NetworkEstimator(Estimator[Members]):
    """An estimator that trains networks with two hidden layers.

    Attributes:
        hidden: units in each hidden layer.
        steps: of Adam, on all labels.
    """

    hidden: int = 32
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("hidden", "steps")

    def believe(self, view: View) -> Members:
        """See :meth:`Estimator.believe`."""
        import torch

        seed = int(view.rng.integers(2**63))
        # Small matrices are slower on several threads, and rounding could depend on how many.
        with threadpool_limits(limits=1):
            comparisons = Comparisons.of(view)
            rewards = self.rewards(comparisons, torch.Generator().manual_seed(seed))
        return Members(view.pool, _numpy(rewards).reshape(-1, *view.pool.valid.shape))

    @abstractmethod
    def rewards(self, comparisons: "Comparisons", generator: "Generator") -> "Tensor":
        """Equally likely rewards of all completions, ``(E, N K)``.

        Args:
            comparisons: the labels so far.
            generator: the only source of randomness.
        """

    def _check_counts(self, *names: str) -> None:
        for name in names:
            if (value := getattr(self, name)) < 1:
                raise InvalidParameter(f"{name} must be 1 or more, got {value}.")


@dataclass(frozen=True, eq=False)
class Comparisons:
    """A view's labels, for torch.

    Attributes:
        view: the view.
        inputs: the features of all completions, less their mean and over the root of their mean
            square, ``(N K, d)``.
        asked: which of them a label is about, ``(u,)``.
        first: each label's first completion, as a place in ``asked``, ``(l,)``.
        second: its second one, likewise.
        labels: the labels, in [0, 1], ``(l,)``.
    """

    view: View
    inputs: "Tensor"
    asked: "Tensor"
    first: "Tensor"
    second: "Tensor"
    labels: "Tensor"

    @classmethod
    def of(cls, view: View) -> "Comparisons":
        """Take the answered questions of a view."""
        import torch

        pool = view.pool
        phi = pool.block(slice(None)).astype(np.float64)
        phi -= phi[pool.valid].mean(axis=0)
        size = float(np.sqrt(np.mean(phi[pool.valid] ** 2)))
        inputs = (phi / (size or 1.0)).reshape(-1, pool.dim)
        known = ~np.isnan(view.labels)
        prompt, first, second = view.pairs[known].T
        rows = prompt * pool.n_completions + np.stack([first, second])
        asked, place = np.unique(rows, return_inverse=True)
        place = place.reshape(2, -1)
        return cls(
            view=view,
            inputs=torch.from_numpy(inputs.astype(np.float32)),
            asked=torch.from_numpy(asked),
            first=torch.from_numpy(place[0]),
            second=torch.from_numpy(place[1]),
            labels=torch.from_numpy(view.labels[known].astype(np.float32)),
        )

    def loss(self, rewards: "Tensor") -> "Tensor":
        """−log P(label) under Bradley–Terry, ``(E, l)``.

        Args:
            rewards: of the completions ``asked``, ``(E, u)``.
        """
        from torch.nn.functional import softplus

        logit = rewards.index_select(1, self.first) - rewards.index_select(1, self.second)
        return softplus(logit) - self.labels * logit

    def scale(self, outputs: "Tensor") -> float:
        """What outputs of variance one must be multiplied by to have the linear model's variance.

        Args:
            outputs: drawn a priori, with mean zero, ``(E, N K)``.
        """
        pool = self.view.pool
        linear = (centred_features(pool) ** 2).sum(axis=2)[pool.valid].mean() / self.view.ridge
        drawn = centred(pool, _numpy(outputs).reshape(-1, *pool.valid.shape))[:, pool.valid]
        variance = np.mean(drawn**2)
        # Completions that are all alike have no differences to scale.
        return math.sqrt(linear / variance) if variance > 0 else 1.0

    def everywhere(self, function: Callable[["Tensor"], "Tensor"]) -> "Tensor":
        """A function of inputs, ``(b, d)`` to ``(E, b)``, at all completions, ``(E, N K)``."""
        import torch

        with torch.no_grad():
            return torch.cat([function(x) for x in torch.split(self.inputs, _BLOCK)], dim=1)


def random_weights(count: int, sizes: Sequence[int], generator: "Generator") -> Weights:
    """Standard normal weights of networks.

    Args:
        count: how many networks.
        sizes: how many inputs there are, how many units in each hidden layer, how many outputs.
        generator: where the randomness comes from.
    """
    import torch

    return [
        torch.randn(count, n + 1, m, generator=generator, dtype=torch.float32)
        for n, m in pairwise(sizes)
    ]


def perceptron(weights: Weights, inputs: "Tensor", masks: Sequence["Tensor"] = ()) -> "Tensor":
    """The networks' outputs, of variance about one a priori, ``(E, b, outputs)``.

    Args:
        weights: the layers'.
        inputs: ``(b, inputs)`` for all networks or ``(E, b, inputs)``, of mean square about one.
        masks: what each hidden layer's units are multiplied by, ``(E, 1, hidden)``.
    """
    values = inputs
    for depth, weight in enumerate(weights):
        if depth:
            values = activated(values)
            values = values * masks[depth - 1] if masks else values
        layer = weight / math.sqrt(weight.shape[1])
        values = values @ layer[:, :-1] + layer[:, -1:]
    return values


def activated(values: "Tensor") -> "Tensor":
    """√2 max(0, x), which keeps the mean square of what is symmetric about zero."""
    return values.relu() * math.sqrt(2)


def trained(
    start: Weights,
    loss: Callable[[Weights], "Tensor"],
    steps: int,
    stiffness: Sequence[float],
) -> Weights:
    """Minimise a loss plus ½ Σ c ‖W − W₀‖² over the layers, by Adam from W₀.

    Adam: Kingma and Ba 2015, arXiv 1412.6980. Its ε is large, or rounding would steer weights that
    no label moves. It is written out here because the import of ``torch.optim``'s takes longer than
    the training.

    Args:
        start: W₀.
        loss: of all labels together, a function of W.
        steps: how many.
        stiffness: c of each layer, the precision of its weights' prior; see :data:`STIFFNESS`.
    """
    import torch

    weights = [weight.clone().requires_grad_() for weight in start]
    means = [torch.zeros_like(weight) for weight in start]
    squares = [torch.zeros_like(weight) for weight in start]
    for step in range(1, steps + 1):
        rate = LEARNING_RATE * (1 - (step - 1) / steps)
        gradients = torch.autograd.grad(loss(weights), weights)
        with torch.no_grad():
            layers = zip(weights, start, stiffness, gradients, means, squares, strict=True)
            for weight, anchor, stiff, gradient, mean, square in layers:
                slope = gradient + stiff * (weight - anchor)
                mean.lerp_(slope, 0.1)
                square.lerp_(slope**2, 0.01)
                size = (square / (1 - 0.99**step)).sqrt() + _SMALL
                weight -= rate / (1 - 0.9**step) * mean / size
    return [weight.detach() for weight in weights]


def _numpy(tensor: "Tensor") -> NDArray[np.float64]:
    return np.asarray(tensor.numpy(), dtype=np.float64)
