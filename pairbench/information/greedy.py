"""Greedy exact designs."""

import numpy as np
from numpy.typing import NDArray

from pairbench.pool import Pairs, Pool

Array = NDArray[np.float64]


def greedy_d(pool: Pool, candidates: Pairs, information: Array, n: int, omega: Array) -> Pairs:
    """n of the candidates, each time the one that raises log det M most; repeats allowed.

    The gain of a pair, log(1 + ω zᵀ M⁻¹ z), needs only zᵀ M⁻¹ z, and a rank-one update of all of
    those after each choice (matrix determinant lemma, Sherman and Morrison).

    Args:
        pool: the pool that the pairs point into.
        candidates: ``(m, 3)``.
        information: M before the first choice, ``(d, d)``, positive definite.
        n: the number of pairs to choose.
        omega: ω of each candidate, ``(m,)``.

    Returns:
        The chosen pairs in their order, ``(n, 3)``.
    """
    z = pool.differences(candidates) * np.sqrt(omega)[:, None]
    inverse = np.linalg.inv(information)
    gain = np.einsum("md,md->m", z @ inverse, z)
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        chosen[k] = p = int(gain.argmax())
        direction = inverse @ z[p]
        scale = 1 + float(gain[p])
        gain -= (z @ direction) ** 2 / scale
        inverse -= np.outer(direction, direction) / scale
    return candidates[chosen]
