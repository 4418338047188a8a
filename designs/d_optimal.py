"""Pairs in proportion to the weights that maximise log det Σ_w at θ = 0.

D-optimality: the confidence ellipsoid of θ is smallest, whether or not the policy feels it. At
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

from pairbench import Design, Pairs, View, check_weighing, sampled_pairs, weights_at_zero


@dataclass(frozen=True)
class DOptimal(Design):
    """Pairs in proportion to weights that are optimal at θ = 0.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighing(self.tol, self.rounding)

    def select(self, view: View, n: int) -> Pairs:
        """Take the same weights in every round."""
        design = weights_at_zero(view, "d", self.tol)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)
