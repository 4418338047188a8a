"""The pairs of largest leverage zᵀ A⁻¹ z, A = λI + Σ w z zᵀ over the labels so far.

Active preference optimisation, APO (Das et al. 2024, arXiv 2402.10500), as a batch rule: the n best
of the round at once, so a batch may ask one thing many times over.
Cost: one DPO fit and O(N K² d) a round.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, difference_variance, top_pairs


@dataclass(frozen=True)
class Leverage(Design):
    """The n pairs not asked before whose reward difference is known least."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank all pairs by the posterior variance of their reward difference."""
        return top_pairs(view, difference_variance(view, view.implicit_theta()), n)
