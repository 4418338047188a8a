"""The pairs that all others are closest to, on the whole: medoids of the space of differences.

The total Σ_z D(z), with D(z) the distance from z to the nearest labelled or chosen pair, is lowered
greedily: each choice is the pair that lowers it most. This is the BUILD phase of PAM, here with the
labelled pairs as medoids that are there already; it reaches at least 1 − 1/e of the largest
decrease. PAM's second phase, which swaps medoids for others while that helps, is left out, to keep
rounds short. Distances count a question and the same question turned round as one:
D = min(‖z − z'‖, ‖z + z'‖).

Unlike k-center, which goes for the outliers, medoids lie where pairs are many. Sums are over a
random sample of the pairs not asked before, which are also those that can be chosen.

Family: diversity.
Source: Kaufman and Rousseeuw 1990, Finding groups in data (PAM, its BUILD phase); Schubert and
    Rousseeuw 2021, Fast and eager k-medoids clustering, arXiv 2008.05171.
Assumes: that features are on a common scale, that rewards that are known at one z are known nearby,
    and that all pairs matter alike. Short differences are central, and tell little.
Cost: O(m² d) a round, m candidate pairs, and a few times O(m) for each label.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, check_counts, filled, fresh_pairs, turned
from pairbench.coverage import greedy_cover, pair_distances


@dataclass(frozen=True)
class KMedoids(Design):
    """Greedy medoids of a sample of pairs.

    Attributes:
        candidates: how many pairs to choose from, and to be close to, in a round, at least twice as
            many as labels.
    """

    candidates: int = 1000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Lower the total distance, again and again."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        z, past = view.pool.differences(pairs), view.pool.differences(view.answered)
        closeness = -np.sqrt(pair_distances(z, z))
        # Before the first medoid all totals are infinite; any bound gives the same first choice.
        known = -np.sqrt(pair_distances(past, z)) if len(past) else closeness
        covered = known.max(axis=0) if len(past) else closeness.min(axis=0)
        chosen = greedy_cover(closeness, np.ones(len(z)), covered, min(n, len(pairs)))
        return turned(view, filled(pairs[chosen], n))
