"""Layers with the stacked weights of R models.

The inputs of the R models follow each other along the first axis of a batch. Import this module
inside functions only: it needs torch.
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
    """Base class of layers of R models."""

    def __init__(self, indices: dict[str, int]) -> None:
        """Create a layer without weights.

        Args:
            indices: the index in a stack of each of the layer's parameters, by name.
        """
        super().__init__()
        self.indices = indices
        self.bias: Tensor | None = None

    def set_weights(self, stack: Stack) -> None:
        """Use the weights of a stack."""
        for name, index in self.indices.items():
            setattr(self, name, stack[index])

    def split_by_model(self, x: Tensor) -> Tensor:
        """Reshape an input ``(R · n, …, width)`` to ``(R, n · …, width)``."""
        return x.reshape(len(self.weight), -1, x.shape[-1])

    weight: Tensor


class StackedLinear(StackedLayer):
    """Linear layer, x Wᵀ + b or x W + b."""

    def __init__(self, indices: dict[str, int], transposed: bool) -> None:
        """Create a layer without weights.

        Args:
            indices: see :class:`StackedLayer`.
            transposed: whether W is ``(in, out)``.
        """
        super().__init__(indices)
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(R · n, …, in)`` to ``(R · n, …, out)``."""
        weight = self.weight if self.transposed else self.weight.transpose(1, 2)
        inputs = self.split_by_model(x)
        if self.bias is None:
            outputs = torch.bmm(inputs, weight)
        else:
            outputs = torch.baddbmm(self.bias[:, None], inputs, weight)
        return outputs.view(*x.shape[:-1], -1)


class StackedNorm(StackedLayer):
    """Layer norm or RMS norm."""

    def __init__(self, indices: dict[str, int], epsilon: float, centred: bool) -> None:
        """Create a layer without weights.

        Args:
            indices: see :class:`StackedLayer`.
            epsilon: ε of the norm.
            centred: whether it is a layer norm, which subtracts the mean; otherwise RMS norm.
        """
        super().__init__(indices)
        self.epsilon, self.centred = epsilon, centred

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(R · n, …, width)`` along the last axis."""
        normalise = layer_norm if self.centred else rms_norm
        y = self.split_by_model(normalise(x, x.shape[-1:], eps=self.epsilon)) * self.weight[:, None]
        return (y if self.bias is None else y + self.bias[:, None]).view(x.shape)


class StackedEmbedding(StackedLayer):
    """Embedding layer."""

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids ``(R · n, length)`` to ``(R · n, length, width)``."""
        models, rows, width = self.weight.shape
        model = torch.arange(models, device=ids.device).repeat_interleave(len(ids) // models)
        return embedding(ids + (model * rows)[:, None], self.weight.reshape(-1, width))


# Why: docs/decisions/028-small-models-train-in-a-stack.md
def stack_layers(model: Any, trained: Stack) -> list[StackedLayer]:
    """Replace each layer that has trained weights by a layer for R models.

    Args:
        model: a transformer, which is changed.
        trained: its trained parameters, in the order of the stacks to come.

    Returns:
        The new layers; call their :meth:`StackedLayer.set_weights` before use.

    Raises:
        InvalidParameter: If a layer is of an unknown kind.
    """
    # Layers can share a parameter: the embedding and the head often do.
    stack_index = {id(weights): i for i, weights in enumerate(trained)}
    layers = []
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            parameters = dict(layer.named_parameters(recurse=False))
            indices = {
                parameter_name: stack_index[id(weights)]
                for parameter_name, weights in parameters.items()
                if id(weights) in stack_index
            }
            if indices:
                layers.append(_stack_layer(layer, indices))
                setattr(parent, name, layers[-1])
            elif type(layer).__name__ == "NewGELUActivation":
                setattr(parent, name, nn.GELU("tanh"))  # the same function in one operation
    return layers


def _stack_layer(layer: nn.Module, indices: dict[str, int]) -> StackedLayer:
    """Build the counterpart for R models of a layer."""
    kind, epsilon = type(layer).__name__, getattr(layer, "variance_epsilon", 0.0)
    if len(indices) == len(list(layer.parameters(recurse=False))):
        if isinstance(layer, nn.Linear) or kind == "Conv1D":
            return StackedLinear(indices, transposed=kind == "Conv1D")
        if isinstance(layer, nn.LayerNorm):
            return StackedNorm(indices, layer.eps, centred=True)
        if kind.endswith("RMSNorm") and epsilon:
            return StackedNorm(indices, epsilon, centred=False)
        if isinstance(layer, nn.Embedding):
            return StackedEmbedding(indices)
    raise InvalidParameter(
        f"a fleet cannot train weights of a {kind}: it supports linear layers, embeddings, layer "
        "norms and RMS norms. Train by TRL, or train low-rank adapters only (lora_rank)."
    )
