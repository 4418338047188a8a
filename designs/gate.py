"""Random pairs of which the model is not confident: |Δ| ≤ γ.

The label of a pair with |Δ| > γ is not bought, since the model predicts it with confidence. The
budget is spent on random pairs of |Δ| ≤ γ and, where there are fewer of them than labels, on the
others of smallest |Δ|. Before the first label Δ = 0, and all pass.

Family: uncertainty.
Source: Ji, He and Gu 2024, Reinforcement Learning from Human Feedback with Active Queries, arXiv
    2402.09401: ADPO with the γ of the authors' code. There the pair that does not pass is still
    trained on, with the model's own answer as its label, which no design can do.
Assumes: that a confident model is right. γ is in units of Δ, and has no effect where all |Δ| are
    smaller. Pairs that are close with certainty pass, too.
Cost: one fit and O(N K²) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, InvalidParameter, ScoredDesign, View


@dataclass(frozen=True)
class Gate(BeliefDesign, ScoredDesign):
    """The n pairs not asked before of |Δ| ≤ γ, at random, then those closest to it.

    Attributes:
        threshold: γ, reward units.
    """

    threshold: float = 1.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold >= 0:
            raise InvalidParameter(f"threshold must be 0 or more, got {self.threshold}.")

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by −max(|Δ| − γ, 0); those that pass tie, and ties are random."""
        excess = np.maximum(np.abs(self.belief(view).differences()) - self.threshold, 0.0)
        return -excess
