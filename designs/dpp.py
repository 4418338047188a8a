"""The most likely set of long, dissimilar pairs under a determinantal point process.

A determinantal point process draws the set S with probability ∝ det L_S, where
L_ij = q_i k(z_i, z_j) q_j. The likeliest set is sought greedily: each choice raises log det L_S
most, by log(q² v), v being the conditional variance that remains of k(z, z) = 1 given the labelled
and chosen pairs (a Schur complement, updated by an incremental Cholesky factor; Chen, Zhang and
Zhou's algorithm).

- Similarity k is a Gaussian kernel for which z and −z are the same question (averaged over both,
  and normalised). The linear kernel zᵀz' would give det L_S = 0 for more than d pairs.
- Quality is q = ‖z‖^α: a long difference is more informative. The paper's q is a recommender's
  relevance.
- Labelled pairs are conditioned on: S is the set that is added to them.
- The choice is from a random sample of the pairs not asked before.

Family: diversity.
Source: Chen, Zhang and Zhou 2018, Fast greedy MAP inference for determinantal point process to
    improve recommendation diversity, arXiv 1709.05135.
Assumes: that features are on a common scale, and that far apart means informative, which fails
    where labels saturate. Of the largest determinant, greedy choice is only known to reach 1/(n!)²
    (Çivril and Magdon-Ismail 2009).
Cost: O(m² (d + l) + m n²) a round, m candidate pairs and l labels so far.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    Design,
    InvalidParameter,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.coverage import median_distance, pair_kernel

Array = NDArray[np.float64]

_MIN_VARIANCE = 1e-8  # v below which the next row of the factor would be rounding errors


@dataclass(frozen=True)
class Dpp(Design):
    """Greedy maximum of a determinant, in the order of the choices.

    Attributes:
        quality: α, exponent of the length; 0 is pure diversity.
        width: ℓ of the kernel, in median distances between pairs.
        candidates: size of the sample to choose from, at least twice as many as labels.
    """

    quality: float = 1.0
    width: float = 1.0
    candidates: int = 1000

    def __post_init__(self) -> None:
        if not (np.isfinite(self.quality) and self.quality >= 0):
            raise InvalidParameter(f"quality must be finite, 0 or more, got {self.quality}.")
        if not (np.isfinite(self.width) and self.width > 0):
            raise InvalidParameter(f"width must be a positive number, got {self.width}.")
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, each of largest q² v given those before."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        width = self.width * median_distance(z)
        kernel = pair_kernel(z, z, width)
        if len(past):
            past_kernel = pair_kernel(past, past, width) + _MIN_VARIANCE * np.eye(len(past))
            factor = np.linalg.cholesky(past_kernel)
            rows = np.linalg.solve(factor, pair_kernel(past, z, width))
            kernel -= rows.T @ rows
        weight = np.einsum("md,md->m", z, z) ** self.quality
        return randomize_order(
            view, cycle_pairs(pairs[greedy_map(kernel, weight, min(n, len(z)))], n)
        )


def greedy_map(kernel: Array, weight: Array, n: int) -> NDArray[np.int64]:
    """Choose n indices greedily, to maximise det(diag(weight)^½ k diag(weight)^½), ``(n,)``.

    Args:
        kernel: k, ``(m, m)``.
        weight: q², ``(m,)``.
        n: at most m.
    """
    variance = kernel.diagonal().copy()
    rows = np.zeros((n, len(kernel)))
    chosen = np.empty(n, dtype=np.int64)
    free = np.ones(len(kernel), dtype=np.bool_)
    for k in range(n):
        chosen[k] = p = int(np.where(free, weight * np.maximum(variance, 0.0), -1.0).argmax())
        free[p] = False
        if variance[p] > _MIN_VARIANCE:
            rows[k] = (kernel[p] - rows[:k, p] @ rows[:k]) / np.sqrt(variance[p])
            variance -= rows[k] ** 2
    return chosen
