"""The pairs of highest score per unit of money, by the scores of another design.

Each pair's score is divided by its price (its label, the votes, and the tokens that the annotators
read), and pairs are bought in descending order of the ratio while the money lasts: the greedy rule
for a knapsack. The least score of the pool is subtracted first, since a ratio needs scores of 0 or
more: a design that ranks by −|Δ| has scores below 0. Where all pairs cost the same it is the other
design.

Family: wrapper.
Source: Dantzig 1957, Discrete-variable extremum problems, Operations Research 5, for the ratio;
    Settles, Craven, Friedland 2008, Active learning with real annotation costs, for labels.
Assumes: That scores are additive, and that the pair of least score is worth nothing.
Cost: That of the other design's scores, and a sort.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    InvalidParameter,
    Pairs,
    ScoredDesign,
    View,
    WrapperDesign,
    randomize_order,
    top_pairs,
)


@dataclass(frozen=True)
class PerCost(WrapperDesign):
    """The pairs of highest ratio of another design's score to the price.

    Attributes:
        design: name or spec of a design that scores pairs.
    """

    design: str = "difference-variance"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.inner, ScoredDesign):
            raise InvalidParameter(
                f"{self.design!r} does not score pairs, so its scores cannot be divided by prices. "
                "Take a ScoredDesign, such as difference-variance, leverage or eubo."
            )

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs by descending ratio of score to price, within the money left."""
        inner, pool = self.inner, view.pool
        assert isinstance(inner, ScoredDesign)
        scores = inner.scores(view)
        mask = pool.pair_mask
        pairs = np.argwhere(mask)
        price = view.cost(pairs)
        ratio = np.zeros(scores.shape)
        ratio[mask] = (scores[mask] - scores[mask].min()) / np.maximum(price, 1e-300)
        if np.isinf(view.money_left):
            return randomize_order(view, top_pairs(view, ratio, n))
        ranked = top_pairs(view, ratio, int(view.money_left / price.min()))
        return randomize_order(view, ranked[: view.ledger.affordable(ranked, pool)])
