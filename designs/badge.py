"""Pairs whose label would pull the model hard, each in another direction.

Gradient embedding: if the label came as the model predicts it, the loss would have the gradient
g = (σ(Δ) − 1[Δ > 0]) z. It is short where the model is sure, and long where it is not and z is
long. The pairs are drawn by k-means++ seeding on g: the first uniformly, then each with
P ∝ min ‖g − g'‖² over those drawn.

Turned round, a pair has z, Δ and the predicted label turned too, and its g is the same, so that
distances between embeddings are plain ones. At Δ = 0, as before the first label, a coin says which
label is predicted. The draws are from a random sample of the pairs not asked before, each at most
once; as in the paper, what is labelled acts through the model only.

Family: diversity.
Source: Ash, Zhang, Krishnamurthy, Langford and Agarwal 2020, Deep batch active learning by diverse,
    uncertain gradient lower bounds, arXiv 1906.03671.
Assumes: that features are on a common scale, and that the prediction is worth something: the
    predicted label's gradient is the shorter of the two, a lower bound of what is to come.
Cost: one fit and O(m d n) a round, m candidate pairs.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import BeliefDesign, Pairs, View, check_counts, filled, fresh_pairs, turned
from pairbench.coverage import Nearest, d2_sampled


@dataclass(frozen=True)
class Badge(BeliefDesign):
    """D² sampling of gradient embeddings.

    Attributes:
        candidates: how many pairs to choose from in a round, at least twice as many as labels.
    """

    candidates: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Draw one after the other."""
        pairs = fresh_pairs(view, max(2 * n, self.candidates))
        delta, _ = self.belief(view).of_pairs(pairs)
        coin = view.rng.choice([-1.0, 1.0], size=len(pairs))
        label = np.where(delta == 0, coin, np.sign(delta))
        # |σ(Δ) − 1[Δ > 0]| = σ(−|Δ|), without cancellation or overflow.
        residual = np.exp(-np.abs(delta)) / (1 + np.exp(-np.abs(delta)))
        gradient = (-label * residual)[:, None] * view.pool.differences(pairs)
        nearest = Nearest(gradient, signed=True)
        chosen = d2_sampled(nearest, min(n, len(pairs)), view.rng)
        return turned(view, filled(pairs[chosen], n))
