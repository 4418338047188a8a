"""What each of some pairs would add to the information, kept up to date as pairs are taken."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class RankOne:
    """The gains of m pairs, after Sherman and Morrison.

    Taking a pair with weight ω adds ω z zᵀ to A. With G = A⁻¹CA⁻¹, log det A rises by
    log(1 + ω zᵀA⁻¹z), and tr(C A⁻¹) falls by ω zᵀGz / (1 + ω zᵀA⁻¹z).

    Attributes:
        leverage: zᵀA⁻¹z, ``(m,)``.
        fall: zᵀGz, ``(m,)``; the leverage itself for log det A.
        inverse: A⁻¹, ``(d, d)``.
        effect: G, ``(d, d)``; A⁻¹ for log det A.
    """

    def __init__(self, z: Array, inverse: Array, covariance: Array | None) -> None:
        """Compute the forms once.

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
        """How much each pair would help, ``(m,)``, in an order that is the criterion's.

        Args:
            weight: ω, ``(m,)`` or one for all.
        """
        gains: Array = weight * self.leverage
        if self.traced:
            gains = weight * self.fall / (1 + gains)
        return gains

    def take(self, p: int, weight: float = 1.0) -> None:
        """Take pair p with weight ω."""
        u = self.inverse @ self.z[p]
        share = weight / (1 + weight * float(self.leverage[p]))
        along = self.z @ u
        if self.traced:
            v, own = self.effect @ self.z[p], float(self.fall[p])
            self.fall = self.fall - share * along * (2 * (self.z @ v) - share * own * along)
            both = np.outer(u, v)
            self.effect = self.effect - share * (both + both.T - share * own * np.outer(u, u))
        self.leverage = self.leverage - share * along**2
        self.inverse = self.inverse - share * np.outer(u, u)
        if not self.traced:
            self.fall, self.effect = self.leverage, self.inverse
