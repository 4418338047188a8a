"""Entropy estimate of a growing sample of points, from distances to nearest neighbours."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

Array = NDArray[np.float64]

_BLOCK = 512
"""Number of points whose distances to all others are in memory at a time."""


class NeighbourEntropy:
    """Entropy estimate of a sample from a finite set of points, with repeats.

    H = ψ(M) − mean ψ(n_i + 1) + log c_d + d mean log ε_i over the M sampled points, the marginal
    entropy of Kraskov, Stögbauer and Grassberger (2004): ε_i is the distance to the k-th neighbour
    in the whole set, and n_i the number of other sampled points within it; c_d is the volume of
    the d-dimensional unit ball. The whole set shows the density where the sample is sparse.

    Attributes:
        radius: ε, ``(P,)``.
        near: ``(P, P)`` bool; ``[q, p]`` is true where q is nearer to p than ε_p, or is p.
        times: the number of times that each point was sampled, ``(P,)``.
        count: the number of sampled points nearer to p than ε_p, ``(P,)``.
    """

    def __init__(self, points: Array, k: int, dim: float) -> None:
        """Find the neighbours, in O(P² × columns) time and P² bytes.

        Args:
            points: ``(P, columns)``.
            k: the rank of the neighbour that ε is the distance to, at most P − 1.
            dim: d, the intrinsic dimension of the points.
        """
        size = len(points)
        self.dim = dim
        self.radius = np.empty(size)
        self.near = np.empty((size, size), dtype=np.bool_)
        self.times = np.zeros(size, dtype=np.int64)
        self.count = np.zeros(size, dtype=np.int64)
        norms = np.einsum("pd,pd->p", points, points)
        tiny = np.finfo(np.float64).tiny
        k = min(k, size - 1)
        for start in range(0, size, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, size))
            # Squared distances less the squared norm of each row's point.
            squared = (-2 * points[rows]) @ points.T
            squared += norms
            squared[rows - start, rows] = -np.inf  # each point is its own first neighbour
            kth = np.partition(squared, k, axis=1)[:, k]
            self.near[:, rows] = (squared < kth[:, None]).T
            # The distance of duplicates is 0, whose logarithm must stay finite.
            self.radius[rows] = np.sqrt(np.maximum(kth + norms[rows], tiny))
        np.fill_diagonal(self.near, True)
        self._log_volume = dim * np.log(self.radius)

    def gains(self) -> Array:
        """Compute each point's term if it were sampled next, d log ε − ψ(n + 1), ``(P,)`` nats."""
        psi = digamma(1.0 + np.arange(self.count.max() + 1))
        gains: Array = self._log_volume - psi[self.count]
        return gains

    def take(self, p: int, times: int = 1) -> None:
        """Add point p to the sample, once or several times."""
        self.times[p] += times
        self.count += times * self.near[p]

    def entropy(self) -> float:
        """Compute H of the sample, which must have at least one point, nats."""
        total, ball = self.times.sum(), self.dim / 2 * np.log(np.pi) - gammaln(self.dim / 2 + 1)
        sampled = self.times > 0
        # A sampled point counts itself, so that its n + 1 is its count.
        terms = self._log_volume[sampled] - digamma(self.count[sampled])
        return float(digamma(total) + ball + self.times[sampled] @ terms / total)
