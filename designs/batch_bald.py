"""A batch of pairs whose labels together tell most of the rewards: BatchBALD, in blocks.

I(y_1..n; Δ) = H(y_1..n) − Σ_i E h(σ(Δ_i)) from posterior draws, and greedily: the next pair adds
most, so that two pairs that tell the same are not both taken. H is over all configurations of the
labels while these are few (``configurations``), over drawn ones then.

E draws can tell no more than log E nats apart, and are spent after a dozen labels. So a round is
cut into blocks of ``joint`` labels, and the candidates at random into as many parts, one for each
block. From block to block the draws close in on their mean as a normal posterior would that has
seen the block, Cov ← Cov − Cov_·i Cov_i· w/(1 + w Cov_ii) with w = E σ'(Δ_i), by the deterministic
square root of this update (Whitaker and Hamill 2002, ensemble square root filters). A round of
``joint`` labels or fewer is BatchBALD as published.

Family: uncertainty.
Source: Kirsch, van Amersfoort and Gal 2019, BatchBALD, arXiv 1906.08158; blocks are ours.
Assumes: what ``bald`` does, and that the draws stand for the posterior: with fewer of them than
    dimensions, they know nothing of most directions.
Cost: one fit and O(E² (m + n) + C E m b) a round, E draws of m candidates, C configurations,
    blocks of b.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, Pairs, View, check_counts, filled, fresh_pairs
from pairbench.information import JointLabels, logistic_slope

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BatchBald(BeliefDesign):
    """Greedy joint mutual information among random pairs not asked before.

    Attributes:
        draws: E, posterior draws; an ensemble's are its members.
        candidates: m, how many pairs to choose from.
        joint: how many labels are looked at together.
        configurations: C, the most configurations of their labels to go through.
    """

    draws: int = 100
    candidates: int = 5000
    joint: int = 8
    configurations: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "draws", "candidates", "joint", "configurations")

    def select(self, view: View, n: int) -> Pairs:
        """Choose block after block."""
        pairs = fresh_pairs(view, max(n, self.candidates))
        draws = self.belief(view).scenarios(pairs, self.draws, view.rng)
        mean, labels = draws.mean(axis=0), min(n, len(pairs))
        blocks = -(-labels // self.joint)
        parts = np.array_split(np.arange(len(pairs)), blocks)
        sizes = [len(turns) for turns in np.array_split(np.arange(labels), blocks)]
        known = np.eye(len(draws))  # what the deviations are multiplied by after the blocks so far
        chosen = []
        for part, size in zip(parts, sizes, strict=True):
            deviations = known @ (draws[:, part] - mean[part])
            batch = JointLabels(mean[part] + deviations, self.configurations, view.rng)
            for _ in range(size):
                gains = batch.gains()
                gains[batch.taken] = -np.inf
                batch.take(int(gains.argmax()))
            seen = deviations[:, batch.taken]
            slope = logistic_slope(mean[part[batch.taken]] + seen).mean(axis=0)
            known = informed(known, seen, slope)
            chosen.append(part[batch.taken])
        return filled(pairs[np.concatenate(chosen)], n)


def informed(known: Array, deviations: Array, weight: Array) -> Array:
    """The multiplier of all deviations once some labels have been taken in too, ``(E, E)``.

    Args:
        known: the multiplier before, ``(E, E)``.
        deviations: of Δ of the labels' pairs from their mean, before, ``(E, b)``.
        weight: w, the labels' information, ``(b,)``.
    """
    both = np.concatenate([known, deviations], axis=1)
    for k, w in enumerate(weight, len(known)):
        x = both[:, k].copy()
        square = x @ x
        # Along x the variance falls by 1 + w Var, across it nothing changes.
        fall = 1 - 1 / np.sqrt(1 + w * square / len(x))
        both -= np.outer(fall / max(square, np.finfo(np.float64).tiny) * x, x @ both)
    return both[:, : len(known)]
