"""The pairs that lie farthest apart in feature space: largest ‖φ_i − φ_j‖.

The choice does not depend on labels, so all pairs can be chosen before the first label.

Family: diversity.
Source: common practice, no publication. At θ = 0 and A ∝ I the longest difference is the pair of
    most information.
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
        """Score all pairs by squared distance."""
        return pair_forms(view.pool.phi, np.eye(view.pool.dim))
