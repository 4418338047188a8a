"""Gains of candidate pairs, kept up to date by rank-one updates as pairs are chosen."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class RankOne:
    """Gains in an optimality criterion of m pairs, by the Sherman–Morrison formula.

    Choosing a pair with weight ω adds ω z zᵀ to A. With G = A⁻¹CA⁻¹, log det A rises by
    log(1 + ω zᵀA⁻¹z), and tr(C A⁻¹) falls by ω zᵀGz / (1 + ω zᵀA⁻¹z).

    Attributes:
        leverage: zᵀA⁻¹z, ``(m,)``.
        fall: zᵀGz, ``(m,)``; the leverage itself for log det A.
        inverse: A⁻¹, ``(d, d)``.
        effect: G, ``(d, d)``; A⁻¹ for log det A.
    """

    def __init__(self, z: Array, inverse: Array, covariance: Array | None) -> None:
        """Compute the quadratic forms of all pairs.

        Args:
            z: feature differences, ``(m, d)``.
            inverse: A⁻¹, ``(d, d)``.
            covariance: C of the trace criterion, ``(d, d)``; None for log det A.
        """
        self.z, self.inverse = z, inverse
        self.traced = covariance is not None
        self.effect = inverse if covariance is None else inverse @ covariance @ inverse
        self.leverage = np.einsum("md,md->m", z @ inverse, z)
        self.fall = np.einsum("md,md->m", z @ self.effect, z) if self.traced else self.leverage

    def gains(self, weight: Array | float = 1.0) -> Array:
        """Compute a number that orders the pairs by the criterion's gain, ``(m,)``.

        It is ω zᵀA⁻¹z for log det A, and the fall of tr(C A⁻¹) itself for the trace.

        Args:
            weight: ω, ``(m,)`` or one for all.
        """
        gains: Array = weight * self.leverage
        if self.traced:
            gains = weight * self.fall / (1 + gains)
        return gains

    def take(self, p: int, weight: float = 1.0) -> None:
        """Add pair p to A with weight ω."""
        u = self.inverse @ self.z[p]
        share = weight / (1 + weight * float(self.leverage[p]))
        along = self.z @ u
        if self.traced:
            v, fall = self.effect @ self.z[p], float(self.fall[p])
            self.fall = self.fall - share * along * (2 * (self.z @ v) - share * fall * along)
            cross = np.outer(u, v)
            self.effect = self.effect - share * (cross + cross.T - share * fall * np.outer(u, u))
        self.leverage = self.leverage - share * along**2
        self.inverse = self.inverse - share * np.outer(u, u)
        if not self.traced:
            self.fall, self.effect = self.leverage, self.inverse
