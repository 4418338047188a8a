"""The pairs of least total distance to all others: medoids of the feature differences.

The total Σ_z D(z), with D(z) the distance from z to the nearest labelled or chosen pair, is lowered
greedily: each choice is the pair that lowers it most. This is the BUILD phase of PAM, here with the
labelled pairs as initial medoids; it reaches at least 1 − 1/e of the largest decrease. PAM's second
phase, which swaps medoids for others while that helps, is left out, to keep rounds short. Distances
do not depend on the order of the two completions: D = min(‖z − z'‖, ‖z + z'‖).

Unlike k-center, which prefers outliers, medoids lie where pairs are dense. Sums are over a random
sample of the pairs not asked before, which are also those that can be chosen.

Family: diversity.
Source: Kaufman and Rousseeuw 1990, Finding groups in data (PAM, its BUILD phase); Schubert and
    Rousseeuw 2021, Fast and eager k-medoids clustering, arXiv 2008.05171.
Assumes: that features are on a common scale, that a label at one z is informative nearby, and that
    all pairs matter equally. Short differences are central, and not very informative.
Cost: O(m² d) a round, m candidate pairs, and a few times O(m) for each label.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, check_counts, cycle_pairs, fresh_pairs, randomize_order
from pairbench.coverage import greedy_cover, pair_distances


@dataclass(frozen=True)
class KMedoids(Design):
    """Greedy medoids of a sample of pairs.

    Attributes:
        candidates: size of the sample to choose from and to cover, at least twice as many as
            labels.
    """

    candidates: int = 1000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, each lowering the total distance most."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        closeness = -np.sqrt(pair_distances(z, z))
        # Before the first medoid all totals are infinite; any bound gives the same first choice.
        covered = (
            (-np.sqrt(pair_distances(past, z))).max(axis=0) if len(past) else closeness.min(axis=0)
        )
        chosen = greedy_cover(closeness, np.ones(len(z)), covered, min(n, len(pairs)))
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
