"""Pairs of high BALD on prompts unlike those asked before: BAL-PM, greedily.

The next pair maximises I(y; Δ) + β (d log ε(x) − ψ(n(x) + 1)), the second term being its prompt's
own in the KSG estimate of the entropy of all prompts asked
(:class:`pairbench.information.NeighbourEntropy`): ε is the distance to the k-th nearest other
prompt, asked or not, and n how many of the prompts asked are nearer than that. So a prompt is worth
more where prompts are rare, and less with every label bought nearby. Only n changes within a round;
that a label also raises the n of prompts asked before is left out. d is the dimension that prompts
fill; the authors' code takes 1, at which neither term drowns the other.

The authors' code (luckeciano/BAL-PM) differs in these ways. Its k counts the point itself, so its
13 are 12 here. It takes log(2ε + 10⁻⁴) − ψ(n + 1)/d, with ε among the unlabelled examples only, of
which several may share a prompt, and n counts those at distance ε, too. Its features are embeddings
of prompts, from which it subtracts mean over standard deviation.

Adapted to pools: a prompt's features are the mean of its completions'; neighbours are sought among
the prompts of the candidates and of the past; a prompt's own labels count in its n.

Family: uncertainty.
Source: Melo, Tigas, Abate and Gal 2024, Deep Bayesian Active Learning for Preference Modeling in
    Large Language Models, arXiv 2406.10023; d, and k and β for TL;DR, are the numbers in the
    authors' code. Estimator: Kraskov, Stögbauer and Grassberger 2004, Estimating Mutual
    Information.
Assumes: what ``bald`` does, and that labels of similar prompts tell the same, which for completions
    that differ in other ways than prompts do is not so.
Cost: one fit and O(P² d + (m + P) n) a round, m candidates on P prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    BeliefDesign,
    InvalidParameter,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
)
from pairbench.information import NeighbourEntropy


@dataclass(frozen=True)
class BalPm(BeliefDesign):
    """Greedy BALD plus prompt entropy among random pairs not asked before.

    Attributes:
        weight: β, how much the entropy of prompts counts.
        neighbours: k.
        dimension: d.
        candidates: m, number of random pairs to choose from.
    """

    weight: float = 0.01
    neighbours: int = 13
    dimension: float = 1.0
    candidates: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise InvalidParameter(f"weight must be a finite number, 0 or more, got {self.weight}.")
        if not (np.isfinite(self.dimension) and self.dimension > 0):
            raise InvalidParameter(f"dimension must be positive and finite, got {self.dimension}.")
        check_counts(self, "neighbours", "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, updating the entropy of prompts after each."""
        pool = view.pool
        pairs = fresh_pairs(view, max(n, self.candidates))
        scores = self.belief(view).forecast(view.rng, pairs).mutual_information
        prompts, index = np.unique(
            np.concatenate([pairs[:, 0], view.pairs[:, 0]]), return_inverse=True
        )
        features = pool.phi[prompts].sum(axis=1) / pool.valid[prompts].sum(axis=1)[:, None]
        entropy = NeighbourEntropy(features, self.neighbours, self.dimension)
        candidate_prompts, past_prompts = index[: len(pairs)], index[len(pairs) :]
        for x, count in zip(*np.unique(past_prompts, return_counts=True), strict=True):
            entropy.take(x, count)
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for k in range(len(chosen)):
            gains = scores + self.weight * entropy.gains()[candidate_prompts]
            chosen[k] = p = gains.argmax()
            scores[p] = -np.inf
            entropy.take(candidate_prompts[p])
        return cycle_pairs(pairs[chosen], n)
