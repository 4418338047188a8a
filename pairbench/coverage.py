"""Distances between pairs, and subsets of pairs that cover the others.

A pair is represented by its feature difference z. Swapping its completions gives −z, so z and −z
count as one point unless stated otherwise.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pairbench._util.deprecation import deprecated_names

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

RENAMED = {
    "Nearest": "NearestDistance",
    "Places": "Indices",
    "d2_sampled": "sample_d2",
    "first_largest": "stable_argmax",
}
"""New name of each deprecated one."""

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(__name__, RENAMED)

_EQUAL = 1e-12
"""The squared distance, relative to the squared norms, below which two points coincide."""

_BLOCK = 64
"""The number of centres whose distances to all points are in memory at a time."""


def pair_distances(z: Array, centres: Array) -> Array:
    """Compute squared distances between feature differences, up to their signs, ``(m, l)``.

    min(‖z − c‖², ‖z + c‖²) = ‖z‖² + ‖c‖² − 2 |zᵀc|.

    Args:
        z: feature differences, ``(m, d)``.
        centres: feature differences c, ``(l, d)``.
    """
    squares = _squared_norms(z)[:, None] + _squared_norms(centres)
    distances: Array = squares - 2 * np.abs(z @ centres.T)
    # Equal pairs must give 0, not a rounding error around it.
    distances[distances < _EQUAL * squares] = 0.0
    return distances


def median_distance(z: Array) -> float:
    """Compute the median distance between the first 256 pairs; 1 where it is 0 or there is none.

    Args:
        z: feature differences in random order, ``(m, d)``.
    """
    sample = z[:256]
    distances = pair_distances(sample, sample)[np.triu_indices(len(sample), k=1)]
    return float(np.sqrt(np.median(distances))) or 1.0 if len(distances) else 1.0


def pair_kernel(z: Array, centres: Array, width: float) -> Array:
    """Compute a Gaussian kernel of pairs, ``(m, l)``, in (0, 1] and positive semidefinite.

    exp(−‖z − c‖²/2ℓ²) is averaged over z and −z, and normalised so that k(z, z) = 1, which gives
    cosh(zᵀc/ℓ²) / √(cosh(‖z‖²/ℓ²) cosh(‖c‖²/ℓ²)).

    Args:
        z: feature differences, ``(m, d)``.
        centres: feature differences c, ``(l, d)``.
        width: ℓ, positive.
    """
    scale = 1 / width**2
    nearer = pair_distances(z, centres)
    # The nearer and the farther of c and −c: ‖z − c‖² + ‖z + c‖² = 2 ‖z‖² + 2 ‖c‖².
    z_norms, centre_norms = _squared_norms(z), _squared_norms(centres)
    excess = np.maximum(z_norms[:, None] + centre_norms - nearer, 0.0)
    kernel: Array = np.exp(-0.5 * scale * nearer) * (1 + np.exp(-scale * excess))
    kernel /= np.sqrt(1 + np.exp(-2 * scale * z_norms))[:, None]
    kernel /= np.sqrt(1 + np.exp(-2 * scale * centre_norms))
    return kernel


class NearestDistance:
    """Distances of m points to the nearest selected one, kept up to date.

    Attributes:
        distance: squared distances, ``(m,)``; infinite before the first point is selected, −1 for
            selected points.
    """

    def __init__(
        self, points: Array, centres: Array | None = None, *, signed: bool = False
    ) -> None:
        """Compute the distances to points that were selected before.

        Args:
            points: ``(m, d)``.
            centres: feature differences of pairs selected before, ``(l, d)``.
            signed: whether a point and its negative are two points; ``centres`` are always compared
                up to their signs.
        """
        self._points, self._signed, self._squares = points, signed, _squared_norms(points)
        self.distance = np.full(len(points), np.inf)
        centres = np.empty((0, points.shape[1])) if centres is None else centres
        for start in range(0, len(centres), _BLOCK):
            distances = pair_distances(points, centres[start : start + _BLOCK])
            np.minimum(self.distance, distances.min(axis=1), out=self.distance)

    def take(self, p: int) -> None:
        """Select point p, and update the distances."""
        products = self._points @ self._points[p]
        if not self._signed:
            products = np.abs(products)
        distance = self._squares + self._squares[p] - 2 * products
        np.minimum(self.distance, np.maximum(distance, 0.0), out=self.distance)
        self.distance[p] = -1.0


def sample_d2(nearest: NearestDistance, n: int, rng: np.random.Generator) -> Indices:
    """Draw n points one by one in proportion to D² (k-means++ seeding).

    D is the distance to the nearest selected point (Arthur and Vassilvitskii 2007). The first point
    is drawn uniformly if none was selected before, and so are points where all D are 0.

    Args:
        nearest: distances to the points selected so far; updated in place.
        n: the number of draws, at most the number of points.
        rng: the random generator.

    Returns:
        The indices of the points, ``(n,)``.
    """
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        weight = np.maximum(nearest.distance, 0.0)
        if not 0 < weight.sum() < np.inf:
            weight = (nearest.distance >= 0).astype(np.float64)
        edges = np.cumsum(weight)
        chosen[k] = p = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
        nearest.take(p)
    return chosen


def greedy_cover(similarity: Array, weights: Array, covered: Array, n: int) -> Indices:
    """Choose n candidates greedily to maximise the coverage Σ_x w_x max_s k(s, x).

    The coverage is submodular, so a choice is the best one as soon as its recomputed gain exceeds
    the outdated gains of the others (lazy greedy, Minoux 1978).

    Args:
        similarity: k of each candidate s to each point x, ``(m, l)``.
        weights: w, ``(l,)``, not negative.
        covered: the similarity of each point to what was chosen before, ``(l,)``.
        n: the number of candidates to choose, at most m.

    Returns:
        The indices of the candidates in the order of their choice, ``(n,)``.
    """
    gains = np.maximum(similarity - covered, 0.0) @ weights
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        best = -1
        while (p := stable_argmax(gains)) != best:
            gains[p] = np.maximum(similarity[p] - covered, 0.0) @ weights
            best = p
        chosen[k] = p
        covered = np.maximum(covered, similarity[p])
        gains[p] = -np.inf
    return chosen


def stable_argmax(values: Array) -> int:
    """Return the first index whose value equals the maximum up to rounding.

    Rounding differs between processors, so values within 10⁻¹⁰ of the maximum, relative to it,
    count as ties.

    Args:
        values: ``(m,)``, at least one.
    """
    maximum = float(values.max())
    threshold = maximum - 1e-10 * abs(maximum) if np.isfinite(maximum) else maximum
    return int(np.argmax(values >= threshold))


def _squared_norms(z: Array) -> Array:
    """Compute the squared norm of each row, ``(m,)``."""
    squares: Array = np.einsum("md,md->m", z, z)
    return squares
