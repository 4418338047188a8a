"""The pairs of largest leverage zᵀA⁻¹z, A = λI + Σ w z zᵀ over the labels so far.

Active preference optimisation, APO, asks the question of the prompt and the two completions whose
‖z‖ in the norm of H⁻¹ is largest, H being A, one after the other; its practical form leaves w out
of H. As a batch rule this takes the n best of the round at once, so a batch may be redundant.
zᵀA⁻¹z is the posterior variance of the reward difference; w enters the past, not the candidate:
compare ``greedy-d``.

Family: optimal design.
Source: Das, Chakraborty, Pacchiano, Chowdhury 2024, Active Preference Optimization for Sample
    Efficient RLHF, arXiv 2402.10500.
Assumes: A log-linear reward; that the most uncertain difference is worth most, even where its label
    is nearly certain.
Cost: One DPO fit and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Laplace, ScoredDesign, View


@dataclass(frozen=True)
class Leverage(ScoredDesign):
    """The n pairs not asked before of largest posterior variance of the reward difference."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score each pair by the posterior variance of its reward difference."""
        return Laplace().fit(view).difference_variance()
