"""The pairs that lie farthest apart in feature space: largest ‖φ_i − φ_j‖.

Labels play no part in the choice, so the pairs could all be named before the first answer.

Family: diversity.
Source: common practice, no publication of its own. At θ = 0 and A ∝ I the longest difference is the
    pair of most information.
Assumes: that features are on a common scale and that far apart means informative, which fails where
    labels saturate.
Cost: O(N K² d).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import ScoredDesign, View
from pairbench.information import pair_forms


@dataclass(frozen=True)
class MaxDistance(ScoredDesign):
    """The n farthest pairs not asked before."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Rank all pairs by squared distance."""
        return pair_forms(view.pool.phi, np.eye(view.pool.dim))
