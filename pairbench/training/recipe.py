"""Loss, optimiser settings and batch order for training a language model on labels."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least, check_one_of, check_positive
from pairbench.errors import InvalidParameter

LOSSES = ("dpo", "ipo", "cdpo", "rdpo")

Array = NDArray[np.float64]


class LossWeights(NamedTuple):
    """Per-label weights of the losses of the two possible preferences; they sum to 1.

    Attributes:
        first: weight of the loss of "first preferred", ``(n,)``.
        second: weight of the loss of "second preferred", ``(n,)``.
    """

    first: Array
    second: Array


@dataclass(frozen=True)
class Recipe:
    """Loss, optimiser and order of batches, shared by all trainers of language models.

    AdamW without weight decay, with a learning rate that decays linearly to 0 and clipped
    gradients; no dropout. The defaults are for models of a hundred thousand weights.

    Attributes:
        loss: ``"dpo"``; ``"ipo"``, of log ratios per token, as in TRL; ``"cdpo"`` or ``"rdpo"``,
            which assume that labels were flipped.
        flip_rate: ε in [0, ½), the probability of a flip, for the last two.
        epochs: the number of passes over the labels.
        batch_size: the number of labels of a batch.
        learning_rate: the learning rate of the first step.
        max_grad_norm: the Euclidean norm at which the gradient of a batch is clipped.
        lora_rank: the rank of adapters of all linear layers, which are trained alone; 0 trains all
            weights.
        seed: the seed of the order of labels and of the adapters.
    """

    loss: str = "dpo"
    flip_rate: float = 0.1
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 5e-4
    max_grad_norm: float = 1.0
    lora_rank: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_one_of(LOSSES, loss=self.loss)
        if not 0 <= self.flip_rate < 0.5:
            raise InvalidParameter(f"flip_rate must be in [0, 0.5), got {self.flip_rate}.")
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        check_positive(learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        check_at_least(0, lora_rank=self.lora_rank)

    def order(self, n: int) -> NDArray[np.int64]:
        """Draw the order of the labels in training: a permutation for each epoch.

        Args:
            n: the number of labels.

        Returns:
            Indices of labels, ``(epochs · n,)``. Batches are consecutive parts of it; the last one
            may be smaller.
        """
        rng = np.random.default_rng([self.seed, n])
        return np.concatenate([rng.permutation(n) for _ in range(self.epochs)])

    def loss_weights(self, labels: Array) -> LossWeights:
        """Compute the weights of the losses of "first preferred" and "second preferred".

        Args:
            labels: ``(n,)`` in [0, 1].
        """
        epsilon = self.flip_rate
        flipped = (1 - epsilon) * labels + epsilon * (1 - labels)
        if self.loss == "cdpo":
            return LossWeights(flipped, 1 - flipped)
        if self.loss == "rdpo":
            first = (labels - epsilon) / (1 - 2 * epsilon)
            return LossWeights(first, 1 - first)
        return LossWeights(labels, 1 - labels)
