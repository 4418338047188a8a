"""From weights to a number of labels."""

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, unknown
from pairbench.pool import Pairs

Array = NDArray[np.float64]

METHODS = ("independent", "systematic", "efficient")


def rounded_pairs(
    pairs: Pairs,
    weights: Array,
    n: int,
    rng: np.random.Generator,
    *,
    method: str = "systematic",
    repeats: bool = True,
) -> Pairs:
    """n pairs whose numbers follow the weights.

    - ``independent``: drawn one by one with replacement, which is what the theory speaks of.
    - ``systematic``: each pair n w times, rounded up or down at random so that its expectation is
      n w and neighbours make up for each other (Madow 1949). With pairs in the pool's order, the
      prompts get their shares too. Much less variance than independent draws.
    - ``efficient``: the rounding that loses least efficiency in the worst case (Pukelsheim and
      Rieder 1992); deterministic, for at least as many labels as pairs.

    Args:
        pairs: the support, ``(s, 3)``.
        weights: ``(s,)``, not negative.
        n: the number of labels.
        rng: the source of randomness.
        method: see above.
        repeats: whether a pair may be taken more than once.

    Returns:
        ``(n, 3)``, in random order.

    Raises:
        InvalidParameter: If the method is unknown, the weights are none, or the support is too
            small or too large for the method.
    """
    check_method(method)
    if n < 0:
        raise InvalidParameter(f"n must be a number of labels, got {n}.")
    if weights.shape != (len(pairs),):
        raise InvalidParameter(
            f"weights must have shape ({len(pairs)},), one for each pair, got shape "
            f"{weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InvalidParameter("weights must be finite, not negative, and not all zero.")
    share = weights / weights.sum()
    if not repeats and n > np.count_nonzero(share):
        raise InvalidParameter(
            f"{n} different pairs were asked for, where {np.count_nonzero(share)} have weight. Ask "
            "for fewer, or allow repeats."
        )
    if method == "independent":
        chosen: Pairs = pairs[rng.choice(len(pairs), size=n, p=share, replace=repeats)]
        return chosen
    expected = n * share if repeats else _capped(n * share)
    counts = _systematic(expected, rng) if method == "systematic" else _efficient(share, n)
    taken: Pairs = pairs[rng.permutation(np.repeat(np.arange(len(pairs)), counts))]
    return taken


def check_method(method: str) -> None:
    """Raise unless it is one of the methods."""
    if method not in METHODS:
        raise unknown(InvalidParameter, "rounding", method, METHODS)


def _systematic(expected: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts of expectation ``expected``, each its floor or ceiling, that sum to its sum."""
    edges = np.cumsum(expected)
    edges[-1] = round(edges[-1])  # what rounding errors made of the number of labels
    ticks = np.floor(np.concatenate([[0.0], edges]) + rng.random())
    return np.diff(ticks).astype(np.int64)


def _capped(expected: Array) -> Array:
    """Expectations of at most one; what is cut off goes to the others in proportion."""
    total = float(expected.sum())
    full = np.zeros(len(expected), dtype=np.bool_)
    while (over := ~full & (expected > 1)).any():
        full |= over
        rest = expected[~full].sum()
        expected = np.where(full, 1.0, expected * ((total - full.sum()) / rest if rest else 0.0))
    return expected


def _efficient(share: Array, n: int) -> NDArray[np.int64]:
    size = np.count_nonzero(share)
    if n < size:
        raise InvalidParameter(
            f"efficient rounding needs a label for each of the {size} pairs that have weight, got "
            f"{n}. Take method='systematic'."
        )
    counts = np.ceil((n - size / 2) * share).astype(np.int64)
    there = share > 0
    while (total := int(counts.sum())) != n:
        if total < n:
            counts[np.argmin(np.where(there, counts / np.where(there, share, 1), np.inf))] += 1
        else:
            counts[np.argmax(np.where(there, (counts - 1) / np.where(there, share, 1), -1))] -= 1
    return counts
