"""A batch of pairs whose joint labels are most informative about the rewards: BatchBALD, in blocks.

I(y_1..n; Δ) = H(y_1..n) − Σ_i E h(σ(Δ_i)) from posterior draws, and greedily: the next pair adds
most, so that of two redundant pairs only one is taken. H is over all configurations of the labels
while there are at most ``configurations``, and over sampled ones beyond.

E draws can distinguish at most log E nats, and are exhausted after a dozen labels. So a round is
split into blocks of ``joint`` labels, and the candidates at random into as many parts, one for each
block. From block to block the draws contract towards their mean as a normal posterior conditioned
on the block would, Cov ← Cov − Cov_·i Cov_i· w/(1 + w Cov_ii) with w = E σ'(Δ_i), by the
deterministic square root of this update (Whitaker and Hamill 2002, ensemble square root filters). A
round of ``joint`` labels or fewer is BatchBALD as published.

Family: uncertainty.
Source: Kirsch, van Amersfoort and Gal 2019, BatchBALD, arXiv 1906.08158; blocks are ours.
Assumes: what ``bald`` does, and that the draws represent the posterior: with fewer draws than
    dimensions, they have no variance in most directions.
Cost: one fit and O(E² (m + n) + C E m b) a round, E draws of m candidates, C configurations,
    blocks of b.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, Pairs, View, check_counts, cycle_pairs, fresh_pairs
from pairbench.information import JointLabels, logistic_slope

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BatchBald(BeliefDesign):
    """Greedy joint mutual information among random pairs not asked before.

    Attributes:
        draws: E, posterior draws; an ensemble's are its members.
        candidates: m, number of random pairs to choose from.
        joint: size of a block, labels.
        configurations: C, the most configurations of a block's labels to sum over.
    """

    draws: int = 100
    candidates: int = 5000
    joint: int = 8
    configurations: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "draws", "candidates", "joint", "configurations")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs block by block."""
        pairs = fresh_pairs(view, max(n, self.candidates))
        draws = self.belief(view).scenarios(pairs, self.draws, view.rng)
        mean, labels = draws.mean(axis=0), min(n, len(pairs))
        blocks = -(-labels // self.joint)
        parts = np.array_split(np.arange(len(pairs)), blocks)
        sizes = [len(block) for block in np.array_split(np.arange(labels), blocks)]
        transform = np.eye(len(draws))  # of the draws' deviations, by the blocks so far
        chosen = []
        for part, size in zip(parts, sizes, strict=True):
            deviations = transform @ (draws[:, part] - mean[part])
            batch = JointLabels(mean[part] + deviations, self.configurations, view.rng)
            for _ in range(size):
                gains = batch.gains()
                gains[batch.taken] = -np.inf
                batch.take(int(gains.argmax()))
            labelled = deviations[:, batch.taken]
            slope = logistic_slope(mean[part[batch.taken]] + labelled).mean(axis=0)
            transform = updated_transform(transform, labelled, slope)
            chosen.append(part[batch.taken])
        return cycle_pairs(pairs[np.concatenate(chosen)], n)


def updated_transform(transform: Array, deviations: Array, weight: Array) -> Array:
    """Condition the transform of the draws' deviations on further labels, ``(E, E)``.

    Args:
        transform: the transform so far, ``(E, E)``.
        deviations: the draws' Δ of the labels' pairs less their means, under it, ``(E, b)``.
        weight: w, the labels' information, ``(b,)``.
    """
    columns = np.concatenate([transform, deviations], axis=1)
    for k, w in enumerate(weight, len(transform)):
        x = columns[:, k].copy()
        square = x @ x
        # Along x the variance is divided by 1 + w Var; orthogonal to x nothing changes.
        shrinkage = 1 - 1 / np.sqrt(1 + w * square / len(x))
        columns -= np.outer(shrinkage / max(square, np.finfo(np.float64).tiny) * x, x @ columns)
    return columns[:, : len(transform)]
