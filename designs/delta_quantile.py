"""The pairs whose predicted reward difference is of a middling size: |Δ| nearest its q-quantile.

The quantile is that of |μ_i − μ_j| over all pairs of the pool, asked or not, so the rule runs from
``smallest-gap`` (q = 0) to ``largest-gap`` (q = 1).

Family: reward rank.
Source: no publication states this rule. That differences should be moderate is argued by Shen et
    al. 2025, "Reviving The Classics: Active Reward Modeling in Large Language Model Alignment",
    arXiv 2502.04354 (whose own rule is Fisher information), and that the hardest pairs harm by Gao
    et al. 2025, "Principled Data Selection for Alignment: The Hidden Risks of Difficult Examples",
    arXiv 2502.09650 (which filters labelled pairs by validation loss). The default, the median, is
    ours.
Assumes: that the pool's own differences say what is moderate. A label's information falls with |Δ|
    and grows with ‖z‖, and which wins is the pool's matter.
Cost: one fit of the estimator, and O(N K²).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import BeliefDesign, InvalidParameter, ScoredDesign, View


@dataclass(frozen=True)
class DeltaQuantile(BeliefDesign, ScoredDesign):
    """The n pairs nearest the quantile not asked before; random at first.

    Attributes:
        quantile: q, 0 to 1.
    """

    quantile: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile <= 1:
            raise InvalidParameter(f"quantile must lie between 0 and 1, got {self.quantile}.")

    def scores(self, view: View) -> NDArray[np.float64]:
        """Rank all pairs by how near |Δ| is to its quantile."""
        size = np.abs(self.belief(view).differences())
        target = np.quantile(size[view.pool.pair_mask], self.quantile)
        miss: NDArray[np.float64] = np.abs(size - target)
        return -miss
