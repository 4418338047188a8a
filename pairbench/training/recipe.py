"""How a language model is trained on labels: the same recipe for every trainer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, did_you_mean

LOSSES = ("dpo", "ipo", "cdpo", "rdpo")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """Loss, optimiser, and order of batches.

    AdamW without weight decay, with a learning rate that falls linearly to 0 and clipped gradients;
    no dropout. The defaults are for models of a hundred thousand weights.

    Attributes:
        loss: ``"dpo"``; ``"ipo"``, of log ratios per token, as TRL has it; ``"cdpo"`` and
            ``"rdpo"``, which are told that labels were flipped.
        flip_rate: ε in [0, ½), for the last two.
        epochs: how often each label is seen.
        batch_size: labels.
        learning_rate: at the first step.
        max_grad_norm: Euclidean, of a batch's gradient.
        lora_rank: of adapters of all linear layers, if they are all that is trained; 0 trains all
            weights.
        seed: of the order of labels and of adapters.
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
        if self.loss not in LOSSES:
            near = did_you_mean(self.loss, LOSSES)
            raise InvalidParameter(
                f"the loss of a language model must be one of {', '.join(LOSSES)}, got "
                f"{self.loss!r}.{near}"
            )
        if not 0 <= self.flip_rate < 0.5:
            raise InvalidParameter(f"flip_rate must be in [0, 0.5), got {self.flip_rate}.")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < np.inf:
                raise InvalidParameter(
                    f"{name} must be positive and finite, got {getattr(self, name)}."
                )
        if self.lora_rank < 0:
            raise InvalidParameter(f"lora_rank must be 0 or more, got {self.lora_rank}.")

    def order(self, n: int) -> NDArray[np.int64]:
        """The labels in the order in which they are seen, ``(epochs · n,)``.

        Batches are consecutive stretches of it; the last one may be smaller.
        """
        rng = np.random.default_rng([self.seed, n])
        return np.concatenate([rng.permutation(n) for _ in range(self.epochs)])

    def weights(self, labels: Array) -> tuple[Array, Array]:
        """What the loss of a win and that of a defeat count for, each ``(n,)``.

        Args:
            labels: ``(n,)`` in [0, 1].
        """
        epsilon = self.flip_rate
        flipped = (1 - epsilon) * labels + epsilon * (1 - labels)
        if self.loss == "cdpo":
            return flipped, 1 - flipped
        if self.loss == "rdpo":
            win = (labels - epsilon) / (1 - 2 * epsilon)
            return win, 1 - win
        return labels, 1 - labels
