"""Statistics over several environments: means, ranks, performance profiles.

Seeds are resampled within each environment (:class:`StratifiedBootstrap`).
Interquartile mean, probability of improvement and performance profile are those of Agarwal et al.
2021, "Deep reinforcement learning at the edge of the statistical precipice", arXiv 2108.13264,
except that resamples are paired and intervals are widened for few seeds
(:mod:`pairbench.stats.bootstrap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pairbench.stats.bootstrap import (
    DRAWS,
    ENDS,
    TINY,
    Array,
    Estimate,
    bootstrap_weights,
    clip_interval,
    resample_indices,
    t_inflation,
)


def signed_mean(values: Array) -> Estimate:
    """Estimate the mean over seeds of a figure of either sign.

    Args:
        values: ``(n_seeds,)``.
    """
    return signed_means(values[:, None])[0]


def signed_means(values: Array) -> tuple[Estimate, ...]:
    """Estimate the mean over seeds of each of m figures of either sign.

    Args:
        values: ``(n_seeds, m)``.
    """
    n = len(values)
    draws = values[resample_indices(n)].mean(axis=1)
    sample = StratifiedBootstrap(values.mean(axis=0)[:, None], draws[:, :, None], np.array([n]))
    return tuple(sample.means())


def ranks(gaps: Array) -> list[int]:
    """Rank designs in one environment, with ties, the smallest mean gap first.

    Args:
        gaps: ``(n_designs, n_seeds)``, paired by seed.

    Returns:
        Ranks from 1; see :meth:`StratifiedBootstrap.ranks` for ties.
    """
    n = gaps.shape[1]
    means, draws = gaps.mean(axis=1), gaps[:, resample_indices(n)].mean(axis=2)
    return StratifiedBootstrap(-means[:, None], -draws.T[:, :, None], np.array([n])).ranks()


@dataclass(frozen=True)
class StratifiedBootstrap:
    """Stratified, paired bootstrap of a figure of m designs in k environments.

    Seeds are resampled within each environment, independently of the other environments, and with
    the same resamples for all designs. The estimand is the mean over environments.

    Attributes:
        values: the figure, ``(m, k)``.
        draws: the figure in each resample, ``(DRAWS, m, k)``.
        seeds: the number of seeds of each environment, ``(k,)``.
    """

    values: Array
    draws: Array
    seeds: NDArray[np.int64]

    def subset(self, designs: Sequence[int]) -> "StratifiedBootstrap":
        """Return the bootstrap of a subset of the designs.

        Args:
            designs: indices of the designs.
        """
        index = list(designs)
        return StratifiedBootstrap(self.values[index], self.draws[:, index], self.seeds)

    def means(self) -> list[Estimate]:
        """Estimate the mean of each design over environments.

        Intervals are on the scale of the figure; with a single seed in any environment they are
        unbounded.
        """
        centres = self.values.mean(axis=1)
        if self.seeds.min() == 1:
            return [Estimate(float(centre), -np.inf, np.inf) for centre in centres]
        deviations = self._deviations()
        ends = np.quantile(deviations.mean(axis=2), ENDS, axis=0)
        low, high = centres + self._t_inflation((deviations**2).mean(axis=0)) * ends
        return [
            Estimate(float(centre), float(a), float(b))
            for centre, a, b in zip(centres, low, high, strict=True)
        ]

    @cached_property
    def better(self) -> NDArray[np.bool_]:
        """Mask ``(m, m)`` of where the row's design is significantly better than the column's.

        It is if the interval of the paired difference of their means lies above 0.
        """
        m = len(self.values)
        better = np.zeros((m, m), dtype=bool)
        if self.seeds.min() == 1:
            return better
        centres, deviations = self.values.mean(axis=1), self._deviations()
        means = deviations.mean(axis=2)
        products = np.einsum("rik,rjk->ijk", deviations, deviations, optimize=True) / DRAWS
        squares = np.einsum("iik->ik", products)
        difference_squares = np.maximum(squares[:, None] + squares - 2 * products, 0)
        inflation = self._t_inflation(difference_squares)
        for i in range(m):
            low = np.quantile(means[:, [i]] - means, ENDS[0], axis=0)
            better[i] = centres[i] - centres + inflation[i] * low > 0
        return better

    # Why: docs/decisions/031-ties-include-the-designs-between.md
    # Why: docs/decisions/032-tie-groups-end-where-all-above-beat-all-below.md
    def ranks(self) -> list[int]:
        """Rank the designs with ties, the largest mean first.

        A rank is 1 + the number of designs in better groups; equal ranks are ties. Two designs tie
        if neither is significantly better, and a tie takes in all designs between them. So a group
        ends where every design down to there is better than every one below, and a design and its
        copy have different ranks no more often than one is significantly better by chance. To count
        the better designs of each, as :meth:`rank_bounds` does, gives finer ranks, and different
        ones to many copies (docs/theory.md, section 4).
        """
        order = np.argsort(-self.values.mean(axis=1), kind="stable")
        better = self.better[np.ix_(order, order)]
        ranks, rank = [0] * len(order), 1
        for position, design in enumerate(order):
            if better[:position, position:].all():
                rank = position + 1
            ranks[design] = rank
        return ranks

    def rank_bounds(self) -> list[tuple[int, int]]:
        """Bound the rank that each design may have in a ranking without ties.

        The first rank is 1 + the number of designs that are significantly better, pair by pair, and
        the last leaves room for those that are significantly worse.
        """
        n_better, n_worse = self.better.sum(axis=0), self.better.sum(axis=1)
        m = len(self.values)
        return [(1 + int(a), m - int(b)) for a, b in zip(n_better, n_worse, strict=True)]

    def _deviations(self) -> Array:
        """Compute draws less values, ``(DRAWS, m, k)``, scaled to have unbiased variances."""
        return (self.draws - self.values) * np.sqrt(self.seeds / (self.seeds - 1))

    # Why: docs/decisions/033-bootstrap-intervals-are-widened.md
    def _t_inflation(self, squares: Array) -> Array:
        """Compute t(ν)/z of means over environments, ``(…,)``.

        The degrees of freedom ν are Welch and Satterthwaite's, since environments differ in
        variance.

        Args:
            squares: mean squared deviations by environment, ``(…, k)``.
        """
        shares = squares / np.maximum(squares.sum(axis=-1, keepdims=True), TINY)
        freedom = 1 / np.maximum((shares**2 / (self.seeds - 1)).sum(axis=-1), TINY)
        return t_inflation(freedom)


def interquartile_mean(values: Sequence[Array]) -> Estimate:
    """Estimate the mean of the middle half of all runs, which is robust to outliers.

    Args:
        values: finite figures of one design, ``(n_seeds,)`` for each environment.
    """
    seeds = np.array([len(runs) for runs in values])
    resampled = [runs[resample_indices(len(runs), k)] for k, runs in enumerate(values)]
    centre = float(_trimmed_means(np.concatenate(values)[None])[0])
    if seeds.min() == 1:
        return Estimate(centre, -np.inf, np.inf)
    draws = _trimmed_means(np.concatenate(resampled, axis=1))
    # All runs are one sample, with as many degrees of freedom as there are within environments.
    freedom, total = int((seeds - 1).sum()), int(seeds.sum())
    inflation = np.sqrt(total / freedom) * t_inflation(freedom)
    low, high = centre + inflation * (np.quantile(draws, ENDS) - centre)
    return Estimate(centre, float(low), float(high))


def _trimmed_means(rows: Array) -> Array:
    """Compute the mean of the middle half of each row, ``(r, n)`` to ``(r,)``."""
    n_cut = rows.shape[1] // 4
    means: Array = np.sort(rows, axis=1)[:, n_cut : rows.shape[1] - n_cut].mean(axis=1)
    return means


def probability_of_improvement(values: Sequence[Array], rivals: Sequence[Array]) -> Estimate:
    """Estimate P(a design's run has a smaller figure than a rival's), mean over environments.

    Ties count half, as in Mann and Whitney's statistic: every run of the design is compared with
    every run of the rival in the same environment. Both have the same resamples of seeds.

    Args:
        values: figures of the design, ``(n_seeds,)`` for each environment.
        rivals: figures of the rival design, paired by seed.
    """
    probabilities, draws = [], []
    for k, (runs, rival_runs) in enumerate(zip(values, rivals, strict=True)):
        wins = (runs[:, None] < rival_runs) + 0.5 * (runs[:, None] == rival_runs)
        weights = bootstrap_weights(len(runs), k)
        probabilities.append(wins.mean())
        draws.append(((weights @ wins) * weights).sum(axis=1))
    seeds = np.array([len(runs) for runs in values])
    sample = StratifiedBootstrap(np.array([probabilities]), np.stack(draws, axis=1)[:, None], seeds)
    return clip_interval(sample.means()[0], 0.0, 1.0)


@dataclass(frozen=True)
class Profile:
    """Performance profile: the share of runs at or below each threshold, for plotting.

    Attributes:
        thresholds: ``(t,)``.
        shares: means over environments, ``(t,)``.
        low: lower ends of their pointwise intervals, ``(t,)``.
        high: upper ends of their pointwise intervals, ``(t,)``.
    """

    thresholds: Array
    shares: Array
    low: Array
    high: Array


def performance_profile(values: Sequence[Array], thresholds: Array) -> Profile:
    """Estimate the share of runs whose figure is at most each threshold.

    Args:
        values: figures of one design, ``(n_seeds,)`` for each environment, such as its gap over
            the reference's.
        thresholds: ``(t,)``.
    """
    reached = [(runs[:, None] <= thresholds).astype(np.float64) for runs in values]
    draws = [bootstrap_weights(len(runs), k) @ runs for k, runs in enumerate(reached)]
    sample = StratifiedBootstrap(
        np.stack([runs.mean(axis=0) for runs in reached], axis=1),
        np.stack(draws, axis=2),
        np.array([len(runs) for runs in values]),
    )
    estimates = [clip_interval(estimate, 0.0, 1.0) for estimate in sample.means()]
    shares, low, high = np.array([(e.value, e.low, e.high) for e in estimates]).T
    return Profile(thresholds, shares, low, high)
