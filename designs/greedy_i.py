"""Greedy I-optimal pairs: each next pair lowers tr(C(θ̂) (λI + Σ w z zᵀ)⁻¹) most.

The predicted gap, one label at a time: the fall is w zᵀA⁻¹CA⁻¹z / (1 + w zᵀA⁻¹z).

Family: optimal design.
Source: Han, Goyal, Ma 2026, Which Pairs to Compare for LLM Post-Training?, arXiv 2606.19607, for
    the criterion.
Assumes: A log-linear reward and an accurate estimate; it looks one label ahead.
Cost: One DPO fit, then a search of O(N K d² + N K² d) every few labels, exact over all pairs.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, randomize_order
from pairbench.information import greedy_pairs


@dataclass(frozen=True)
class GreedyI(Design):
    """Rank-one greedy over all pairs, from the information of the labels so far."""

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one at the current estimate."""
        pairs = greedy_pairs(
            view.pool,
            n,
            "i",
            view.implicit_theta(),
            past=view.answered,
            prior=view.ridge,
            beta=view.beta,
        )
        return randomize_order(view, pairs)
