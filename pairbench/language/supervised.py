"""Supervised training of small models: next tokens, preferences, and labels."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed

if TYPE_CHECKING:
    import torch

BatchLoss = Callable[[np.random.Generator], "torch.Tensor"]
"""Function that draws a batch and computes the loss on it."""


def train(model: Any, loss: BatchLoss, *, steps: int, learning_rate: float, seed: int) -> float:
    """Train a model in place, by AdamW with a learning rate that decays linearly to 0.

    The model is in evaluation mode during and after training.

    Args:
        model: the model.
        loss: loss on a fresh batch.
        steps: number of batches.
        learning_rate: initial learning rate.
        seed: seed of the batches.

    Returns:
        The mean loss over the last tenth of the steps.

    Raises:
        TrainingFailed: If the loss is not finite.
    """
    import torch

    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    losses = np.empty(steps)
    model.eval()  # small models on fresh data need no dropout
    for step in range(steps):
        value = loss(rng)
        losses[step] = value.item()
        if not np.isfinite(losses[step]):
            raise TrainingFailed(
                f"supervised training diverged: the loss is {losses[step]} at step {step}. A "
                f"learning rate below {learning_rate:g} may help."
            )
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return float(losses[-max(1, steps // 10) :].mean())


def next_token_loss(
    model: Any, sequences: Callable[[np.random.Generator], NDArray[np.int64]]
) -> BatchLoss:
    """Build the next-token loss: cross-entropy of each token given those before it, nats.

    Args:
        model: a causal language model.
        sequences: function that draws a batch of token ids, ``(n, length)``.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids = torch.from_numpy(sequences(rng)).to(model.device)
        logits = model(input_ids=ids[:, :-1]).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    return loss


def preference_loss(
    model: Any, pairs: Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> BatchLoss:
    """Build the loss of reward models, −log σ(r(chosen) − r(rejected)).

    Source: Ouyang et al. 2022, equation 1.

    Args:
        model: a classifier with one output.
        pairs: function that draws a batch: token ids of chosen and rejected texts, ``(n, length)``
            each.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids = torch.from_numpy(np.concatenate(pairs(rng))).to(model.device)
        chosen, rejected = model(input_ids=ids).logits[:, 0].chunk(2)
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean()

    return loss


def label_loss(
    model: Any, texts: Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> BatchLoss:
    """Build the classification loss: cross-entropy of the labels, nats.

    Args:
        model: a classifier with several outputs.
        texts: function that draws a batch: token ids, ``(n, length)``, padded with the model's pad
            token, and labels, ``(n,)``.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids, targets = (torch.from_numpy(part).to(model.device) for part in texts(rng))
        mask = (ids != model.config.pad_token_id).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        return torch.nn.functional.cross_entropy(logits, targets)

    return loss
