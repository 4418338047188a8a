"""What the labels of several pairs tell together, kept up to date as pairs are taken."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit

from pairbench.information.forecast import label_entropy

Array = NDArray[np.float64]


class JointLabels:
    """The mutual information of a growing batch of labels and Δ, from draws of Δ.

    I(y_1..n; Δ) = H(y_1..n) − Σ_i E h(σ(Δ_i)), with H over the configurations of the labels, whose
    probabilities are means of products over draws (Kirsch, van Amersfoort and Gal 2019,
    arXiv 1906.08158). All configurations of the labels taken so far are gone through while there
    are no more than a limit, beyond it so many drawn ones.

    Attributes:
        taken: the pairs taken, in their order.
    """

    def __init__(self, differences: Array, limit: int, rng: np.random.Generator) -> None:
        """Compute what does not change.

        Args:
            differences: draws of Δ, ``(E, m)``.
            limit: the most configurations to go through.
            rng: draws configurations.
        """
        self.limit, self.rng = limit, rng
        self.taken: list[int] = []
        self._probability = expit(differences)
        self._noise = label_entropy(self._probability).mean(axis=0)
        # Of each configuration, its probability under each draw, (C, E), and its weight in a sum
        # over all configurations; of the pairs taken, those that are in it so far.
        self._given = np.ones((1, len(differences)))
        self._weight = np.ones(1)
        self._inside = 0

    def take(self, p: int) -> None:
        """Take pair p."""
        self.taken.append(p)

    def gains(self) -> Array:
        """What each pair would add, ``(m,)`` nats, plus H of the batch, which is alike for all."""
        draws = len(self._probability)
        if 2 ** len(self.taken) > self.limit:
            self._draw_configurations()
        for p in self.taken[self._inside :]:
            first = self._probability[:, p]
            self._given = np.concatenate([self._given * first, self._given * (1 - first)])
            self._weight = np.ones(len(self._given))
        self._inside = len(self.taken)
        first = self._given @ self._probability / draws
        second = np.maximum(self._given.mean(axis=1)[:, None] - first, 0.0)
        gains: Array = self._weight @ (entr(first) + entr(second)) - self._noise
        return gains

    def _draw_configurations(self) -> None:
        """Labels of the whole batch, drawn from what the draws of Δ predict."""
        batch = self._probability[:, self.taken]
        source = self.rng.integers(len(batch), size=self.limit)
        labels = self.rng.random((self.limit, len(self.taken))) < batch[source]
        self._given = np.ones((self.limit, len(batch)))
        for label, first in zip(labels.T, batch.T, strict=True):
            self._given *= np.where(label[:, None], first, 1 - first)
        self._weight = 1 / (self.limit * self._given.mean(axis=1))
        self._inside = len(self.taken)


def shared_information(first: Array, second: Array) -> Array:
    """I(y; y*), what two labels tell of each other, for all combinations, ``(m, t)`` nats.

    Args:
        first: draws of Δ, ``(E, m)``.
        second: Δ* in the same draws, ``(E, t)``.
    """
    first, second = expit(first), expit(second)
    p, q = first.mean(axis=0)[:, None], second.mean(axis=0)
    both = first.T @ second / len(first)
    joint = np.zeros(both.shape)
    for cell in (both, p - both, q - both, 1 - p - q + both):
        joint += entr(np.maximum(cell, 0.0))
    information: Array = label_entropy(p) + label_entropy(q) - joint
    return information
