"""Pairs drawn from the policy, on prompts where it is undecided, whose preference is certain.

APL. From the current policy π̂, ``prompts`` × ``pairs`` times as many pairs as labels are drawn, a
prompt and two completions from π̂, and pass two filters: one in ``prompts`` is kept, those on
prompts of largest predictive entropy H(π̂(·|x)); and one in ``pairs`` of these, those of largest
certainty |Δ|, Δ the difference of the implicit reward β log π̂/π_ref. The forms leave out a filter,
or change the last one:

    entropy-certainty  both
    entropy            the first only, and as many pairs as labels come through
    certainty          the second only: largest |Δ|
    uncertainty        smallest |Δ|
    mid                |Δ| in the middle of the candidates
    tails              half the labels for the smallest |Δ|, half for the largest

The authors' code (willmuldrew/active-preference-learning) has the filters of ``entropy`` and of the
last four on its main branch, one at a time; both together, in this order, are on its branch ``sub``
alone, with 4 and 16 for TL;DR, the defaults here, and 8 and 32 for IMDb. Its entropy filter chooses
among prompts, before any completion, and draws one pair for each that is kept; here pairs are drawn
first and filtered by their prompts' entropy, so a prompt may keep several. It estimates entropies
from samples, on ``sub`` with slices that overlap between prompts, and draws completions at
temperature 0.7 from the language model, where two may be the same.

Adapted to pools: entropies are exact, pairs not asked before are drawn without replacement, and all
of them where there are not so many. Before the first label all |Δ| = 0, and the last filter keeps
the pairs drawn first.

Family: uncertainty.
Source: Muldrew, Hayes, Zhang and Barber 2024, Active Preference Learning for Large Language Models,
    arXiv 2402.08114.
Assumes: that what the policy is most sure of is worth checking, because being sure and wrong costs
    most. Where the model is right, it buys labels that it can predict.
Cost: one fit and O(N K²) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, InvalidParameter, Pairs, View, check_counts, cycle_pairs, fresh_pairs

Array = NDArray[np.float64]
FORMS = ("entropy-certainty", "entropy", "certainty", "uncertainty", "mid", "tails")


@dataclass(frozen=True)
class Apl(Design):
    """The entropy and certainty filters of active preference learning.

    Attributes:
        form: which filters, see above.
        prompts: candidates for each pair that the entropy filter keeps.
        pairs: candidates for each pair that the certainty filter keeps.
    """

    form: str = "entropy-certainty"
    prompts: int = 4
    pairs: int = 16

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InvalidParameter(f"form must be one of {', '.join(FORMS)}, got {self.form!r}.")
        check_counts(self, "prompts", "pairs")

    def select(self, view: View, n: int) -> Pairs:
        """Draw pairs from the policy, and filter them by entropy and by certainty."""
        pool, log_policy = view.pool, view.log_policy()
        pairs = fresh_pairs(view, pool.n_pairs)
        size = n * (1 if self.form == "entropy" else self.pairs)
        size *= self.prompts if self.form.startswith("entropy") else 1
        x, i, j = pairs.T
        # The largest of log p + Gumbel noise are draws without replacement.
        noise = view.rng.gumbel(size=len(pairs))
        keys = np.log(pool.prompt_weights)[x] + log_policy[x, i] + log_policy[x, j] + noise
        pairs = pairs[np.argsort(-keys)][:size]
        if self.form.startswith("entropy"):
            logs = np.where(pool.valid, log_policy, 0.0)
            entropy = -(np.exp(log_policy) * logs).sum(axis=1)[pairs[:, 0]]
            size = max(n, -(-len(pairs) // self.prompts))
            pairs = pairs[np.sort(np.argsort(-entropy, kind="stable")[:size])]
        if self.form != "entropy":
            x, i, j = pairs.T
            reward = log_policy - np.where(pool.valid, pool.log_ref, 0.0)
            gap = view.beta * np.abs(reward[x, i] - reward[x, j])
            pairs = pairs[self.filtered(gap, n)]
        return cycle_pairs(pairs, n)

    def filtered(self, gap: Array, n: int) -> NDArray[np.int64]:
        """Return the indices of the pairs to keep, ``(min(n, m),)``.

        Args:
            gap: |Δ|, ``(m,)``, of pairs in the order in which they were drawn.
            n: how many to keep.
        """
        n = min(n, len(gap))
        if not gap.any():
            return np.arange(n)
        ascending = np.argsort(gap, kind="stable")
        if self.form == "mid":
            start = (len(gap) - n) // 2
            return ascending[start : start + n]
        n_small = {"uncertainty": n, "tails": n - n // 2}.get(self.form, 0)
        return np.concatenate([ascending[:n_small], ascending[len(gap) - n + n_small :]])
