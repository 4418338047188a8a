"""Pairs drawn by how much each may weigh in the logistic likelihood of all pairs.

The sensitivity of pair i is the largest share, over all θ of length at most R, that its loss
log(1 + exp(−Z_iᵀθ)), Z = y z, can have in the sum over all m pairs, times m. It is at most

    m / (1 + Σ_c |G_c| exp(−R ‖Z̄_c − Z_i‖)),

the G_c being clusters of the other pairs and Z̄_c their means. Pairs are drawn independently, with
replacement, in proportion to this bound: those that few others resemble come often.

- The pairs are not labelled yet, so y is the predicted label, a coin toss where Δ = 0. Z does not
  depend on the order of the two completions.
- Clusters are those of k-means++ seeds, without iterations: the bound holds for any. R is
  a/√(mean squared distance to the seeds), as in the authors' code.
- A coreset has weights 1/p, which the training here does not use, so its guarantee is lost.
- The pairs are a random sample of those not asked before.

Family: diversity.
Source: Huggins, Campbell and Broderick 2016, Coresets for scalable Bayesian logistic regression,
    arXiv 1605.06423.
Assumes: that labels are those predicted, and that pairs of high sensitivity are worth labelling.
    Where pairs hardly cluster all bounds are similar, and the draws uniform.
Cost: one fit and O(m d k) a round, m candidate pairs and k clusters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BeliefDesign,
    InvalidParameter,
    Pairs,
    View,
    check_counts,
    fresh_pairs,
    sample_pairs,
)
from pairbench.coverage import NearestDistance, sample_d2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coreset(BeliefDesign):
    """Independent draws in proportion to bounds of sensitivity.

    Attributes:
        clusters: k.
        radius: a, the authors' default.
        candidates: size of the sample to choose from, at least twice as many as labels.
    """

    clusters: int = 6
    radius: float = 3.0
    candidates: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "clusters")
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise InvalidParameter(f"radius must be a positive number, got {self.radius}.")
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Draw pairs in proportion to the bounds of their sensitivities."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        delta, _ = self.belief(view).of_pairs(pairs)
        coin = view.rng.choice([-1.0, 1.0], size=len(pairs))
        label = np.where(delta == 0, coin, np.sign(delta))
        data = label[:, None] * view.pool.differences(pairs)
        seeds = sample_d2(
            NearestDistance(data, signed=True), min(self.clusters, len(data)), view.rng
        )
        squares = _squared_distances(data, data[seeds])
        spread = squares.min(axis=1).mean()
        radius = self.radius / np.sqrt(spread) if spread > 0 else 0.0
        bounds = sensitivity_bounds(data, squares.argmin(axis=1), radius)
        return sample_pairs(view, pairs, bounds, n)


def sensitivity_bounds(data: Array, cluster: NDArray[np.int64], radius: float) -> Array:
    """Compute upper bounds of the sensitivities of logistic losses, ``(m,)``.

    Args:
        data: Z, ``(m, d)``.
        cluster: each point's cluster, ``(m,)``.
        radius: R, of the ball of θ.
    """
    labels, cluster, size = np.unique(cluster, return_inverse=True, return_counts=True)
    member = cluster[:, None] == np.arange(len(labels))
    distance = np.sqrt(_squared_distances(data, (member.T @ data) / size[:, None]))
    # A point is not counted in its own cluster, which moves that cluster's mean away from it.
    others = size - member
    distance *= size / np.maximum(others, 1)
    bounds: Array = len(data) / (1 + (others * np.exp(-radius * distance)).sum(axis=1))
    return bounds


def _squared_distances(points: Array, centres: Array) -> Array:
    """Compute ‖x − c‖², ``(m, k)``."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
