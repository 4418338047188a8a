"""The pairs whose distribution, with the labelled ones, is that of all pairs to the least error.

Kernel herding: after T questions z_1 … z_T the next one is
argmax_z  mean_z' k(z, z') − (1/(T + 1)) Σ_t k(z, z_t),
which goes where pairs are many and questions few. As k(z, z) = 1, each choice brings the mean of
the questions as near as it can to that of all pairs in the kernel's feature space, nearer than
random draws do. So it is uniform's distribution with less chance: typical pairs, evenly spread.

k is a Gaussian kernel that takes z and −z for one question (averaged over both, and normalised).
The pairs of the target are a random sample of those not asked before, which are also those that can
be chosen, each at most once; the paper may choose a point again.

Family: diversity.
Source: Chen, Welling and Smola 2010, Super-samples from kernel herding, arXiv 1203.3472.
Assumes: that uniform is the right distribution, and features are on a common scale. It gains
    nothing from some pairs' telling more than others.
Cost: O(m² d + m l d) a round, m candidate pairs and l labels so far, and O(m) for each label.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    Design,
    InvalidParameter,
    Pairs,
    View,
    check_counts,
    filled,
    fresh_pairs,
    turned,
)
from pairbench.coverage import median_distance, pair_kernel


@dataclass(frozen=True)
class Herding(Design):
    """Greedy matching of the mean embedding.

    Attributes:
        width: ℓ of the kernel, in median distances between pairs.
        candidates: how many pairs to choose from, and to resemble, in a round, at least twice as
            many as labels.
    """

    width: float = 1.0
    candidates: int = 1000

    def __post_init__(self) -> None:
        if not (np.isfinite(self.width) and self.width > 0):
            raise InvalidParameter(f"width must be a positive number, got {self.width}.")
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Take the pair that brings the mean closest, again and again."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        width = self.width * median_distance(z)
        kernel = pair_kernel(z, z, width)
        target, asked = kernel.mean(axis=1), pair_kernel(z, past, width).sum(axis=1)
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for k in range(len(chosen)):
            chosen[k] = p = int((target - asked / (len(past) + k + 1)).argmax())
            asked += kernel[p]
            target[p] = -np.inf
        return turned(view, filled(pairs[chosen], n))
