"""Pairs of high BALD on prompts unlike those asked before: BAL-PM, greedily.

The next pair maximises I(y; Δ) + β (d log ε(x) − ψ(n(x) + 1)), the second term being its prompt's
own in the KSG estimate of the entropy of all prompts asked
(:class:`pairbench.information.NeighbourEntropy`): ε is the distance to the k-th nearest of all
prompts, asked or not, and n how many of the prompts asked are nearer than that. So a prompt is
worth more where prompts are rare, and less with every label bought nearby. Only n changes within a
round; that a label also raises the n of prompts asked before is left out. d is the dimension that
prompts fill; the authors' code has 1, so that neither term drowns the other.

Adapted to pools: a prompt's features are the mean of its completions' (there, an embedding of the
prompt, standardised); neighbours are sought among the prompts of the candidates and of the past; a
prompt's own labels count in its n.

Family: uncertainty.
Source: Melo, Tigas, Abate and Gal 2024, Deep Bayesian Active Learning for Preference Modeling in
    Large Language Models, arXiv 2406.10023; d, and k and β for TL;DR, from the authors' code.
    Estimator: Kraskov, Stögbauer and Grassberger 2004, Estimating Mutual Information.
Assumes: what ``bald`` does, and that labels of similar prompts tell the same, which for completions
    that differ in other ways than prompts do is not so.
Cost: one fit and O(P² d + (m + P) n) a round, m candidates on P prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import BeliefDesign, InvalidParameter, Pairs, View, check_counts, filled, fresh_pairs
from pairbench.information import NeighbourEntropy


@dataclass(frozen=True)
class BalPm(BeliefDesign):
    """Greedy BALD plus prompt entropy among random pairs not asked before.

    Attributes:
        weight: β, how much the entropy of prompts counts.
        neighbours: k.
        dimension: d.
        candidates: m, how many pairs to choose from.
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
        """Choose one after the other."""
        pool = view.pool
        pairs = fresh_pairs(view, max(n, self.candidates))
        scores = self.belief(view).forecast(view.rng, pairs).mutual_information
        prompts, place = np.unique(
            np.concatenate([pairs[:, 0], view.pairs[:, 0]]), return_inverse=True
        )
        features = pool.phi[prompts].sum(axis=1) / pool.valid[prompts].sum(axis=1)[:, None]
        asked = NeighbourEntropy(features, self.neighbours, self.dimension)
        of_pair, past = place[: len(pairs)], place[len(pairs) :]
        for x, times in zip(*np.unique(past, return_counts=True), strict=True):
            asked.take(x, times)
        chosen = np.empty(min(n, len(pairs)), dtype=np.int64)
        for turn in range(len(chosen)):
            gains = scores + self.weight * asked.gains()[of_pair]
            chosen[turn] = p = gains.argmax()
            scores[p] = -np.inf
            asked.take(of_pair[p])
        return filled(pairs[chosen], n)
