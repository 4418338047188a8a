"""Layers that hold the weights of R models, for batches that hold the R models' inputs in turn.

Import this module late: it needs torch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, layer_norm, rms_norm

from pairbench.errors import InvalidParameter

Stack = Sequence[Tensor]
"""The weights of R models by parameter, ``(R, …)`` each."""


class StackedLayer(nn.Module):
    """A layer for R models; a batch's first axis holds their inputs one after the other."""

    def __init__(self, places: dict[str, int]) -> None:
        """Say where its weights are to be found.

        Args:
            places: by name of its parameters, their place in a stack.
        """
        super().__init__()
        self.places = places
        self.bias: Tensor | None = None

    def take(self, stack: Stack) -> None:
        """Use these weights."""
        for name, place in self.places.items():
            setattr(self, name, stack[place])

    def apart(self, x: Tensor) -> Tensor:
        """The input by model, ``(R, n, width)``."""
        return x.reshape(len(self.weight), -1, x.shape[-1])

    weight: Tensor


class StackedLinear(StackedLayer):
    """x Wᵀ + b, or x W + b."""

    def __init__(self, places: dict[str, int], transposed: bool) -> None:
        """Say whether W is ``(in, out)``."""
        super().__init__(places)
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        """``(R · n, …, in)`` to ``(R · n, …, out)``."""
        weight = self.weight if self.transposed else self.weight.transpose(1, 2)
        inputs = self.apart(x)
        if self.bias is None:
            outputs = torch.bmm(inputs, weight)
        else:
            outputs = torch.baddbmm(self.bias[:, None], inputs, weight)
        return outputs.view(*x.shape[:-1], -1)


class StackedNorm(StackedLayer):
    """Layer norm, or the norm by root mean squares."""

    def __init__(self, places: dict[str, int], epsilon: float, centred: bool) -> None:
        """Say which, and with which ε."""
        super().__init__(places)
        self.epsilon, self.centred = epsilon, centred

    def forward(self, x: Tensor) -> Tensor:
        """``(R · n, …, width)`` likewise."""
        normal = layer_norm if self.centred else rms_norm
        y = self.apart(normal(x, x.shape[-1:], eps=self.epsilon)) * self.weight[:, None]
        return (y if self.bias is None else y + self.bias[:, None]).view(x.shape)


class StackedEmbedding(StackedLayer):
    """Rows of a table."""

    def forward(self, ids: Tensor) -> Tensor:
        """``(R · n, length)`` to ``(R · n, length, width)``."""
        runs, rows, width = self.weight.shape
        first = torch.arange(runs, device=ids.device).repeat_interleave(len(ids) // runs) * rows
        return embedding(ids + first[:, None], self.weight.reshape(-1, width))


def stacked(model: Any, trained: Stack) -> list[StackedLayer]:
    """Put a layer for R models in the place of each layer that has trained weights.

    Args:
        model: a transformer, which is changed.
        trained: its trained parameters; places in a stack are places here.

    Returns:
        The layers, which still have to take their weights.

    Raises:
        InvalidParameter: If one is of an unknown kind.
    """
    # Weights may be shared, as those of a first and last layer are.
    place = {id(weights): i for i, weights in enumerate(trained)}
    layers = []
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            own = dict(layer.named_parameters(recurse=False))
            places = {n: place[id(weights)] for n, weights in own.items() if id(weights) in place}
            if places:
                layers.append(_stacked(layer, places))
                setattr(parent, name, layers[-1])
            elif type(layer).__name__ == "NewGELUActivation":
                setattr(parent, name, nn.GELU("tanh"))  # the same in one operation
    return layers


def _stacked(layer: nn.Module, places: dict[str, int]) -> StackedLayer:
    kind, epsilon = type(layer).__name__, getattr(layer, "variance_epsilon", 0.0)
    if len(places) == len(list(layer.parameters(recurse=False))):
        if isinstance(layer, nn.Linear) or kind == "Conv1D":
            return StackedLinear(places, transposed=kind == "Conv1D")
        if isinstance(layer, nn.LayerNorm):
            return StackedNorm(places, layer.eps, centred=True)
        if kind.endswith("RMSNorm") and epsilon:
            return StackedNorm(places, epsilon, centred=False)
        if isinstance(layer, nn.Embedding):
            return StackedEmbedding(places)
    raise InvalidParameter(
        f"a fleet cannot train weights of a {kind}: it knows linear layers, embeddings, layer and "
        "RMS norms. Train by TRL, or low-rank adapters only (lora_rank)."
    )
