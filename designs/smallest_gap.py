"""The pairs that the current policy finds hardest to tell apart: smallest |φ_iᵀθ̂ − φ_jᵀθ̂|.

Level-set or margin sampling (Lewis and Gale 1994), by the policy's implicit reward. Assumes that a
small predicted difference is a sign of doubt; it is also what near-duplicates look like.
Cost: one DPO fit and O(N K²) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, top_pairs


@dataclass(frozen=True)
class SmallestGap(Design):
    """The n pairs of least predicted reward difference not asked before; random at first."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank all pairs by −|Δ|."""
        reward = view.implicit_rewards()
        return top_pairs(view, -np.abs(reward[:, :, None] - reward[:, None, :]), n)
