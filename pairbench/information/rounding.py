"""Rounding of the weights of a design to an integer number of labels."""

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least
from pairbench.errors import InvalidParameter, unknown_name_error
from pairbench.pool.pool import Pairs

Array = NDArray[np.float64]

METHODS = ("independent", "systematic", "efficient")


def round_to_pairs(
    pairs: Pairs,
    weights: Array,
    n: int,
    rng: np.random.Generator,
    *,
    method: str = "systematic",
    repeats: bool = True,
) -> Pairs:
    """Select n pairs, with repeats in proportion to the weights.

    - ``independent``: draws with replacement, as the theory assumes.
    - ``systematic``: each pair n w times, rounded up or down at random so that its expectation is
      n w and the errors of neighbours cancel (Madow 1949). With pairs in the pool's order, prompts
      get their shares too. Much less variance than independent draws.
    - ``efficient``: the rounding that loses least efficiency in the worst case (Pukelsheim and
      Rieder 1992); deterministic; requires at least as many labels as pairs with weight.

    Args:
        pairs: the support, ``(s, 3)``.
        weights: ``(s,)``, not negative; normalised to sum to one.
        n: the number of labels.
        rng: the random generator.
        method: one of the methods above.
        repeats: whether a pair may be selected more than once.

    Returns:
        ``(n, 3)``, in random order.

    Raises:
        InvalidParameter: If the method is unknown, n is negative, the weights are no weights, or
            n is too large or too small for the support.
    """
    check_method(method)
    check_at_least(0, n=n)
    _check_weights(weights, len(pairs))
    share = weights / weights.sum()
    if not repeats and n > np.count_nonzero(share):
        raise InvalidParameter(
            f"without repeats, n must be at most {np.count_nonzero(share)}, the number of pairs "
            f"that have weight, got {n}. Ask for fewer, or allow repeats."
        )
    if method == "independent":
        selected: Pairs = pairs[rng.choice(len(pairs), size=n, p=share, replace=repeats)]
        return selected
    expected = n * share if repeats else _cap_at_one(n * share)
    if method == "systematic":
        counts = _round_systematically(expected, rng)
    else:
        counts = _round_efficiently(share, n)
    shuffled: Pairs = pairs[rng.permutation(np.repeat(np.arange(len(pairs)), counts))]
    return shuffled


def check_method(method: str) -> None:
    """Raise unless a name is one of :data:`METHODS`.

    Raises:
        InvalidParameter: If it is not; the message has the nearest name.
    """
    if method not in METHODS:
        raise unknown_name_error(InvalidParameter, "rounding", method, METHODS)


def _check_weights(weights: Array, size: int) -> None:
    """Raise unless weights are ``size`` finite numbers, not negative and not all zero."""
    if weights.shape != (size,):
        raise InvalidParameter(
            f"weights must have shape ({size},), one for each pair, got shape {weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InvalidParameter("weights must be finite, not negative, and not all zero.")


def _round_systematically(expected: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw counts with the given expectations, each a floor or ceiling, with the same sum."""
    edges = np.cumsum(expected)
    edges[-1] = round(edges[-1])  # the number of labels, without the rounding error of the sum
    ticks = np.floor(np.concatenate([[0.0], edges]) + rng.random())
    return np.diff(ticks).astype(np.int64)


def _cap_at_one(expected: Array) -> Array:
    """Cap expectations at one, and distribute the excess over the others in proportion."""
    total = float(expected.sum())
    capped = np.zeros(len(expected), dtype=np.bool_)
    while (over := ~capped & (expected > 1)).any():
        capped |= over
        rest = expected[~capped].sum()
        scale = (total - capped.sum()) / rest if rest else 0.0
        expected = np.where(capped, 1.0, expected * scale)
    return expected


def _round_efficiently(share: Array, n: int) -> NDArray[np.int64]:
    """Apportion n labels by the efficient rounding of Pukelsheim and Rieder."""
    size = np.count_nonzero(share)
    if n < size:
        raise InvalidParameter(
            f"efficient rounding needs a label for each of the {size} pairs that have weight, got "
            f"{n}. Take method='systematic'."
        )
    counts = np.ceil((n - size / 2) * share).astype(np.int64)
    positive = share > 0
    divisor = np.where(positive, share, 1)
    while (total := int(counts.sum())) != n:
        if total < n:
            counts[np.argmin(np.where(positive, counts / divisor, np.inf))] += 1
        else:
            counts[np.argmax(np.where(positive, (counts - 1) / divisor, -1))] -= 1
    return counts
