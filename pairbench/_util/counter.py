"""Random numbers that are a function of a counter, so that no order of asking can change them.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
numpy has the generator for one stream; here every row is a stream of its own, so it is vectorised.
"""

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Compute Philox4x32-10 of each row.

    Args:
        counter: ``(n, 4)``, each below 2³².
        key: two numbers below 2³².

    Returns:
        ``(n, 4)`` random numbers below 2³².
    """
    c0, c1, c2, c3 = np.asarray(counter, dtype=np.uint64).T
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


def uniforms(
    seed: int, counter: NDArray[np.int64], stream: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """Draw uniform numbers in [0, 1), one for each row of ``counter``, 53 random bits each.

    Args:
        seed: any non-negative integer.
        counter: ``(n, 4)``, each in [0, 2³²).
        stream: numbers below 2³² that tell independent uses of one seed apart.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=stream)
    k0, k1 = (int(word) for word in sequence.generate_state(2, np.uint32))
    words = philox(counter.astype(np.uint64), (k0, k1))
    bits = ((words[:, 0] >> np.uint64(5)) << np.uint64(26)) | (words[:, 1] >> np.uint64(6))
    return bits.astype(np.float64) * 2.0**-53
