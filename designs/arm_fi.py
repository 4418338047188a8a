"""The pairs that weigh most in the determinant of the information of all candidates together.

ARM-FI scores a candidate p by the derivative of log det F with respect to its weight, all weights
being one: w zᵀF⁻¹z, with F = λI + Σ w z zᵀ over the candidates and, in its past-aware form (PA
D-opt), also over the labels so far. It takes the n best at once. What counts is thus whether a pair
is unlike the other candidates, rather than unlike those that are labelled: many candidates outweigh
few labels. Candidates are drawn anew each round, as in the paper, here from the pairs not asked
before; it takes embeddings of the last layer, here the features. λ, the ridge of the training,
stands where the authors' code has 10⁻⁶.

Family: optimal design.
Source: Shen, Sun, Ton 2025, Active Reward Modeling: Adaptive Preference Labeling for Large Language
    Model Alignment, ICML, arXiv 2502.04354, with the authors' code (YunyiShen/ARM-FI) for the rule.
Assumes: A linear reward, weights w at a good estimate, and that the best pairs one by one are good
    together, which near-copies are not.
Cost: The belief and O(m d²) a round, m candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BeliefDesign,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.information import logistic_slope


@dataclass(frozen=True)
class ArmFi(BeliefDesign):
    """The n candidates of largest w zᵀF⁻¹z.

    Attributes:
        past: whether F also holds the labels so far, as in the paper's PA D-opt; else D-opt.
        candidates: number of random pairs to choose from; the number is ours.
    """

    past: bool = True
    candidates: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose the candidates of highest score, ties at random."""
        belief, pool = self.belief(view), view.pool

        def atoms(pairs: Pairs) -> NDArray[np.float64]:
            """Compute √w z, ``(m, d)``."""
            slope = logistic_slope(belief.of_pairs(pairs)[0])
            return pool.differences(pairs) * np.sqrt(slope)[:, None]

        pairs = fresh_pairs(view, self.candidates)
        z = atoms(pairs)
        information = view.ridge * np.eye(pool.dim) + z.T @ z
        if self.past:
            past = atoms(view.answered)
            information += past.T @ past
        score = np.einsum("md,md->m", z @ np.linalg.inv(information), z)
        # The candidates are in random order, and a stable sort keeps it among ties.
        best = pairs[np.argsort(-score, kind="stable")]
        return randomize_order(view, cycle_pairs(best, n))
