"""Control: one pair, asked over and over, that leaves the predicted gap highest at θ*.

n labels of a pair lower tr(C A⁻¹) by nω zᵀA⁻¹CA⁻¹z / (1 + nω zᵀA⁻¹z), with A = λI + Σ ω z zᵀ over
the labels so far, ω = σ'(zᵀθ*), C = C(θ*); the pair of least fall is taken for the whole round. No
choice of a round's pairs is worse: tr(C A⁻¹) is convex in how labels are spread over pairs, so it
is highest where they are all on one, and taking them one by one, each with the least gain, could
only end lower. Shown in tables, never ranked.

Family: control.
Source: the criterion of Han, Goyal, Ma 2026, "Which Pairs to Compare for LLM Post-Training?", arXiv
    2606.19607, turned round.
Assumes: θ*, that labels follow the log-linear model, and that the policy is near the best one. It
    is the predicted gap that is highest. With few labels, from afar, a pair along θ* takes the
    policy a long way, although near θ*, where its labels are certain, it tells next to nothing; a
    design that is misled by its labels can be worse.
Cost: O(N K² d).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pairbench import ControlView, Design, Pairs, View, filled, turned
from pairbench.information import label_information, logistic_slope, pair_forms


@dataclass(frozen=True)
class Adversarial(Design):
    """The pair from which n labels tell least, n times."""

    control: ClassVar[bool] = True

    def select(self, view: View, n: int) -> Pairs:
        """Compare what n labels of each pair would tell; ties at random."""
        assert isinstance(view, ControlView)
        pool, rewards = view.pool, view.pool.project(view.theta)
        known = label_information(pool, view.answered, theta=view.theta)
        inverse = np.linalg.inv(view.ridge * np.eye(pool.dim) + known).astype(np.float64)
        weight = n * logistic_slope(rewards[:, :, None] - rewards[:, None, :])
        leverage = pair_forms(pool.phi, inverse)
        fall = weight * pair_forms(pool.phi, inverse @ view.covariance @ inverse)
        falls = (fall / (1 + weight * leverage))[pool.pair_mask]
        worst = view.rng.choice(np.flatnonzero(falls == falls.min()))
        return turned(view, filled(np.argwhere(pool.pair_mask)[[worst]], n))
