"""Numerical functions that several packages share."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit


def logistic_slope(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute σ'(x) = σ(x) σ(−x), accurate in both tails."""
    slope: NDArray[np.float64] = expit(logit) * expit(-logit)
    return slope
