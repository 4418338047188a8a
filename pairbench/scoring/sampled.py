"""Estimates of gap and win rate from sampled completions, in log space."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pairbench.stats.bootstrap import Estimate, clip_interval

Array = NDArray[np.float64]

_NORMAL = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


class LogMean(NamedTuple):
    """Estimates of β log E exp(v/β) from draws of v, for each of n prompts.

    Attributes:
        values: jackknife estimates, ``(n,)`` in units of v.
        variances: of the values, ``(n,)``.
        effective: Kish's effective number of draws, (Σw)²/Σw² for w = exp(v/β), ``(n,)``.
    """

    values: Array
    variances: Array
    effective: Array


def log_mean_exp(draws: Array, beta: float) -> LogMean:
    """Estimate β log E exp(v/β) by the jackknife.

    Args:
        draws: of v, ``(n, R)``, R being 2 or more.
        beta: β > 0.
    """
    r = draws.shape[1]
    logits = draws / beta
    total = logsumexp(logits, axis=1)
    share = np.exp(logits - total[:, None])
    # If the largest draw outweighs the rest, 1 − share is rounding: the rest is summed directly.
    top = np.argmax(logits, axis=1)[:, None]
    rest = logits.copy()
    np.put_along_axis(rest, top, -np.inf, axis=1)
    np.put_along_axis(share, top, 0.0, axis=1)
    without = total[:, None] + np.log1p(-share)
    np.put_along_axis(without, top, logsumexp(rest, axis=1)[:, None], axis=1)
    full, leave_one_out = total - np.log(r), without - np.log(r - 1)
    mean = leave_one_out.mean(axis=1)
    squares = ((leave_one_out - mean[:, None]) ** 2).sum(axis=1)
    effective = np.exp(2 * total - logsumexp(2 * logits, axis=1))
    return LogMean(beta * (r * full - (r - 1) * mean), beta**2 * (r - 1) / r * squares, effective)


class Means(NamedTuple):
    """Means over draws for each of n prompts, with their variances.

    Attributes:
        means: ``(n,)``.
        variances: of the means, ``(n,)``.
    """

    means: Array
    variances: Array


def win_probability(rewards: Array, reference: Array) -> Means:
    """Estimate P(reward of a draw from π > that of one from π_ref), ties half, for each prompt.

    Every draw from π is compared with every draw from π_ref, and the variance is that of two-sample
    U-statistics (Hoeffding 1948): the sum over both samples of the variance of the mean share of
    comparisons that a draw wins.

    Args:
        rewards: of draws from π, ``(n, m)`` reward units.
        reference: of draws from π_ref, ``(n, R)`` reward units.
    """
    above = rewards[:, :, None] > reference[:, None, :]
    score = above + 0.5 * (rewards[:, :, None] == reference[:, None, :])
    by_policy, by_reference = sample_means(score.mean(axis=2)), sample_means(score.mean(axis=1))
    return Means(by_policy.means, by_policy.variances + by_reference.variances)


def sample_means(values: Array) -> Means:
    """Compute the mean over draws and its variance for each prompt.

    Args:
        values: ``(n, m)``, m being 2 or more.
    """
    return Means(values.mean(axis=1), values.var(axis=1, ddof=1) / values.shape[1])


def mean_interval(means: Array, variances: Array) -> Estimate:
    """Estimate the mean over prompts; its 95 % interval is conditional on the prompts.

    Args:
        means: ``(n,)``.
        variances: of the means, ``(n,)``.
    """
    value = float(means.mean())
    half_width = _NORMAL * float(np.sqrt(variances.sum())) / len(means)
    return Estimate(value, value - half_width, value + half_width)


def share_interval(means: Array, variances: Array) -> Estimate:
    """Estimate the mean of shares over prompts, with an interval clipped to [0, 1].

    Args:
        means: ``(n,)``.
        variances: of the means, ``(n,)``.
    """
    return clip_interval(mean_interval(means, variances), 0.0, 1.0)
