"""Interval estimates and paired comparisons over seeds.

All intervals are percentile intervals of one bootstrap over seeds, with the same resamples for all
designs, so that comparisons are paired: what a hard seed does to one design it does to the other.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2000
_ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        censored: ``"above"`` where the truth is beyond what could be measured, the value being the
            last that could; ``"below"`` likewise; None otherwise.
    """

    value: float
    low: float
    high: float
    censored: Literal["above", "below"] | None = None


def resamples(n_seeds: int) -> NDArray[np.int64]:
    """Bootstrap resamples of the seeds, ``(DRAWS, n_seeds)``; always the same ones."""
    return np.random.default_rng(0).integers(n_seeds, size=(DRAWS, n_seeds))


def mean(values: Array) -> Estimate:
    """Mean over seeds, ``values`` being ``(n_seeds,)``."""
    return _estimate(values.mean(), values[resamples(len(values))].mean(axis=1))


def ratio_of_means(values: Array, reference: Array) -> Estimate:
    """mean(values) / mean(reference), both ``(n_seeds,)`` and paired."""
    rows = resamples(len(values))
    draws = _ratio(values[rows].mean(axis=1), reference[rows].mean(axis=1))
    return _estimate(_ratio(values.mean(), reference.mean()).item(), draws)


def label_savings(
    gaps: Array, budget: int, reference: Array, reference_budgets: NDArray[np.int64]
) -> Estimate:
    """How many labels the reference needs for the gap that a design reaches, over those it took.

    The reference's mean gap is interpolated, log gap in log labels; points where it rises with
    more labels are left out, so that the first time counts (docs/theory.md, section 4).

    Args:
        gaps: the design's gap after ``budget`` labels, ``(n_seeds,)``.
        budget: labels that the design took.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_budgets: labels that the reference took, ``(n_budgets,)``, increasing.

    Returns:
        1 means as good as the reference; censored where the reference never gets as good, or was
        better at its first budget.
    """
    rows = resamples(len(gaps))
    logs = np.log(reference_budgets)

    def savings(gap: float, curve: Array) -> float:
        if gap > curve[0] or gap < curve.min():
            return 0.0 if gap > curve[0] else np.inf
        curve = np.maximum(curve, _TINY)
        record = np.append(True, curve[1:] < np.minimum.accumulate(curve)[:-1])
        # np.interp wants increasing abscissae: minus the falling log gap.
        needed = np.interp(-np.log(max(gap, _TINY)), -np.log(curve[record]), logs[record])
        return float(np.exp(needed) / budget)

    value = savings(float(gaps.mean()), reference.mean(axis=0))
    draws = [
        savings(gap, curve)
        for gap, curve in zip(gaps[rows].mean(axis=1), reference[rows].mean(axis=1), strict=True)
    ]
    # No interpolation between draws, some of which may be infinite.
    low, high = np.quantile(draws, _ENDS, method="inverted_cdf").tolist()
    least, most = (float(n / budget) for n in reference_budgets[[0, -1]])
    if value == np.inf:
        return Estimate(most, min(low, most), np.inf, "above")
    if value == 0:
        return Estimate(least, 0.0, max(high, least), "below")
    return Estimate(value, low, high)


def ranks(gaps: Array) -> list[int]:
    """Ranks with ties: 1 + the number of designs that are significantly better.

    One is significantly better than another where the interval of the paired difference of their
    mean gaps leaves out 0. That relation need not be transitive; so that no design ranks behind one
    of a larger mean gap, a tie takes in all that lie between. Equal ranks are ties.

    Args:
        gaps: ``(n_designs, n_seeds)``, paired by seed.
    """
    draws = gaps[:, resamples(gaps.shape[1])].mean(axis=2)
    means = gaps.mean(axis=1)
    better = np.array([(np.quantile(own - draws, _ENDS[0], axis=1) > 0).sum() for own in draws])
    return [1 + int(better[means >= own].min()) for own in means]


_TINY = 1e-300  # a gap of exactly 0 has no logarithm


def _ratio(value: Array, reference: Array) -> Array:
    """Their ratio, 1 where both are 0."""
    value, reference = np.asarray(value), np.asarray(reference)
    ratio = np.where(value > 0, np.inf, 1.0)
    return np.divide(value, reference, out=ratio, where=reference > 0)


def _estimate(value: float, draws: Array) -> Estimate:
    low, high = np.quantile(draws, _ENDS)
    return Estimate(float(value), float(low), float(high))
