"""The pairs of smallest implicit reward gap of the policy trained so far.

The gap is |β log π̂(i)/π_ref(i) − β log π̂(j)/π_ref(j)|, which for the log-linear policy is
|(φ_i − φ_j)ᵀθ̂|, θ̂ being that of the DPO training, not of an estimator. So it takes the same pairs
as ``smallest-gap`` with the default estimator ``laplace``, whose mean is that θ̂, and others with
any other estimator.

Family: reward rank.
Source: Qi, Xu, Jin 2025, "Difficulty-Based Preference Data Selection by DPO Implicit Reward Gap",
    arXiv 2508.04149, which selects once among pairs that are labelled already, with a policy
    trained elsewhere; here labels are bought, and the policy is that of the labels so far.
Assumes: that a small gap is a sign of difficulty, and that difficult pairs are the most
    informative. Near-duplicates have a small gap, too.
Cost: one DPO fit, and O(N K²).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import ScoredDesign, View


@dataclass(frozen=True)
class Difficulty(ScoredDesign):
    """The n pairs of least implicit reward gap not asked before; random at first."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by minus the gap."""
        rewards = view.implicit_rewards()
        return -np.abs(rewards[:, :, None] - rewards[:, None, :])
