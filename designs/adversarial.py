"""Control: one pair, asked over and over, that leaves the predicted gap highest at θ*.

n labels of a pair lower tr(C A⁻¹) by nω zᵀA⁻¹CA⁻¹z / (1 + nω zᵀA⁻¹z), with A = λI + Σ ω z zᵀ over
the labels so far, ω = σ'(zᵀθ*), C = C(θ*); the pair of least fall is taken for the whole round. No
choice of a round's pairs is worse: tr(C A⁻¹) is convex in the number of labels of each pair, so it
is highest where all are on one pair, and a greedy choice of the least gain could only end lower.
Shown in tables, never ranked.

Family: control.
Source: the criterion of Han, Goyal, Ma 2026, "Which Pairs to Compare for LLM Post-Training?", arXiv
    2606.19607, maximised instead of minimised.
Assumes: θ*, that labels follow the log-linear model, and that the policy is near the best one. It
    is the predicted gap that is highest. With few labels, far from the best policy, a pair along θ*
    moves the policy a long way, although near θ*, where its labels are certain, it has next to no
    information; a design that is misled by its labels can be worse.
Cost: O(N K² d).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pairbench import ControlView, Design, Pairs, View, cycle_pairs, randomize_order
from pairbench.information import label_information, logistic_slope, pair_forms


@dataclass(frozen=True)
class Adversarial(Design):
    """The pair whose n labels lower the predicted gap least, n times."""

    control: ClassVar[bool] = True

    def select(self, view: View, n: int) -> Pairs:
        """Find the pair whose n labels lower tr(C A⁻¹) least, ties at random."""
        assert isinstance(view, ControlView)
        pool, rewards = view.pool, view.pool.project(view.theta)
        past = label_information(pool, view.answered, theta=view.theta)
        inverse = np.linalg.inv(view.ridge * np.eye(pool.dim) + past).astype(np.float64)
        weight = n * logistic_slope(rewards[:, :, None] - rewards[:, None, :])
        leverage = pair_forms(pool.phi, inverse)
        fall = weight * pair_forms(pool.phi, inverse @ view.covariance @ inverse)
        falls = (fall / (1 + weight * leverage))[pool.pair_mask]
        worst = view.rng.choice(np.flatnonzero(falls == falls.min()))
        return randomize_order(view, cycle_pairs(np.argwhere(pool.pair_mask)[[worst]], n))
