"""Pairs drawn in proportion to D², their squared distance to the nearest pair with a label.

The seeding of k-means++, as a way of spreading labels: D² = min(‖z − z'‖², ‖z + z'‖²) to the
nearest z' that is labelled or drawn before, and each draw has P(z) ∝ D²(z). It is a randomised
k-center: far pairs are likely, but where most pairs are typical most draws are. Without a label the
first draw is uniform.

scikit-learn's ``kmeans_plusplus`` accepts neither initial centres nor the equivalence of z and −z.
The draws are from a random sample of the pairs not asked before, each at most once; the k-means
iterations that the seeding is made for do not follow.

Family: diversity.
Source: Arthur and Vassilvitskii 2007, k-means++: the advantages of careful seeding, SODA.
Assumes: that features are on a common scale, and that a label at one z is informative nearby.
Cost: O(m d (l + n)) a round, m candidate pairs and l labels so far.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, check_counts, cycle_pairs, fresh_pairs, randomize_order
from pairbench.coverage import NearestDistance, sample_d2


@dataclass(frozen=True)
class KMeansPlusPlus(Design):
    """D² sampling, the labelled pairs being the first centres.

    Attributes:
        candidates: size of the sample to choose from, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Draw pairs one by one, in proportion to D²."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        nearest = NearestDistance(
            view.pool.differences(pairs), view.pool.differences(view.answered)
        )
        chosen = sample_d2(nearest, min(n, len(pairs)), view.rng)
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
