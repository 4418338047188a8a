"""Pairs in proportion to the weights that maximise log det Σ_w at θ = 0.

D-optimality: the confidence ellipsoid of θ is smallest, whether or not the policy depends on it. At
θ = 0, where σ' = ¼, it also minimises the worst variance of a reward difference (Kiefer and
Wolfowitz 1960). For preferences: Mukherjee et al. 2024, over prompts (``dope``), and Scheid et al.
2024 (``odpo``).

Family: optimal design.
Source: Wald 1943, On the Efficient Design of Statistical Investigations; Kiefer and Wolfowitz 1960,
    The Equivalence of Two Extremum Problems.
Assumes: That all directions of θ count alike; a reward so weak that labels do not saturate.
Cost: A few sweeps of O(N K d² + N K² d), once an episode.
"""

from dataclasses import dataclass

from pairbench import View, WeightedDesign, weights_at_zero
from pairbench.information import OptimalDesign


@dataclass(frozen=True)
class DOptimal(WeightedDesign):
    """D-optimal weights over pairs at θ = 0, rounded to the labels of each round."""

    def weights(self, view: View, n: int) -> OptimalDesign:
        """Return the weights at θ = 0, which are the same in every round."""
        return weights_at_zero(view, "d", self.tol)
