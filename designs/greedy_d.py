"""Greedy D-optimal pairs: each next pair raises log det(λI + Σ w z zᵀ) most.

ADPO (Kveton et al. 2025, arXiv 2503.01076), with ω = σ'(Δ̂) at the current estimate; D-optimal
designs for preferences: Mukherjee et al. 2024, arXiv 2404.13895. Does not ask which directions the
policy feels, so it also learns those that it does not. Exact over all pairs of the pool.
Cost: one DPO fit, a few sweeps of O(N K d² + N K² d), and O(d) for each label and kept pair.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, turned
from pairbench.information import greedy_pairs


@dataclass(frozen=True)
class GreedyD(Design):
    """Rank-one greedy over all pairs, from the information of the labels so far."""

    def select(self, view: View, n: int) -> Pairs:
        """Choose one by one at the current estimate."""
        theta, past = view.implicit_theta(), view.answered
        return turned(view, greedy_pairs(view.pool, n, "d", theta, past=past, prior=view.ridge))
