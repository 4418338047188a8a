"""All pairs of the first m completions of a prompt, one prompt after the other.

The answers to a prompt are ranked, and a ranking of m answers is read as its m(m−1)/2 comparisons.
Here each comparison is a label of its own, bought and answered independently. Prompts come in
random order; one that was begun, in an earlier round too, is finished before the next begins, and
when all are finished they start over. A prompt of fewer than m completions has all of its pairs
asked. By definition it depends on the order of completions, as ``first-two`` does.

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

    def select(self, view: View, n: int) -> Pairs:
        """Rank the prompts at random, those begun before the others; keep to the first m."""
        valid = view.pool.valid
        first = Pool(view.pool.features, valid=valid & (valid.cumsum(axis=1) <= self.completions))
        prompt, i, j = view.pairs.T
        within = first.valid[prompt, i] & first.valid[prompt, j]
        asked = np.bincount(prompt[within], minlength=first.n_prompts)
        begun = asked % first.pair_mask.sum(axis=(1, 2)) > 0
        order = begun + view.rng.random(first.n_prompts)
        scores = np.broadcast_to(order[:, None, None], first.pair_mask.shape)
        return top_pairs(replace(view, pool=first), scores, n)
