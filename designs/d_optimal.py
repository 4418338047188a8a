"""Pairs in proportion to the weights that maximise log det Σ_w at θ = 0.

D-optimality (Wald 1943; Kiefer and Wolfowitz 1960); for preferences Mukherjee et al. 2024, arXiv
2404.13895. The confidence ellipsoid of θ is smallest, whether or not the policy feels it. At θ = 0,
where σ' = ¼, it also minimises the worst variance of a reward difference.
Cost: a few sweeps of O(N K d² + N K² d), once an episode.
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
