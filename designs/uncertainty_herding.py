"""The pairs that best cover those whose label is hard to predict.

Uncertainty coverage: E_z[U(z) max_s k(z, s)], s over the labelled and chosen pairs, is raised
greedily, with U(z) = h(p̄) the entropy of the predicted label and k = exp(−D²/σ²),
D² = min(‖z − s‖², ‖z + s‖²), which does not depend on the order of the two completions. σ is the
least distance between two labelled pairs that is not 0, the paper's rule: while labels are few and
far apart, U is flat and σ large, and the rule covers all pairs; with many labels σ is small, and it
is uncertainty sampling. Before the first two labels σ is the median distance.

The paper corrects U by temperature scaling on held-out labels; here p̄ is the posterior's mean,
which is near ½ while variances are large (MacKay 1992). Features are taken as they are, where the
paper has them of unit length. The mean is over a random sample of the pairs not asked before, which
are also those that can be chosen.

Family: diversity.
Source: Bae, Oliveira and Sutherland 2025, Uncertainty herding: one active learning method for all
    label budgets, arXiv 2412.20644.
Assumes: that features are on a common scale, and that labels hard to predict are informative. Where
    two labelled pairs are nearly equal, σ is nearly 0 at once.
Cost: one fit and O(m (m + l) d) a round, m candidate pairs and l labels so far, and a few times
    O(m) for each label.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    BeliefDesign,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.coverage import greedy_cover, median_distance, pair_distances


@dataclass(frozen=True)
class UncertaintyHerding(BeliefDesign):
    """Greedy coverage of uncertainty.

    Attributes:
        candidates: size of the sample to choose from and to cover, at least twice as many as
            labels.
    """

    candidates: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, each raising the coverage most."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        mean, variance = self.belief(view).of_pairs(pairs)
        logit = np.abs(mean) / np.sqrt(1 + np.pi / 8 * variance)
        # h(σ(x)) = log(1 + exp(−x)) + x σ(−x), without overflow for x ≥ 0.
        uncertainty = np.log1p(np.exp(-logit)) + logit * np.exp(-logit) / (1 + np.exp(-logit))
        distances = pair_distances(past, past)
        positive = distances[distances > 0]
        square = positive.min() if len(positive) else median_distance(z) ** 2
        kernel = np.exp(-pair_distances(z, z) / square)
        covered = np.exp(-pair_distances(past, z) / square).max(axis=0, initial=0.0)
        chosen = greedy_cover(kernel, uncertainty, covered, min(n, len(pairs)))
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
