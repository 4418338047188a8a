"""Greedy pairs that lower the predicted gap most, robust to a misspecified model.

Criterion: tr(C A⁻¹) at the current estimate, as in ``greedy-i``: A = λI + Σ ω z zᵀ, and each choice
lowers it by ω zᵀA⁻¹CA⁻¹z / (1 + ω zᵀA⁻¹z). Then:

- Pairs are chosen from a random sample, 1 + sN/d times as large as the round, N being the labels by
  the end of the round. So no pair is more than that many times as likely as under uniform, which
  bounds how far a wrong model can bias the fit (Wiens 1992: designs of bounded density), and the
  choice is nearly uniform where there are fewer labels than parameters.
- A pair asked again repeats its residual, so repeats are discounted.
- Where budgets are money, gains count per unit of money, up to the money left.

Family: optimal design.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607, for
    the criterion; the sample and the discount are ours, after Wiens 1992.
Assumes: That the reward is nearly log-linear, within what ``residual`` allows.
Cost: One DPO fit a round, and O(m d) for each label, m candidate pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    Design,
    InvalidParameter,
    Laplace,
    Pairs,
    View,
    check_counts,
    randomize_order,
    uniform_pairs,
)
from pairbench.information import RankOne, logistic_slope, policy_covariance


@dataclass(frozen=True)
class GreedyIRobust(Design):
    """Rank-one greedy on the predicted gap, over a sample that grows with labels per parameter.

    Attributes:
        selectivity: s, how fast the sample grows with the labels per parameter.
        residual: assumed variance of a completion's reward beyond φᵀθ, squared reward units.
        candidates: maximum size of the sample.
    """

    selectivity: float = 2.0
    residual: float = 0.05
    candidates: int = 20_000

    def __post_init__(self) -> None:
        for name in ("selectivity", "residual"):
            if not (np.isfinite(value := getattr(self, name)) and value >= 0):
                raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, updating the information matrix as if each were labelled."""
        pool, belief = view.pool, Laplace().fit(view)
        pairs, counts = self._candidates(view, n)
        z = pool.differences(pairs)
        covariance = policy_covariance(pool, belief.theta, view.beta)
        state = RankOne(z, belief.covariance, covariance)
        omega = logistic_slope(z @ belief.theta)
        # m labels of a pair whose residual has variance v have information mω/(1 + mωv), so the
        # next one adds ω/((1 + mωv)(1 + (m+1)ωv)), here relative to the first, which counts ω.
        spread = 2 * self.residual * omega
        chosen: list[int] = []
        money, price = view.money_left, view.cost(pairs)
        if np.isinf(money):
            price = np.ones(len(pairs))
        while len(chosen) < n or np.isfinite(money):
            weight = omega * (1 + spread) / ((1 + counts * spread) * (1 + (counts + 1) * spread))
            gains = state.gains(weight) / price
            if np.isfinite(money):
                gains[price > money] = -np.inf
            p = int(gains.argmax())
            if gains[p] == -np.inf:
                break
            money -= price[p]
            state.take(p, float(weight[p]))
            counts[p] += 1
            chosen.append(p)
        return randomize_order(view, pairs[chosen])

    # Why: docs/decisions/019-greedy-i-robust-samples-candidates.md
    def _candidates(self, view: View, n: int) -> tuple[Pairs, NDArray[np.int64]]:
        """Sample pairs, add every pair asked before, and count how often each was asked."""
        labels_per_parameter = (len(view.pairs) + n) / view.pool.dim
        size = min(self.candidates, round(n * (1 + self.selectivity * labels_per_parameter)))
        use_all = view.pool.n_pairs <= size
        sample = np.argwhere(view.pool.pair_mask) if use_all else uniform_pairs(view, size)
        pairs = np.concatenate([view.pairs, sample])
        pairs = np.concatenate([pairs[:, :1], np.sort(pairs[:, 1:], axis=1)], axis=1)
        pairs, index = np.unique(pairs, axis=0, return_inverse=True)
        counts = np.bincount(index.reshape(-1)[: len(view.pairs)], minlength=len(pairs))
        return pairs, counts
