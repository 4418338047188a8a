"""Pairs drawn in proportion to D², their squared distance to the nearest pair with a label.

The seeding of k-means++, as a way of spreading labels: D² = min(‖z − z'‖², ‖z + z'‖²) to the
nearest z' that is labelled or drawn before, and each draw has P(z) ∝ D²(z). It is k-center with a
lottery: far pairs are likely, but where most pairs are typical most draws are. Without a label the
first draw is uniform.

scikit-learn's ``kmeans_plusplus`` knows neither centres that are given nor that z and −z are one
question, so the few lines are here. The draws are from a random sample of the pairs not asked
before, each at most once; the k-means iterations that the seeding is made for do not follow.

Family: diversity.
Source: Arthur and Vassilvitskii 2007, k-means++: the advantages of careful seeding, SODA.
Assumes: that features are on a common scale, and that rewards that are known at one z are known
    nearby.
Cost: O(m d (l + n)) a round, m candidate pairs and l labels so far.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, check_counts, filled, fresh_pairs, turned
from pairbench.coverage import Nearest, d2_sampled


@dataclass(frozen=True)
class KMeansPlusPlus(Design):
    """D² sampling, the labelled pairs being the first centres.

    Attributes:
        candidates: how many pairs to choose from in a round, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Draw one after the other."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        nearest = Nearest(view.pool.differences(pairs), view.pool.differences(view.answered))
        chosen = d2_sampled(nearest, min(n, len(pairs)), view.rng)
        return turned(view, filled(pairs[chosen], n))
