"""Greedy pairs that lower the predicted gap most, trusting the model no more than it deserves.

Criterion: tr(C A⁻¹) at the current estimate, as in ``greedy-i``: A = λI + Σ ω z zᵀ, and each choice
lowers it by ω zᵀA⁻¹CA⁻¹z / (1 + ω zᵀA⁻¹z). Then:

- Pairs come out of a random sample, 1 + sN/d times as many as are bought, N being the labels by the
  end of the round. So no pair is asked more than that many times as readily as by uniform, which
  bounds what a wrong model can do to the fit (Wiens 1992: designs of bounded density), and the
  choice is nearly uniform where there are fewer labels than parameters.
- A pair asked again tells its own residual again, so repeats are discounted.
- Where budgets are money, gains count per unit of money, while it lasts.

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
    turned,
    uniform_pairs,
)
from pairbench.information import RankOne, logistic_slope, policy_covariance


@dataclass(frozen=True)
class GreedyIRobust(Design):
    """Rank-one greedy on the predicted gap, over a sample that grows with labels per parameter.

    Attributes:
        selectivity: s, how fast the choice widens with the labels per parameter.
        residual: the variance that a completion's reward is thought to have beyond φᵀθ, squared
            reward units.
        candidates: the most new pairs to choose from in a round.
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
        """Choose one after the other, each counted as if its label were there."""
        pool, belief = view.pool, Laplace().fit(view)
        pairs, times = self._candidates(view, n)
        z = pool.differences(pairs)
        covariance = policy_covariance(pool, belief.theta, view.beta)
        state = RankOne(z, belief.covariance, covariance)
        omega = logistic_slope(z @ belief.theta)
        # m labels of a pair whose own residual has variance v tell mω/(1 + mωv), so the next one
        # adds ω/((1 + mωv)(1 + (m+1)ωv)); it is taken relative to the first, which counts ω.
        spread = 2 * self.residual * omega
        chosen: list[int] = []
        money, price = view.money_left, view.cost(pairs)
        if np.isinf(money):
            price = np.ones(len(pairs))
        while len(chosen) < n or np.isfinite(money):
            weight = omega * (1 + spread) / ((1 + times * spread) * (1 + (times + 1) * spread))
            gains = state.gains(weight) / price
            if np.isfinite(money):
                gains[price > money] = -np.inf
            p = int(gains.argmax())
            if gains[p] == -np.inf:
                break
            money -= price[p]
            state.take(p, float(weight[p]))
            times[p] += 1
            chosen.append(p)
        return turned(view, pairs[chosen])

    def _candidates(self, view: View, n: int) -> tuple[Pairs, NDArray[np.int64]]:
        """A random sample and every pair asked before; how often each was asked."""
        labels_per_parameter = (len(view.pairs) + n) / view.pool.dim
        size = min(self.candidates, round(n * (1 + self.selectivity * labels_per_parameter)))
        everything = view.pool.n_pairs <= size
        fresh = np.argwhere(view.pool.pair_mask) if everything else uniform_pairs(view, size)
        rows = np.concatenate([view.pairs, fresh])
        rows = np.concatenate([rows[:, :1], np.sort(rows[:, 1:], axis=1)], axis=1)
        pairs, index = np.unique(rows, axis=0, return_inverse=True)
        times = np.bincount(index.reshape(-1)[: len(view.pairs)], minlength=len(pairs))
        return pairs, times
