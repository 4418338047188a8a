"""All pairs of the first m completions of a prompt, one prompt after the other.

The answers to a prompt are ranked, and a ranking of m answers is read as its m(m−1)/2 comparisons.
Here each comparison is a label of its own, bought and answered independently. Prompts come in
random order; one that was begun, in an earlier round too, is finished before the next begins, and
when all are finished they start over. A prompt of fewer than m completions has all of its pairs
asked. By definition it depends on the order of completions, as ``first-two`` does. Where
completions are generated at a price, as many prompts get m as the episode's money can ask all pairs
of, and they come first.

Family: plain.
Source: Ouyang et al. 2022, "Training language models to follow instructions with human feedback",
    arXiv 2203.02155, where labellers rank 4 to 9 answers; the default is the 4.
Assumes: that labels are better spent on few prompts known well than on many. The information of m
    answers is m − 1 differences, so most of the m(m−1)/2 labels repeat what the others tell.
Cost: O(N K²).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, InvalidParameter, Pairs, Pool, View, top_pairs


@dataclass(frozen=True)
class AllPairs(Design):
    """Prompts in random order, all pairs of the first completions of each.

    Attributes:
        completions: m, how many of a prompt's completions are compared with each other.
    """

    ordered: ClassVar[bool] = True

    completions: int = 4

    def __post_init__(self) -> None:
        if self.completions < 2:
            raise InvalidParameter(f"completions must be 2 or more, got {self.completions}.")

    def generate(self, view: View) -> NDArray[np.int64]:
        """What the next prompts lack, as many as there is money to ask all their pairs."""
        pool, ledger = view.pool, view.ledger
        there = pool.valid.sum(axis=1)
        lacking = np.zeros_like(there)
        if view.hidden is not None:
            lacking = np.clip(self.completions - there, 0, view.hidden)
        size = np.minimum(there + lacking, self.completions)
        unasked = size * (size - 1) // 2 - self._asked(view)
        drawing = ledger.prices.completion + ledger.prices.reward_call * (pool.scores is not None)
        price = lacking * drawing + np.maximum(unasked, 0) * ledger.label_price
        # Those that are complete first: the labels that they lack are to be paid, too.
        order = np.argsort((lacking > 0) + view.rng.random(pool.n_prompts))
        within = np.cumsum(price[order]) <= ledger.money_planned
        within[0] = True
        prompts = np.repeat(order[within], lacking[order[within]])
        return prompts[: ledger.most_generated]

    def _asked(self, view: View) -> NDArray[np.int64]:
        """How often a pair of the first completions was asked, ``(n_prompts,)``."""
        prompt, i, j = view.pairs.T
        within = np.cumsum(view.pool.valid, axis=1) <= self.completions
        within = within[prompt, i] & within[prompt, j]
        return np.bincount(prompt[within], minlength=view.pool.n_prompts)

    def select(self, view: View, n: int) -> Pairs:
        """Rank the prompts at random, those begun before the others; keep to the first m."""
        valid = view.pool.valid
        first = Pool(view.pool.features, valid=valid & (valid.cumsum(axis=1) <= self.completions))
        begun = self._asked(view) % first.pair_mask.sum(axis=(1, 2)) > 0
        order = begun + view.rng.random(first.n_prompts)
        if view.hidden is not None:
            order += valid.sum(axis=1) >= self.completions
        scores = np.broadcast_to(order[:, None, None], first.pair_mask.shape)
        return top_pairs(replace(view, pool=first), scores, n)
