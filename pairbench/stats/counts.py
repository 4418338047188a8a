"""Tests of whether counts are equal in distribution."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from pairbench.stats.bootstrap import Array


def fisher_exact_test(first: NDArray[np.int64], second: NDArray[np.int64], n: int) -> Array:
    """Compute two-sided p-values of Fisher's exact test for m pairs of counts, ``(m,)``.

    Args:
        first: how often each of m events happened in n trials, ``(m,)``.
        second: how often it happened in n independent trials, ``(m,)``.
        n: the number of trials.
    """

    def log_choose(k: Array) -> Array:
        """log of n choose k, up to a constant."""
        in_range = (k >= 0) & (k <= n)
        k = np.where(in_range, k, 0)
        return np.where(in_range, -gammaln(k + 1.0) - gammaln(n - k + 1.0), -np.inf)

    k = np.arange(n + 1.0)[:, None]
    log_weight = log_choose(k) + log_choose(first + second - k)
    probability = np.exp(log_weight - log_weight.max(axis=0))
    probability /= probability.sum(axis=0)
    observed = probability[first, np.arange(len(first))]
    p_value: Array = np.where(probability <= observed * (1 + 1e-9), probability, 0.0).sum(axis=0)
    return p_value
