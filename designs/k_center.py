"""The pairs that leave no pair of the pool far from one with a label.

Greedy k-center: with D(z) the distance to the nearest z' that is labelled or chosen, the next pair
is the one of largest D. In the end the largest D is at most twice the least that n more labels
could reach. D counts a question and the same question turned round as one:
D² = min(‖z − z'‖², ‖z + z'‖²).

The rule runs after the outermost pairs first, so outliers are asked before what is typical. It is
taken over a random sample of the pairs not asked before; the paper's further step, an integer
program that sets some outliers aside, is left out.

Family: diversity.
Source: Sener and Savarese 2018, Active learning for convolutional neural networks: a core-set
    approach, arXiv 1708.00489.
Assumes: that features are on a common scale, and that rewards that are known at one z are known
    nearby. In many dimensions all pairs are far apart, and the rule sees length only.
Cost: O(m d (l + n)) a round, m candidate pairs and l labels so far.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, check_counts, filled, fresh_pairs, turned
from pairbench.coverage import Nearest, first_largest


@dataclass(frozen=True)
class KCenter(Design):
    """Farthest first; the first pair of all is random.

    Attributes:
        candidates: how many pairs to choose from in a round, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Take the farthest pair, again and again."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        nearest = Nearest(view.pool.differences(pairs), view.pool.differences(view.answered))
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for k in range(len(chosen)):
            # The candidates come in random order, so the first of several farthest is a random one.
            chosen[k] = p = first_largest(nearest.distance)
            nearest.take(p)
        return turned(view, filled(pairs[chosen], n))
