"""How far questions are from one another, and which of them cover the others.

A question turned round is the same question, so z and −z count as one point unless said otherwise.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

_EQUAL = 1e-12  # squared distance below which two points are one, relative to their squared norms


def pair_distances(z: Array, centres: Array) -> Array:
    """Squared distances of feature differences, whichever way round, ``(m, l)``.

    min(‖z − c‖², ‖z + c‖²) = ‖z‖² + ‖c‖² − 2 |zᵀc|.

    Args:
        z: ``(m, d)``.
        centres: ``(l, d)``.
    """
    squares = _squares(z)[:, None] + _squares(centres)
    distances: Array = squares - 2 * np.abs(z @ centres.T)
    # Equal questions must give 0, not a rounding error around it.
    distances[distances < _EQUAL * squares] = 0.0
    return distances


def median_distance(z: Array) -> float:
    """The median distance between the first few hundred of the questions; 1 where it is 0.

    Args:
        z: feature differences in random order, ``(m, d)``.
    """
    some = z[:256]
    distances = pair_distances(some, some)[np.triu_indices(len(some), k=1)]
    return float(np.sqrt(np.median(distances))) or 1.0 if len(distances) else 1.0


def pair_kernel(z: Array, centres: Array, width: float) -> Array:
    """The Gaussian kernel of questions, ``(m, l)``, in (0, 1] and positive semidefinite.

    exp(−‖z − c‖²/2ℓ²) is averaged over z and −z, and normalised so that k(z, z) = 1, which comes to
    cosh(zᵀc/ℓ²) / √(cosh(‖z‖²/ℓ²) cosh(‖c‖²/ℓ²)).

    Args:
        z: ``(m, d)``.
        centres: ``(l, d)``.
        width: ℓ, positive.
    """
    scale = 1 / width**2
    near = pair_distances(z, centres)
    # ‖z − c‖² + ‖z + c‖² = 2 ‖z‖² + 2 ‖c‖².
    own, other = _squares(z), _squares(centres)
    apart = np.maximum(own[:, None] + other - near, 0.0)
    kernel: Array = np.exp(-0.5 * scale * near) * (1 + np.exp(-scale * apart))
    kernel /= np.sqrt(1 + np.exp(-2 * scale * own))[:, None]
    kernel /= np.sqrt(1 + np.exp(-2 * scale * other))
    return kernel


class Nearest:
    """How far each of m points is from the nearest one taken, kept up to date.

    Attributes:
        distance: squared, ``(m,)``; infinite before the first is taken, −1 for the taken ones.
    """

    def __init__(
        self, points: Array, centres: Array | None = None, *, signed: bool = False
    ) -> None:
        """Begin with what is taken already.

        Args:
            points: ``(m, d)``.
            centres: questions taken before, ``(l, d)``.
            signed: whether a point and its negative are two points.
        """
        self._points, self._signed, self._squares = points, signed, _squares(points)
        self.distance = np.full(len(points), np.inf)
        centres = np.empty((0, points.shape[1])) if centres is None else centres
        for start in range(0, len(centres), 64):
            some = pair_distances(points, centres[start : start + 64])
            np.minimum(self.distance, some.min(axis=1), out=self.distance)

    def take(self, p: int) -> None:
        """Take point p."""
        along = self._points @ self._points[p]
        if not self._signed:
            along = np.abs(along)
        distance = self._squares + self._squares[p] - 2 * along
        np.minimum(self.distance, np.maximum(distance, 0.0), out=self.distance)
        self.distance[p] = -1.0


def d2_sampled(nearest: Nearest, n: int, rng: np.random.Generator) -> Places:
    """n points drawn one after the other, in proportion to D² (k-means++ seeding), ``(n,)``.

    D is the distance to the nearest one taken (Arthur and Vassilvitskii 2007). The first, if none
    is taken before, is drawn uniformly, and so are those that coincide with points taken.

    Args:
        nearest: what is taken; brought up to date.
        n: at most as many as there are points.
        rng: where the randomness comes from.
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


def greedy_cover(similarity: Array, weights: Array, covered: Array, n: int) -> Places:
    """n places, each the one that raises the coverage Σ_x w_x max_s k(s, x) most, ``(n,)``.

    The gains only fall as more is covered, so a choice is right as soon as its own gain, computed
    anew, exceeds the old ones of the others (Minoux 1978).

    Args:
        similarity: k, of each that can be chosen to each that is to be covered, ``(m, l)``.
        weights: w, ``(l,)``, not negative.
        covered: how well each is covered already, ``(l,)``.
        n: at most m.
    """
    gains = np.maximum(similarity - covered, 0.0) @ weights
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        best = -1
        while (p := first_largest(gains)) != best:
            gains[p] = np.maximum(similarity[p] - covered, 0.0) @ weights
            best = p
        chosen[k] = p
        covered = np.maximum(covered, similarity[p])
        gains[p] = -np.inf
    return chosen


def first_largest(values: Array) -> int:
    """The first place of the largest value, or of one that only rounding tells from it.

    Rounding is not the same on every processor; what is within 10⁻¹⁰ of the largest is a tie.

    Args:
        values: ``(m,)``, one at least.
    """
    top = float(values.max())
    least = top - 1e-10 * abs(top) if np.isfinite(top) else top
    return int(np.argmax(values >= least))


def _squares(z: Array) -> Array:
    squares: Array = np.einsum("md,md->m", z, z)
    return squares
