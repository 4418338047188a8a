"""All pairs of the first m completions of a prompt, one prompt after the other.

The answers to a prompt are ranked, and a ranking of m answers is read as its m(m−1)/2 comparisons.
Here each comparison is a separate label, bought and answered independently. Prompts come in random
order; one that was begun, in an earlier round too, is finished before the next begins, and when all
are finished they start over. A prompt of fewer than m completions has all of its pairs asked. By
definition it depends on the order of completions, as ``first-two`` does. Where completions are
generated at a price, as many prompts get m completions as the episode's money can label all pairs
of, and they come first.

Family: plain.
Source: Ouyang et al. 2022, "Training language models to follow instructions with human feedback",
    arXiv 2203.02155, where labellers rank 4 to 9 answers; the default is the 4.
Assumes: that many labels of few prompts are better than few labels of many. Rewards of m answers
    have m − 1 independent differences, so most of the m(m−1)/2 labels are redundant.
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
        """Complete the next prompts, as many as the money can label all pairs of."""
        pool, ledger = view.pool, view.ledger
        n_valid = pool.valid.sum(axis=1)
        n_missing = np.zeros_like(n_valid)
        if view.hidden is not None:
            n_missing = np.clip(self.completions - n_valid, 0, view.hidden)
        size = np.minimum(n_valid + n_missing, self.completions)
        n_unlabelled = size * (size - 1) // 2 - self._label_counts(view)
        unit_price = ledger.prices.completion
        unit_price += ledger.prices.reward_call * (pool.scores is not None)
        price = n_missing * unit_price + np.maximum(n_unlabelled, 0) * ledger.label_price
        # Complete prompts come first, because their missing labels have to be paid for, too.
        order = np.argsort((n_missing > 0) + view.rng.random(pool.n_prompts))
        affordable = np.cumsum(price[order]) <= ledger.money_planned
        affordable[0] = True
        prompts = np.repeat(order[affordable], n_missing[order[affordable]])
        return prompts[: ledger.affordable_completions]

    def _label_counts(self, view: View) -> NDArray[np.int64]:
        """Count the labels of pairs of the first completions, ``(n_prompts,)``."""
        prompt, i, j = view.pairs.T
        is_first = np.cumsum(view.pool.valid, axis=1) <= self.completions
        counted = is_first[prompt, i] & is_first[prompt, j]
        return np.bincount(prompt[counted], minlength=view.pool.n_prompts)

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs of the first m completions, prompts in random order, begun ones first."""
        valid = view.pool.valid
        first = Pool(view.pool.features, valid=valid & (valid.cumsum(axis=1) <= self.completions))
        begun = self._label_counts(view) % first.pair_mask.sum(axis=(1, 2)) > 0
        order = begun + view.rng.random(first.n_prompts)
        if view.hidden is not None:
            order += valid.sum(axis=1) >= self.completions
        scores = np.broadcast_to(order[:, None, None], first.pair_mask.shape)
        return top_pairs(replace(view, pool=first), scores, n)
