"""The pairs that, with the labelled ones, best match the distribution of all pairs.

Kernel herding: after T questions z_1 … z_T the next one is
argmax_z  mean_z' k(z, z') − (1/(T + 1)) Σ_t k(z, z_t),
which favours regions of many pairs and few questions. As k(z, z) = 1, each choice brings the mean
of the questions as near as it can to that of all pairs in the kernel's feature space, nearer than
random draws do. So it approximates the uniform design with less variance: typical pairs, evenly
spread.

k is a Gaussian kernel for which z and −z are the same question (averaged over both, and
normalised). The pairs of the target are a random sample of those not asked before, which are also
those that can be chosen, each at most once; the paper may choose a point again.

Family: diversity.
Source: Chen, Welling and Smola 2010, Super-samples from kernel herding, arXiv 1203.3472.
Assumes: that uniform is the right distribution, and features are on a common scale. It does not
    prefer informative pairs.
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
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.coverage import median_distance, pair_kernel


@dataclass(frozen=True)
class Herding(Design):
    """Greedy matching of the mean embedding.

    Attributes:
        width: ℓ of the kernel, in median distances between pairs.
        candidates: size of the sample to choose from and to match, at least twice as many as
            labels.
    """

    width: float = 1.0
    candidates: int = 1000

    def __post_init__(self) -> None:
        if not (np.isfinite(self.width) and self.width > 0):
            raise InvalidParameter(f"width must be a positive number, got {self.width}.")
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, each bringing the mean embedding closest to the target."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        width = self.width * median_distance(z)
        kernel = pair_kernel(z, z, width)
        target, similarity = kernel.mean(axis=1), pair_kernel(z, past, width).sum(axis=1)
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for k in range(len(chosen)):
            chosen[k] = p = int((target - similarity / (len(past) + k + 1)).argmax())
            similarity += kernel[p]
            target[p] = -np.inf
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
