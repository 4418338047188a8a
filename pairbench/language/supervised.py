"""Supervised training of small models: next tokens for a reference, rewards for a classifier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed

if TYPE_CHECKING:
    import torch

Batch = Callable[[np.random.Generator], "torch.Tensor"]
"""Draws a batch and gives the loss on it."""


def train(model: Any, loss: Batch, *, steps: int, learning_rate: float, seed: int) -> float:
    """AdamW with a learning rate that falls linearly to 0; the model is left in evaluation mode.

    Args:
        model: what is trained, in place.
        loss: of a fresh batch.
        steps: how many batches.
        learning_rate: at the beginning.
        seed: of the batches.

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


def next_tokens(model: Any, sequences: Callable[[np.random.Generator], NDArray[np.int64]]) -> Batch:
    """Cross-entropy of each token given those before it, nats.

    Args:
        model: a causal language model.
        sequences: draws a batch of token ids, ``(n, length)``.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids = torch.from_numpy(sequences(rng)).to(model.device)
        logits = model(input_ids=ids[:, :-1]).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    return loss


def preferences(
    model: Any, pairs: Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> Batch:
    """−log σ(r(chosen) − r(rejected)), the loss of reward models (Ouyang et al. 2022, equation 1).

    Args:
        model: a classifier with one output.
        pairs: draws the token ids of a batch, chosen and rejected, ``(n, length)`` each.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids = torch.from_numpy(np.concatenate(pairs(rng))).to(model.device)
        chosen, rejected = model(input_ids=ids).logits[:, 0].chunk(2)
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean()

    return loss


def labels(
    model: Any, texts: Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> Batch:
    """Cross-entropy of a classifier's labels, nats.

    Args:
        model: a classifier with several outputs.
        texts: draws the token ids of a batch, ``(n, length)``, padded with the model's own pad
            token, and their labels, ``(n,)``.
    """
    import torch

    def loss(rng: np.random.Generator) -> torch.Tensor:
        ids, wanted = (torch.from_numpy(part).to(model.device) for part in texts(rng))
        mask = (ids != model.config.pad_token_id).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        return torch.nn.functional.cross_entropy(logits, wanted)

    return loss
