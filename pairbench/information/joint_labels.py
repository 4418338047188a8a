"""Joint mutual information of the labels of several pairs and their reward differences Δ."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit

from pairbench.information.forecast import label_entropy

Array = NDArray[np.float64]


class JointLabels:
    """Mutual information of a growing batch of labels and Δ, estimated from draws of Δ.

    I(y_1..n; Δ) = H(y_1..n) − Σ_i E h(σ(Δ_i)), with H over the configurations of the labels, whose
    probabilities are means of products over draws (Kirsch, van Amersfoort and Gal 2019,
    arXiv 1906.08158). All configurations of the batch's labels are enumerated as long as they are
    no more than a limit; beyond it, as many are drawn.

    Attributes:
        taken: the pairs of the batch, in the order of their choice.
    """

    def __init__(self, differences: Array, limit: int, rng: np.random.Generator) -> None:
        """Compute the label probabilities, and start an empty batch.

        Args:
            differences: draws of Δ, ``(E, m)``.
            limit: the largest number of configurations.
            rng: the generator that draws configurations beyond the limit.
        """
        self.limit, self.rng = limit, rng
        self.taken: list[int] = []
        self._probability = expit(differences)
        self._noise = label_entropy(self._probability).mean(axis=0)
        # The likelihood of each configuration under each draw, (C, E); its weight in a sum over
        # all configurations; and how many pairs of the batch the configurations cover so far.
        self._likelihood = np.ones((1, len(differences)))
        self._weight = np.ones(1)
        self._covered = 0

    def take(self, p: int) -> None:
        """Add pair p to the batch."""
        self.taken.append(p)

    def gains(self) -> Array:
        """Compute the information that each pair would add, up to a constant, ``(m,)`` nats.

        The constant is H of the batch.
        """
        draws = len(self._probability)
        if 2 ** len(self.taken) > self.limit:
            self._draw_configurations()
        for p in self.taken[self._covered :]:
            first = self._probability[:, p]
            self._likelihood = np.concatenate(
                [self._likelihood * first, self._likelihood * (1 - first)]
            )
            self._weight = np.ones(len(self._likelihood))
        self._covered = len(self.taken)
        first = self._likelihood @ self._probability / draws
        second = np.maximum(self._likelihood.mean(axis=1)[:, None] - first, 0.0)
        gains: Array = self._weight @ (entr(first) + entr(second)) - self._noise
        return gains

    def _draw_configurations(self) -> None:
        """Draw labels of the whole batch from their predictive distribution."""
        batch = self._probability[:, self.taken]
        source = self.rng.integers(len(batch), size=self.limit)
        labels = self.rng.random((self.limit, len(self.taken))) < batch[source]
        self._likelihood = np.ones((self.limit, len(batch)))
        for label, first in zip(labels.T, batch.T, strict=True):
            self._likelihood *= np.where(label[:, None], first, 1 - first)
        self._weight = 1 / (self.limit * self._likelihood.mean(axis=1))
        self._covered = len(self.taken)


def mutual_information(first: Array, second: Array) -> Array:
    """Compute the mutual information I(y; y*) of all combinations of two labels, ``(m, t)`` nats.

    Args:
        first: draws of Δ, ``(E, m)``.
        second: Δ* in the same draws, ``(E, t)``.
    """
    first, second = expit(first), expit(second)
    p, q = first.mean(axis=0)[:, None], second.mean(axis=0)
    both_won = first.T @ second / len(first)
    joint = np.zeros(both_won.shape)
    for cell in (both_won, p - both_won, q - both_won, 1 - p - q + both_won):
        joint += entr(np.maximum(cell, 0.0))
    information: Array = label_entropy(p) + label_entropy(q) - joint
    return information
