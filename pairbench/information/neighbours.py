"""The entropy of a growing sample of points, from distances to nearest neighbours."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

Array = NDArray[np.float64]

_ROWS = 512
"""Points whose distances to all others are in memory at a time."""


class NeighbourEntropy:
    """The entropy of points taken out of a set, which may be taken again, as KSG estimate it.

    H = ψ(M) − mean ψ(n_i + 1) + log c_d + d mean log ε_i over the M taken, the marginal entropy of
    Kraskov, Stögbauer and Grassberger (2004): ε_i is the distance to the k-th neighbour in the
    whole set, and n_i how many others taken are nearer than that; c_d is the volume of the
    d-dimensional unit ball. The whole set tells how dense the space is where little was taken.

    Attributes:
        radius: ε, ``(P,)``.
        near: ``(P, P)`` bool, ``[q, p]`` says whether q is nearer to p than ε_p, or is p.
        times: how often each point was taken, ``(P,)``.
        count: how many taken are nearer to p than ε_p, ``(P,)``.
    """

    def __init__(self, points: Array, k: int, dim: float) -> None:
        """Find the neighbours, in O(P² × columns) time and P² bytes.

        Args:
            points: ``(P, columns)``.
            k: which neighbour the distance is to; the last where there are fewer.
            dim: d, the dimension of the space that the points fill.
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
        for start in range(0, size, _ROWS):
            rows = np.arange(start, min(start + _ROWS, size))
            # Squared distances, less the norm of the point that they are from.
            squared = (-2 * points[rows]) @ points.T
            squared += norms
            squared[rows - start, rows] = -np.inf  # itself comes first
            reach = np.partition(squared, k, axis=1)[:, k]
            self.near[:, rows] = (squared < reach[:, None]).T
            # Copies have no distance, and their density has no bound but the machine's.
            self.radius[rows] = np.sqrt(np.maximum(reach + norms[rows], tiny))
        np.fill_diagonal(self.near, True)
        self._volume = dim * np.log(self.radius)

    def gains(self) -> Array:
        """d log ε − ψ(n + 1), each point's own term if it were taken next, ``(P,)`` nats."""
        psi = digamma(1.0 + np.arange(self.count.max() + 1))
        gains: Array = self._volume - psi[self.count]
        return gains

    def take(self, p: int, times: int = 1) -> None:
        """Take point p."""
        self.times[p] += times
        self.count += times * self.near[p]

    def entropy(self) -> float:
        """H of what was taken, one point at least, nats."""
        total, ball = self.times.sum(), self.dim / 2 * np.log(np.pi) - gammaln(self.dim / 2 + 1)
        there = self.times > 0
        # A point taken counts itself, so that its n + 1 is its count.
        own = self._volume[there] - digamma(self.count[there])
        return float(digamma(total) + ball + self.times[there] @ own / total)
