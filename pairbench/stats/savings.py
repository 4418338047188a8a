"""Label savings: how many labels the reference needs to reach the same gap."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.stats.bootstrap import (
    ROUNDING,
    TINY,
    Array,
    Estimate,
    bootstrap_weights,
    estimate_positive,
)


# Why: docs/decisions/030-savings-read-the-references-own-labels.md
def label_savings(
    gaps: Array, labels: float, reference: Array, reference_labels: Array | NDArray[np.int64]
) -> Estimate:
    """Estimate a design's label savings over the reference.

    They are the labels that the reference needs for the design's gap, over those that it needs for
    its own gap at the design's number of labels.

    The reference's mean gap is interpolated, log gap in log labels; points where it rises with
    more labels are left out, so that the first time counts. The labels that the reference needs for
    its own gap are read off in the same way, so that it saves nothing by itself (docs/theory.md,
    section 4).

    Args:
        gaps: the design's final gap, ``(n_seeds,)`` reward units.
        labels: the design's mean number of labels.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_labels: the reference's numbers of labels, ``(n_budgets,)``, increasing.

    Returns:
        1 means as good as the reference. The estimate is censored if the reference never gets as
        good, or was better at its first budget; if it ended worse than it was there, only which of
        them is better can be told. Savings are at most the reference's last budget over the labels
        of the design.
    """
    savings, draws = _read_savings(gaps[:, None], np.array([labels]), reference, reference_labels)
    value, ratios = round(float(np.exp(savings.log.item())), 12), np.exp(draws.log[:, 0])
    ratios[draws.above[:, 0]], ratios[draws.below[:, 0]] = np.inf, 0.0
    estimate = estimate_positive(value, ratios, len(gaps))
    if savings.above.item():
        return Estimate(estimate.value, min(estimate.low, value), np.inf, "above")
    if savings.below.item():
        return Estimate(estimate.value, 0.0, max(estimate.high, value), "below")
    return estimate


def log_savings(
    gaps: Array,
    labels: Array,
    reference: Array,
    reference_labels: Array,
    *,
    stratum: int,
) -> tuple[Array, Array]:
    """Compute log label savings of m designs in one environment, and in every resample.

    Savings beyond the reference's curve count as those at its end.

    Args:
        gaps: the designs' final gaps, ``(n_seeds, m)`` reward units.
        labels: each design's mean number of labels, ``(m,)``.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_labels: the reference's numbers of labels, ``(n_budgets,)``, increasing.
        stratum: the index of the environment.

    Returns:
        ``(m,)`` and ``(DRAWS, m)``.
    """
    savings, draws = _read_savings(gaps, labels, reference, reference_labels, stratum)
    # Rounded, so that designs that chose the same pairs do not differ by rounding errors.
    return np.round(savings.log[0], 12), np.round(draws.log, 12)


class _LogSavings(NamedTuple):
    """Log label savings read off the reference's learning curve, with censoring flags.

    Attributes:
        log: log savings, ``(r, m)``.
        above: whether the true savings are, or may be, larger, ``(r, m)``.
        below: whether the true savings are, or may be, smaller, ``(r, m)``.
    """

    log: Array
    above: NDArray[np.bool_]
    below: NDArray[np.bool_]


def _read_savings(
    gaps: Array,
    labels: Array,
    reference: Array,
    reference_labels: Array | NDArray[np.int64],
    stratum: int = 0,
) -> tuple[_LogSavings, _LogSavings]:
    """Read savings off the reference's mean curve, and off that of every resample.

    See :func:`log_savings` for the arguments.

    Returns:
        Savings of shape ``(1, m)`` and ``(DRAWS, m)``.
    """
    weights = bootstrap_weights(len(gaps), stratum)
    mean_gaps, mean_curve = gaps.mean(axis=0)[None], reference.mean(axis=0)[None]
    return (
        _read_off_curves(mean_gaps, labels, mean_curve, reference_labels),
        _read_off_curves(weights @ gaps, labels, weights @ reference, reference_labels),
    )


def _read_off_curves(
    gaps: Array, labels: Array, curves: Array, curve_labels: Array | NDArray[np.int64]
) -> _LogSavings:
    """Compute the log ratio of labels a curve needs for a gap to labels it needs for its own.

    Args:
        gaps: ``(r, m)`` reward units.
        labels: the number of labels behind each gap, ``(m,)``.
        curves: ``(r, b)``, one for each row of gaps.
        curve_labels: of the curves' points, ``(b,)``, increasing.
    """
    logs = np.log(curve_labels)
    log_labels = np.log(labels).clip(logs[0], logs[-1])
    curve_gaps = _interpolate(curves, logs, log_labels)
    needed = _log_labels_needed(gaps, curves, curve_labels)
    needed_for_own = _log_labels_needed(curve_gaps, curves, curve_labels)
    # The labels' worth to the reference is less than their number where they made it worse.
    worth = needed_for_own.clip(logs[0], logs[-1]) - log_labels + np.log(labels)
    lowest, highest = logs[0] - worth, logs[-1] - np.log(labels)
    savings = (needed - worth).clip(lowest, highest)
    above, below = needed - worth > highest + ROUNDING, needed == -np.inf
    # Where both are worse than the curve's first point, it only tells which of them is better.
    both_worse = below & (needed_for_own == -np.inf)
    above |= both_worse & (gaps < curve_gaps * (1 - ROUNDING))
    below &= ~both_worse | (gaps > curve_gaps * (1 + ROUNDING))
    return _LogSavings(savings, above, below)


def _interpolate(curves: Array, logs: Array, log_labels: Array) -> Array:
    """Interpolate curves at some labels, log gap in log labels.

    Args:
        curves: ``(r, b)``.
        logs: log labels of the curves' points, ``(b,)``, increasing.
        log_labels: ``(m,)``, within the range of ``logs``.

    Returns:
        The curves' gaps, ``(r, m)``.
    """
    after = np.searchsorted(logs, log_labels)
    before = np.maximum(after - 1, 0)
    part = (log_labels - logs[before]) / np.maximum(logs[after] - logs[before], TINY)
    log_gaps = np.log(np.maximum(curves, TINY))
    between = np.exp(log_gaps[:, before] + part * (log_gaps[:, after] - log_gaps[:, before]))
    gaps: Array = np.where(logs[after] == log_labels, curves[:, after], between)
    return gaps


def _log_labels_needed(gaps: Array, curves: Array, labels: Array | NDArray[np.int64]) -> Array:
    """Compute the log labels at which curves first reach gaps, log gap in log labels.

    Args:
        gaps: ``(r, m)`` reward units.
        curves: ``(r, b)``, one for each row of gaps.
        labels: of the curves' points, ``(b,)``, increasing.

    Returns:
        ``(r, m)``; inf where a curve never gets as low, −inf where it begins lower.
    """
    logs = np.log(labels)
    best = np.minimum.accumulate(curves, axis=1)
    is_new = np.diff(best, axis=1, prepend=np.inf) < 0
    # The log labels at which the best gap so far was first reached.
    reached_at = np.maximum.accumulate(np.where(is_new, logs, -np.inf), axis=1)
    # The first point that is low enough; rounding must not make a curve miss its own gap.
    first = (best[:, None] > gaps[:, :, None] * (1 + ROUNDING)).sum(axis=2)
    after, before = np.minimum(first, len(logs) - 1), np.maximum(first - 1, 0)
    log_gaps = np.log(np.maximum(best, TINY))
    upper, lower = (np.take_along_axis(log_gaps, at, axis=1) for at in (before, after))
    start, end = (np.take_along_axis(reached_at, at, axis=1) for at in (before, after))
    fall = np.maximum(upper - lower, TINY)
    part = np.clip((upper - np.log(np.maximum(gaps, TINY))) / fall, 0, 1)
    needed: Array = np.where(first > 0, start + part * (end - start), end)
    needed[first == len(logs)] = np.inf
    needed[gaps > curves[:, :1] * (1 + ROUNDING)] = -np.inf
    return needed
