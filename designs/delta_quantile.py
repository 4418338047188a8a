"""The pairs whose predicted reward difference is at a given quantile.

There are two rules:

    nearest     |Δ| nearest its q-quantile over all pairs of the pool, asked or not; q = 0 is
                ``smallest-gap``, q = 1 ``largest-gap``
    optimistic  of each prompt the ordered pair (i, j) of rank ⌊q M⌋ among its M = K(K − 1)
                optimistic differences u_i − l_j, the largest having rank 0, with u, l = μ ± β s;
                prompts take turns

``optimistic`` is DeltaQuantile in the code of ActiveUltraFeedback (lasgroup/ActiveUltraFeedback),
which runs it with q = 0.05 and β = 1: ``delta-quantile(rule='optimistic', quantile=0.05)``. Its
window of ranks, q ± ε, of which it takes the pair of largest u_i, is a single rank at its ε = 0,
the only one offered here. Ranks run the other way than quantiles of ``nearest``: q = 0 is the
largest optimistic difference. Equal differences are ranked at random, the two completions are in
random order, and s_i is of the reward relative to its prompt's mean.

Family: reward rank.
Source: Melikidze et al. 2026, "ActiveUltraFeedback: Efficient Preference Data Generation using
    Active Learning", arXiv 2603.09692, for ``optimistic``, in its code; ``nearest``, with the
    median as its default, is ours. That differences should be moderate is argued by Shen et al.
    2025, "Reviving The Classics: Active Reward Modeling in Large Language Model Alignment", arXiv
    2502.04354 (whose own rule is Fisher information), and that the hardest pairs harm by Gao et al.
    2025, "Principled Data Selection for Alignment: The Hidden Risks of Difficult Examples", arXiv
    2502.09650 (which filters labelled pairs by validation loss).
Assumes: that the pool's own differences say what is moderate. A label's information falls with |Δ|
    and grows with ‖z‖, and which wins depends on the pool.
Cost: one fit of the estimator, and O(N K²); ``optimistic``, O(N K² log K).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    Belief,
    BeliefDesign,
    InvalidParameter,
    Pairs,
    ScoredDesign,
    View,
    duel_per_prompt,
    largest_pair,
)
from pairbench.worlds.environment import ADDED_AFTER_PUBLICATION

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeltaQuantile(BeliefDesign, ScoredDesign):
    """The n pairs nearest the quantile not asked before, or one a prompt, at the quantile's rank.

    Attributes:
        quantile: q, 0 to 1.
        rule: ``"nearest"`` or ``"optimistic"``.
        beta: β of ``"optimistic"``, the half-width of the bounds in posterior standard deviations.
    """

    quantile: float = 0.5
    rule: str = field(default="nearest", metadata=ADDED_AFTER_PUBLICATION)
    beta: float = field(default=1.0, metadata=ADDED_AFTER_PUBLICATION)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile <= 1:
            raise InvalidParameter(f"quantile must lie between 0 and 1, got {self.quantile}.")
        if self.rule not in ("nearest", "optimistic"):
            raise InvalidParameter(f"rule must be nearest or optimistic, got {self.rule!r}.")
        if not (np.isfinite(self.beta) and self.beta >= 0):
            raise InvalidParameter(f"beta must be a finite number, 0 or more, got {self.beta}.")

    def select(self, view: View, n: int) -> Pairs:
        """Take the pairs of highest score, of the whole pool or prompt by prompt."""
        if self.rule == "nearest":
            return super().select(view, n)
        scores = self.scores(view)
        return duel_per_prompt(view, lambda: largest_pair(view.pool, scores, view.rng), n)

    def scores(self, view: View) -> Array:
        """Score all pairs by how near |Δ|, or their rank in their prompt, is to its quantile."""
        belief = self.belief(view)
        if self.rule == "optimistic":
            return self._rank_scores(belief, view.rng)
        size = np.abs(belief.differences())
        target = np.quantile(size[view.pool.pair_mask], self.quantile)
        miss: Array = np.abs(size - target)
        return -miss

    def _rank_scores(self, belief: Belief, rng: np.random.Generator) -> Array:
        """Score pairs by minus the distance of their rank to ⌊q M⌋, the nearer of both orders."""
        pool = belief.pool
        n, k = pool.valid.shape
        width = self.beta * belief.deviation
        gaps = (belief.mean + width)[:, :, None] - (belief.mean - width)[:, None, :]
        ordered = pool.pair_mask | pool.pair_mask.transpose(0, 2, 1)
        gaps = np.where(ordered, gaps, -np.inf).reshape(n, k * k)
        # The rank of each gap is its position in the order of falling gaps, ties in random order.
        order = np.lexsort([rng.random(gaps.shape), -gaps], axis=1)
        rank = np.argsort(order, axis=1).reshape(n, k, k)
        count = ordered.sum(axis=(1, 2))
        target = np.minimum((count * self.quantile).astype(np.int64), count - 1)
        miss = np.abs(rank - target[:, None, None]).astype(np.float64)
        scores: Array = -np.minimum(miss, miss.transpose(0, 2, 1))
        return scores
