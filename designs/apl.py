"""Pairs drawn from the policy, of prompts where it is undecided, of which its reward is certain.

APL. From the current policy π̂, three sieves, whose order and factors are those of the authors'
code: ``prompts`` × ``pairs`` times as many pairs as labels are drawn, a prompt and two completions
from π̂; one in ``prompts`` is kept, those on prompts of largest predictive entropy H(π̂(·|x)); and
of these those of largest certainty |Δ|, Δ the difference of the implicit reward β log π̂/π_ref. The
forms leave out a sieve, or change the last one:

    entropy-certainty  both
    entropy            the first only, and as many pairs as labels come through
    certainty          the second only: largest |Δ|
    uncertainty        smallest |Δ|
    mid                |Δ| in the middle of those drawn
    tails              half the labels for the smallest |Δ|, half for the largest

Adapted to pools: entropies are exact, pairs not asked before are drawn without replacement, and all
of them where there are not so many. Before the first label all |Δ| = 0, and the last sieve keeps
the pairs drawn first.

Family: uncertainty.
Source: Muldrew, Hayes, Zhang and Barber 2024, Active Preference Learning for Large Language Models,
    arXiv 2402.08114.
Assumes: that what the policy is most sure of is worth checking, because being sure and wrong costs
    most. Where the model is right, it buys labels that it knows.
Cost: one fit and O(N K²) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, InvalidParameter, Pairs, View, check_counts, filled, fresh_pairs

Array = NDArray[np.float64]
FORMS = ("entropy-certainty", "entropy", "certainty", "uncertainty", "mid", "tails")


@dataclass(frozen=True)
class Apl(Design):
    """The sieves of active preference learning.

    Attributes:
        form: which of them, see above.
        prompts: of so many pairs the entropy sieve keeps one.
        pairs: of so many pairs the certainty sieve keeps one.
    """

    form: str = "entropy-certainty"
    prompts: int = 4
    pairs: int = 16

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InvalidParameter(f"form must be one of {', '.join(FORMS)}, got {self.form!r}.")
        check_counts(self, "prompts", "pairs")

    def select(self, view: View, n: int) -> Pairs:
        """Draw, and sieve twice."""
        pool, log_policy = view.pool, view.log_policy()
        pairs = fresh_pairs(view, pool.n_pairs)
        n_kept = n * (1 if self.form == "entropy" else self.pairs)
        n_drawn = n_kept * (self.prompts if self.form.startswith("entropy") else 1)
        x, i, j = pairs.T
        # The largest of log p + Gumbel noise are draws without replacement.
        noise = view.rng.gumbel(size=len(pairs))
        drawn = np.log(pool.prompt_weights)[x] + log_policy[x, i] + log_policy[x, j] + noise
        pairs = pairs[np.argsort(-drawn)][:n_drawn]
        if self.form.startswith("entropy"):
            logs = np.where(pool.valid, log_policy, 0.0)
            entropy = -(np.exp(log_policy) * logs).sum(axis=1)[pairs[:, 0]]
            kept = max(n, -(-len(pairs) // self.prompts))
            pairs = pairs[np.sort(np.argsort(-entropy, kind="stable")[:kept])]
        if self.form != "entropy":
            x, i, j = pairs.T
            reward = log_policy - np.where(pool.valid, pool.log_ref, 0.0)
            gap = view.beta * np.abs(reward[x, i] - reward[x, j])
            pairs = pairs[self.sieved(gap, n)]
        return filled(pairs, n)

    def sieved(self, gap: Array, n: int) -> NDArray[np.int64]:
        """Which n to keep, or all if they are fewer.

        Args:
            gap: |Δ|, ``(m,)``, of pairs in the order in which they were drawn.
            n: how many.
        """
        n = min(n, len(gap))
        if not gap.any():
            return np.arange(n)
        rising = np.argsort(gap, kind="stable")
        if self.form == "mid":
            start = (len(gap) - n) // 2
            return rising[start : start + n]
        low = {"uncertainty": n, "tails": n - n // 2}.get(self.form, 0)
        return np.concatenate([rising[:low], rising[len(gap) - n + low :]])
