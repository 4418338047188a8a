"""Bootstrap over seeds: resamples, interval estimates of means, and of ratios of means.

All intervals are 95 % percentile intervals with the same resamples for all designs, so that
comparisons are paired: a hard seed is hard for both designs. For few seeds they are widened as
Student's t widens a normal interval; without that, five seeds would call a fifth of all equal
designs different (docs/theory.md, section 4).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of all intervals."""

DRAWS = 2000
"""Number of bootstrap resamples."""

Censoring = Literal["above", "below"]
"""Side on which a censored estimate's true value lies."""

ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
"""Quantiles at the ends of an interval."""

TINY = 1e-300
"""Stand-in for 0 where a logarithm or a quotient is taken."""

ROUNDING = 1e-12
"""Relative difference within which two figures are equal."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        censored: ``"above"`` or ``"below"`` if the true value lies beyond the measurable range on
            that side, ``value`` being the end of the range; None otherwise.
    """

    value: float
    low: float
    high: float
    censored: Censoring | None = None


@lru_cache(maxsize=64)
def resample_indices(n_seeds: int, stratum: int = 0) -> NDArray[np.int64]:
    """Draw bootstrap resamples of seed indices, ``(DRAWS, n_seeds)``, the same at every call.

    Args:
        n_seeds: the number of seeds.
        stratum: the index of the environment in a stratified bootstrap; each has its own resamples.
    """
    rows = np.random.default_rng(stratum).integers(n_seeds, size=(DRAWS, n_seeds))
    rows.flags.writeable = False
    return rows


@lru_cache(maxsize=64)
def bootstrap_weights(n_seeds: int, stratum: int = 0) -> Array:
    """Compute bootstrap weights, the share of each resample that each seed makes up.

    ``weights @ values`` are the means of the resamples.

    Args:
        n_seeds: the number of seeds.
        stratum: the index of the environment in a stratified bootstrap.

    Returns:
        ``(DRAWS, n_seeds)``, rows summing to 1.
    """
    rows = resample_indices(n_seeds, stratum) + n_seeds * np.arange(DRAWS)[:, None]
    counts = np.bincount(rows.ravel(), minlength=DRAWS * n_seeds).reshape(DRAWS, n_seeds)
    weights: Array = counts / n_seeds
    weights.flags.writeable = False
    return weights


def mean(values: Array) -> Estimate:
    """Estimate the mean over seeds of a positive figure.

    Args:
        values: ``(n_seeds,)``.
    """
    rows = resample_indices(len(values))
    return estimate_positive(values.mean(), values[rows].mean(axis=1), len(values))


def means(values: Array) -> tuple[Estimate, ...]:
    """Estimate the mean over seeds of each of m positive figures.

    Args:
        values: ``(n_seeds, m)``.
    """
    draws = bootstrap_weights(len(values)) @ values
    return _estimates(values.mean(axis=0), draws, len(values))


def ratio_of_means(values: Array, reference: Array) -> Estimate:
    """Estimate mean(values) / mean(reference).

    Args:
        values: positive figures, ``(n_seeds,)``.
        reference: positive figures, ``(n_seeds,)``, paired by seed.
    """
    rows = resample_indices(len(values))
    draws = ratio(values[rows].mean(axis=1), reference[rows].mean(axis=1))
    return estimate_positive(ratio(values.mean(), reference.mean()).item(), draws, len(values))


def ratios_of_means(values: Array, reference: Array) -> tuple[Estimate, ...]:
    """Estimate mean(values) / mean(reference) for each of m pairs of columns.

    Args:
        values: positive figures, ``(n_seeds, m)``.
        reference: positive figures, ``(n_seeds, m)``, paired by seed.
    """
    weights = bootstrap_weights(len(values))
    draws = ratio(weights @ values, weights @ reference)
    return _estimates(ratio(values.mean(axis=0), reference.mean(axis=0)), draws, len(values))


def ratio(value: Array, reference: Array) -> Array:
    """Divide elementwise; the ratio is 1 where both are 0."""
    value, reference = np.asarray(value), np.asarray(reference)
    ratio = np.where(value > 0, np.inf, 1.0)
    return np.divide(value, reference, out=ratio, where=reference > 0)


def estimate_positive(value: float, draws: Array, n: int) -> Estimate:
    """Estimate a positive figure; the interval of a single seed is unbounded.

    Args:
        value: the figure.
        draws: the figure in each resample, ``(DRAWS,)``.
        n: the number of seeds.
    """
    return _estimates(np.array([value]), draws[:, None], n)[0]


# Why: docs/decisions/033-bootstrap-intervals-are-widened.md
def t_inflation(freedom: Array | int) -> Array:
    """Compute t(ν)/z, by which estimating the variance widens an interval.

    Args:
        freedom: degrees of freedom ν.
    """
    inflation: Array = stdtrit(freedom, ENDS[1]) / stdtrit(np.inf, ENDS[1])
    return inflation


def clip_interval(estimate: Estimate, low: float, high: float) -> Estimate:
    """Clip an interval to the range of the figure."""
    return Estimate(estimate.value, max(estimate.low, low), min(estimate.high, high))


# Why: docs/decisions/033-bootstrap-intervals-are-widened.md
def _small_sample_inflation(n: int) -> float:
    """Compute by what factor a percentile interval over n seeds is too narrow.

    The factor is t(n−1)/z times √(n/(n−1)), since a resample's variance has the divisor n.
    """
    return float(t_inflation(n - 1) * np.sqrt(n / (n - 1)))


def _estimates(values: Array, draws: Array, n: int) -> tuple[Estimate, ...]:
    """Estimate m positive figures.

    Args:
        values: the figures, ``(m,)``.
        draws: the figures in each resample, ``(DRAWS, m)``.
        n: the number of seeds.
    """
    if n == 1:
        return tuple(Estimate(float(value), 0.0, np.inf) for value in values)
    centres = np.log(np.maximum(values, TINY))
    # In logs, because the figures are positive; draws may be 0 or infinite, so none are averaged.
    with np.errstate(divide="ignore"):
        ends = np.log(np.quantile(draws, ENDS, axis=0, method="inverted_cdf"))
    bounds = np.exp(centres + _small_sample_inflation(n) * (ends - centres))
    bounds[:, (values == 0) & (ends[1] == -np.inf)] = 0.0
    return tuple(
        Estimate(float(value), float(low), float(high))
        for value, low, high in zip(values, *bounds, strict=True)
    )
