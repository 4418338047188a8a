"""Greedy D-optimal pairs: each next pair raises log det(λI + Σ w z zᵀ) most.

w = σ'(Δ̂) at the current estimate. All directions count equally, also those on which the policy
does not depend. Exact over all pairs of the pool, and a pair may be asked again: ``adpo`` is the
same criterion as published, among a random subset and without repeats.

Family: optimal design.
Source: Kveton, Li, McAuley, Rossi, Shang, Wu, Yu 2025, Active Learning for Direct Preference
    Optimization, arXiv 2503.01076.
Assumes: A log-linear reward, and that all directions of θ count equally.
Cost: One DPO fit, a few sweeps of O(N K d² + N K² d), and O(d) for each label and kept pair.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, randomize_order
from pairbench.information import greedy_pairs


@dataclass(frozen=True)
class GreedyD(Design):
    """Rank-one greedy over all pairs, from the information of the labels so far."""

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one at the current estimate."""
        theta, past = view.implicit_theta(), view.answered
        return randomize_order(
            view, greedy_pairs(view.pool, n, "d", theta, past=past, prior=view.ridge)
        )
