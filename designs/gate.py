"""Random pairs of which the model is not confident: |Δ| ≤ γ opens the gate.

Pairs come at random, and the label of one with |Δ| > γ is not bought, since the model knows the
answer. A budget that is to be spent is spent on random pairs that pass; where fewer are left than
labels, on those of smallest |Δ| of the others. Before the first label Δ = 0, and all pass.

Family: uncertainty.
Source: Ji, He and Gu 2024, Reinforcement Learning from Human Feedback with Active Queries, arXiv
    2402.09401: ADPO with the γ of the authors' code. There the pair that does not pass is still
    trained on, with the model's own answer as its label, which no design can do.
Assumes: that a confident model is right. γ is in units of Δ, and does nothing where all |Δ| are
    smaller; nor does what is known well and close matter to it.
Cost: one fit and O(N K²) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, InvalidParameter, ScoredDesign, View


@dataclass(frozen=True)
class Gate(BeliefDesign, ScoredDesign):
    """n random pairs of |Δ| ≤ γ not asked before, then those closest to it.

    Attributes:
        threshold: γ, reward units.
    """

    threshold: float = 1.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold >= 0:
            raise InvalidParameter(f"threshold must be 0 or more, got {self.threshold}.")

    def scores(self, view: View) -> NDArray[np.float64]:
        """All that pass are equal, and equals are taken at random."""
        excess = np.maximum(np.abs(self.belief(view).differences()) - self.threshold, 0.0)
        return -excess
