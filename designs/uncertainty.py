"""The pairs whose label is hardest to predict: largest entropy h(p̄).

p̄ = E σ(Δ) over the Laplace posterior of Δ ~ N(Δ̂, s²), by MacKay's approximation
σ(Δ̂ / √(1 + π s²/8)) (MacKay 1992). Unlike the smallest gap it prefers, of two pairs with the same
Δ̂, the one that is known less; like it, it confuses what is unknown with what is a coin toss.
Cost: one DPO fit and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, difference_variance, top_pairs


@dataclass(frozen=True)
class Uncertainty(Design):
    """The n pairs of most uncertain predicted label not asked before; random at first."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank all pairs by |logit p̄|, of which the entropy is a falling function."""
        theta = view.implicit_theta()
        reward = view.pool.phi @ theta
        delta = reward[:, :, None] - reward[:, None, :]
        logit = delta / np.sqrt(1 + np.pi / 8 * difference_variance(view, theta))
        return top_pairs(view, -np.abs(logit), n)
