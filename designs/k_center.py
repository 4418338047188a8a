"""The pairs that leave no pair of the pool far from one with a label.

Greedy k-center: with D(z) the distance to the nearest z' that is labelled or chosen, the next pair
is the one of largest D. The resulting largest D is at most twice the least that n more labels could
reach. D does not depend on the order of the two completions: D² = min(‖z − z'‖², ‖z + z'‖²).

The rule takes the outermost pairs first, so outliers are asked before typical pairs. It is applied
to a random sample of the pairs not asked before; the paper's further step, an integer program that
sets some outliers aside, is left out.

Family: diversity.
Source: Sener and Savarese 2018, Active learning for convolutional neural networks: a core-set
    approach, arXiv 1708.00489.
Assumes: that features are on a common scale, and that a label at one z is informative nearby. In
    many dimensions all pairs are far apart, and the rule depends on length only.
Cost: O(m d (l + n)) a round, m candidate pairs and l labels so far.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, check_counts, cycle_pairs, fresh_pairs, randomize_order
from pairbench.coverage import NearestDistance, stable_argmax


@dataclass(frozen=True)
class KCenter(Design):
    """Farthest-first choice of pairs; the first pair without labels is random.

    Attributes:
        candidates: size of the sample to choose from, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, each farthest from those labelled or chosen."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        nearest = NearestDistance(
            view.pool.differences(pairs), view.pool.differences(view.answered)
        )
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for k in range(len(chosen)):
            # The candidates are in random order, so the first of several farthest is a random one.
            chosen[k] = p = stable_argmax(nearest.distance)
            nearest.take(p)
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
