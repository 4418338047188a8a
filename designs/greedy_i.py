"""Greedy I-optimal pairs: each next pair lowers tr(C(θ̂) (λI + Σ w z zᵀ)⁻¹) most.

The criterion of Han, Goyal, Ma 2026, arXiv 2606.19607, one label at a time: the fall is
ω zᵀA⁻¹CA⁻¹z / (1 + ω zᵀA⁻¹z). Looks one label ahead and trusts the current estimate.
Cost: one DPO fit, then a search of O(N K d² + N K² d) every few labels, exact over all pairs.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, turned
from pairbench.information import greedy_pairs


@dataclass(frozen=True)
class GreedyI(Design):
    """Rank-one greedy over all pairs, from the information of the labels so far."""

    def select(self, view: View, n: int) -> Pairs:
        """Choose one by one at the current estimate."""
        pairs = greedy_pairs(
            view.pool,
            n,
            "i",
            view.implicit_theta(),
            past=view.answered,
            prior=view.ridge,
            beta=view.beta,
        )
        return turned(view, pairs)
