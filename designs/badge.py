"""Pairs whose label would change the model much, each in another direction.

Gradient embedding: if the label came as the model predicts it, the loss would have the gradient
g = (σ(Δ) − 1[Δ > 0]) z. It is short where the model is sure, and long where it is not and z is
long. The pairs are drawn by k-means++ seeding on g: the first uniformly, then each with
P ∝ min ‖g − g'‖² over those drawn. The authors' code (JordanAsh/badge) does not draw the first, but
takes the pair of longest g; the other draws are as here.

Turned round, a pair has z, Δ and the predicted label turned too, and its g is the same, so that
distances between embeddings are plain ones. At Δ = 0, as before the first label, a coin says which
label is predicted. The draws are from a random sample of the pairs not asked before, each at most
once; as in the paper, labelled pairs enter through the model only.

Family: diversity.
Source: Ash, Zhang, Krishnamurthy, Langford and Agarwal 2020, Deep batch active learning by diverse,
    uncertain gradient lower bounds, arXiv 1906.03671.
Assumes: that features are on a common scale, and that the prediction is worth something: the
    predicted label's gradient is the shorter of the two, a lower bound of what is to come.
Cost: one fit and O(m d n) a round, m candidate pairs.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    BeliefDesign,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.coverage import NearestDistance, sample_d2


@dataclass(frozen=True)
class Badge(BeliefDesign):
    """D² sampling of gradient embeddings.

    Attributes:
        candidates: size of the sample to choose from, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Draw pairs one by one by k-means++ on their gradient embeddings."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        delta, _ = self.belief(view).of_pairs(pairs)
        coin = view.rng.choice([-1.0, 1.0], size=len(pairs))
        label = np.where(delta == 0, coin, np.sign(delta))
        # |σ(Δ) − 1[Δ > 0]| = σ(−|Δ|), without cancellation or overflow.
        residual = np.exp(-np.abs(delta)) / (1 + np.exp(-np.abs(delta)))
        gradient = (-label * residual)[:, None] * view.pool.differences(pairs)
        nearest = NearestDistance(gradient, signed=True)
        chosen = sample_d2(nearest, min(n, len(pairs)), view.rng)
        return randomize_order(view, cycle_pairs(pairs[chosen], n))
