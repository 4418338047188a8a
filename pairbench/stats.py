"""Interval estimates and paired comparisons over seeds.

All intervals are percentile intervals of one bootstrap over seeds, with the same resamples for all
designs, so that comparisons are paired: what a hard seed does to one design it does to the other.
For few seeds they are widened as Student's t widens a normal interval, without which five seeds
would call a fifth of all equal designs different.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtrit

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
    """Mean over seeds of positive figures, ``values`` being ``(n_seeds,)``."""
    rows = resamples(len(values))
    return _estimate(values.mean(), values[rows].mean(axis=1), len(values))


def signed_mean(values: Array) -> Estimate:
    """Mean over seeds of figures of either sign, ``values`` being ``(n_seeds,)``."""
    n, centre = len(values), float(values.mean())
    if n == 1:
        return Estimate(centre, -np.inf, np.inf)
    ends = np.quantile(values[resamples(n)].mean(axis=1), _ENDS)
    low, high = centre + _widening(n) * (ends - centre)
    return Estimate(centre, float(low), float(high))


def ratio_of_means(values: Array, reference: Array) -> Estimate:
    """mean(values) / mean(reference), both ``(n_seeds,)`` and paired."""
    rows = resamples(len(values))
    draws = _ratio(values[rows].mean(axis=1), reference[rows].mean(axis=1))
    return _estimate(_ratio(values.mean(), reference.mean()).item(), draws, len(values))


def label_savings(
    gaps: Array, labels: float, reference: Array, reference_labels: NDArray[np.int64]
) -> Estimate:
    """How many labels the reference needs for the gap that a design reaches, over those it took.

    The reference's mean gap is interpolated, log gap in log labels; points where it rises with
    more labels are left out, so that the first time counts (docs/theory.md, section 4).

    Args:
        gaps: the design's gap in the end, ``(n_seeds,)``.
        labels: how many labels it took, on average.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_labels: labels that the reference took, ``(n_budgets,)``, increasing.

    Returns:
        1 means as good as the reference; censored where the reference never gets as good, or was
        better at its first budget.
    """
    rows = resamples(len(gaps))
    logs = np.log(reference_labels)

    def savings(gap: float, curve: Array) -> float:
        if gap > curve[0] or gap < curve.min():
            return 0.0 if gap > curve[0] else np.inf
        curve = np.maximum(curve, _TINY)
        record = np.append(True, curve[1:] < np.minimum.accumulate(curve)[:-1])
        # np.interp wants increasing abscissae: minus the falling log gap.
        needed = np.interp(-np.log(max(gap, _TINY)), -np.log(curve[record]), logs[record])
        return float(np.exp(needed) / labels)

    value = savings(float(gaps.mean()), reference.mean(axis=0))
    draws = [
        savings(gap, curve)
        for gap, curve in zip(gaps[rows].mean(axis=1), reference[rows].mean(axis=1), strict=True)
    ]
    least, most = (float(n / labels) for n in reference_labels[[0, -1]])
    centre = min(max(value, least), most)
    estimate = _estimate(centre, np.array(draws), len(gaps))
    if value == np.inf:
        return Estimate(most, min(estimate.low, most), np.inf, "above")
    if value == 0:
        return Estimate(least, 0.0, max(estimate.high, least), "below")
    return estimate


def ranks(gaps: Array) -> list[int]:
    """Ranks with ties: 1 + the number of designs in better groups.

    One design is significantly better than another where the interval of the paired difference of
    their mean gaps leaves out 0. That relation need not be transitive; so that no design ranks
    behind one of a larger mean gap, a tie takes in all that lie between. Equal ranks are ties.

    Args:
        gaps: ``(n_designs, n_seeds)``, paired by seed.
    """
    n = gaps.shape[1]
    draws, means = gaps[:, resamples(n)].mean(axis=2), gaps.mean(axis=1)
    better = np.zeros(len(gaps), dtype=np.int64)
    for i, own in enumerate(draws):
        difference = (means[i] - means)[:, None]
        low = np.quantile(own - draws - difference, _ENDS[0], axis=1)
        if n > 1:
            better[i] = int((difference[:, 0] + _widening(n) * low > 0).sum())
    level = np.array([better[means >= own].min() for own in means])
    return [1 + int((level < own).sum()) for own in level]


_TINY = 1e-300  # a gap of exactly 0 has no logarithm


def chance_of_counts(one: NDArray[np.int64], other: NDArray[np.int64], n: int) -> Array:
    """How probable counts so different are where chances are equal, ``(m,)``.

    Fisher's exact test, two-sided.

    Args:
        one: how often each of m things happened in n trials, ``(m,)``.
        other: and in n other trials, ``(m,)``.
        n: number of trials.
    """

    def log_choose(k: Array) -> Array:
        inside = (k >= 0) & (k <= n)
        k = np.where(inside, k, 0)
        return np.where(inside, -gammaln(k + 1.0) - gammaln(n - k + 1.0), -np.inf)

    k = np.arange(n + 1.0)[:, None]
    log = log_choose(k) + log_choose(one + other - k)
    probability = np.exp(log - log.max(axis=0))
    probability /= probability.sum(axis=0)
    observed = probability[one, np.arange(len(one))]
    chance: Array = np.where(probability <= observed * (1 + 1e-9), probability, 0.0).sum(axis=0)
    return chance


def _widening(n: int) -> float:
    """What a percentile bootstrap over n seeds is too narrow by: Student's t, and n for n − 1."""
    return float(stdtrit(n - 1, _ENDS[1]) / stdtrit(np.inf, _ENDS[1]) * np.sqrt(n / (n - 1)))


def _ratio(value: Array, reference: Array) -> Array:
    """Their ratio, 1 where both are 0."""
    value, reference = np.asarray(value), np.asarray(reference)
    ratio = np.where(value > 0, np.inf, 1.0)
    return np.divide(value, reference, out=ratio, where=reference > 0)


def _estimate(value: float, draws: Array, n: int) -> Estimate:
    """Value and interval of a positive figure; for one seed, the interval tells nothing."""
    if n == 1:
        return Estimate(float(value), 0.0, np.inf)
    centre = np.log(max(float(value), _TINY))
    # In logs, because the figures are positive; draws may be 0 or infinite, so none are averaged.
    with np.errstate(divide="ignore"):
        ends = np.quantile(np.log(draws), _ENDS, method="inverted_cdf")
    low, high = np.exp(centre + _widening(n) * (ends - centre))
    if value == 0 and ends[1] == -np.inf:
        low = high = 0.0
    return Estimate(float(value), float(low), float(high))
