"""Interval estimates and paired comparisons over seeds, in one environment and over several.

All intervals are percentile intervals of one bootstrap over seeds, with the same resamples for all
designs, so that comparisons are paired: what a hard seed does to one design it does to the other.
For few seeds they are widened as Student's t widens a normal interval, without which five seeds
would call a fifth of all equal designs different. Over several environments, seeds are resampled
within each (:class:`Stratified`); interquartile mean, probability of improvement and performance
profile are those of Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
statistical precipice", arXiv 2108.13264, but for the pairing and the widening.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2000
Side = Literal["above", "below"]
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
    censored: Side | None = None


@lru_cache(maxsize=64)
def resamples(n_seeds: int, stratum: int = 0) -> NDArray[np.int64]:
    """Bootstrap resamples of the seeds, ``(DRAWS, n_seeds)``; always the same ones.

    Args:
        n_seeds: how many there are.
        stratum: where seeds of several environments are drawn, which one; each has its own.
    """
    rows = np.random.default_rng(stratum).integers(n_seeds, size=(DRAWS, n_seeds))
    rows.flags.writeable = False
    return rows


@lru_cache(maxsize=64)
def seed_weights(n_seeds: int, stratum: int = 0) -> Array:
    """What share of each resample each seed is, ``(DRAWS, n_seeds)``: they turn figures into means.

    Args:
        n_seeds: see :func:`resamples`.
        stratum: likewise.
    """
    rows = resamples(n_seeds, stratum) + n_seeds * np.arange(DRAWS)[:, None]
    counts = np.bincount(rows.ravel(), minlength=DRAWS * n_seeds).reshape(DRAWS, n_seeds)
    weights: Array = counts / n_seeds
    weights.flags.writeable = False
    return weights


def mean(values: Array) -> Estimate:
    """Mean over seeds of positive figures, ``values`` being ``(n_seeds,)``."""
    rows = resamples(len(values))
    return _estimate(values.mean(), values[rows].mean(axis=1), len(values))


def means(values: Array) -> tuple[Estimate, ...]:
    """:func:`mean` of each column of ``values``, ``(n_seeds, m)``."""
    draws = seed_weights(len(values)) @ values
    return _estimates(values.mean(axis=0), draws, len(values))


def signed_mean(values: Array) -> Estimate:
    """Mean over seeds of figures of either sign, ``values`` being ``(n_seeds,)``."""
    return signed_means(values[:, None])[0]


def signed_means(values: Array) -> tuple[Estimate, ...]:
    """:func:`signed_mean` of each column of ``values``, ``(n_seeds, m)``."""
    n = len(values)
    draws = values[resamples(n)].mean(axis=1)
    sample = Stratified(values.mean(axis=0)[:, None], draws[:, :, None], np.array([n]))
    return tuple(sample.means())


def ratio_of_means(values: Array, reference: Array) -> Estimate:
    """mean(values) / mean(reference), both ``(n_seeds,)`` and paired."""
    rows = resamples(len(values))
    draws = ratio(values[rows].mean(axis=1), reference[rows].mean(axis=1))
    return _estimate(ratio(values.mean(), reference.mean()).item(), draws, len(values))


def ratios_of_means(values: Array, reference: Array) -> tuple[Estimate, ...]:
    """:func:`ratio_of_means` of each column, both ``(n_seeds, m)``."""
    weights = seed_weights(len(values))
    draws = ratio(weights @ values, weights @ reference)
    return _estimates(ratio(values.mean(axis=0), reference.mean(axis=0)), draws, len(values))


def label_savings(
    gaps: Array, labels: float, reference: Array, reference_labels: Array | NDArray[np.int64]
) -> Estimate:
    """How many labels the reference needs for a design's gap, over those it needs for its own.

    The reference's mean gap is interpolated, log gap in log labels; points where it rises with
    more labels are left out, so that the first time counts. What the reference takes is read off
    in the same way, so that it saves nothing by itself (docs/theory.md, section 4).

    Args:
        gaps: the design's gap in the end, ``(n_seeds,)``.
        labels: how many labels it took, on average.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_labels: labels that the reference took, ``(n_budgets,)``, increasing.

    Returns:
        1 means as good as the reference. Censored where the reference never gets as good, or was
        better at its first budget; if it ended worse than it was there, only who is better is told.
        Savings beyond its last budget over the labels that were taken are not counted.
    """
    here, drawn = _reads(gaps[:, None], np.array([labels]), reference, reference_labels)
    value, draws = round(float(np.exp(here.savings.item())), 12), np.exp(drawn.savings[:, 0])
    draws[drawn.above[:, 0]], draws[drawn.below[:, 0]] = np.inf, 0.0
    estimate = _estimate(value, draws, len(gaps))
    if here.above.item():
        return Estimate(estimate.value, min(estimate.low, value), np.inf, "above")
    if here.below.item():
        return Estimate(estimate.value, 0.0, max(estimate.high, value), "below")
    return estimate


def ranks(gaps: Array) -> list[int]:
    """Ranks with ties in one environment, the smallest mean gap first.

    Args:
        gaps: ``(n_designs, n_seeds)``, paired by seed.

    Returns:
        See :meth:`Stratified.ranks`.
    """
    n = gaps.shape[1]
    means, draws = gaps.mean(axis=1), gaps[:, resamples(n)].mean(axis=2)
    return Stratified(-means[:, None], -draws.T[:, :, None], np.array([n])).ranks()


_TINY = 1e-300  # a gap of exactly 0 has no logarithm
_ROUNDING = 1e-12


class _Read(NamedTuple):
    """What curves say of gaps.

    Attributes:
        savings: log savings, ``(r, m)``.
        above: where they are more, or may be, ``(r, m)``.
        below: where they are less, or may be, ``(r, m)``.
    """

    savings: Array
    above: NDArray[np.bool_]
    below: NDArray[np.bool_]


def _reads(
    gaps: Array,
    labels: Array,
    reference: Array,
    reference_labels: Array | NDArray[np.int64],
    stratum: int = 0,
) -> tuple[_Read, _Read]:
    """What the reference's mean curve says of mean gaps, and that of every resample.

    See :func:`log_savings` for the arguments.
    """
    weights = seed_weights(len(gaps), stratum)
    return (
        _read(gaps.mean(axis=0)[None], labels, reference.mean(axis=0)[None], reference_labels),
        _read(weights @ gaps, labels, weights @ reference, reference_labels),
    )


def _read(
    gaps: Array, labels: Array, curves: Array, curve_labels: Array | NDArray[np.int64]
) -> _Read:
    """Log labels at which curves reach gaps, less those at which they reach their own.

    Args:
        gaps: ``(r, m)``.
        labels: that they took, ``(m,)``.
        curves: ``(r, b)``, one for each row of gaps.
        curve_labels: of the curves' points, ``(b,)``, increasing.
    """
    logs = np.log(curve_labels)
    took = np.log(labels).clip(logs[0], logs[-1])
    after = np.searchsorted(logs, took)
    before = np.maximum(after - 1, 0)
    part = (took - logs[before]) / np.maximum(logs[after] - logs[before], _TINY)
    height = np.log(np.maximum(curves, _TINY))
    between = np.exp(height[:, before] + part * (height[:, after] - height[:, before]))
    own = np.where(logs[after] == took, curves[:, after], between)
    needed, itself = _needed(gaps, curves, curve_labels), _needed(own, curves, curve_labels)
    # What labels are worth to the reference: less than they are where it got worse by them.
    worth = itself.clip(logs[0], logs[-1]) - took + np.log(labels)
    least, most = logs[0] - worth, logs[-1] - np.log(labels)
    savings = (needed - worth).clip(least, most)
    above, below = needed - worth > most + _ROUNDING, needed == -np.inf
    # Where neither is as good as the curve's beginning, it only tells which of them is better.
    neither = below & (itself == -np.inf)
    above |= neither & (gaps < own * (1 - _ROUNDING))
    below &= ~neither | (gaps > own * (1 + _ROUNDING))
    return _Read(savings, above, below)


def _needed(gaps: Array, curves: Array, labels: Array | NDArray[np.int64]) -> Array:
    """Log labels at which curves first reach gaps, log gap interpolated in log labels.

    Args:
        gaps: ``(r, m)``.
        curves: ``(r, b)``, one for each row of gaps.
        labels: of the curves' points, ``(b,)``, increasing.

    Returns:
        ``(r, m)``; ±inf where a curve never gets as low, or begins lower.
    """
    logs = np.log(labels)
    best = np.minimum.accumulate(curves, axis=1)
    new = np.diff(best, axis=1, prepend=np.inf) < 0
    # The log labels at which the best so far was first reached.
    since = np.maximum.accumulate(np.where(new, logs, -np.inf), axis=1)
    # The first point that is low enough; a gap of one's own is not missed by a rounding error.
    first = (best[:, None] > gaps[:, :, None] * (1 + _ROUNDING)).sum(axis=2)
    after, before = np.minimum(first, len(logs) - 1), np.maximum(first - 1, 0)
    height = np.log(np.maximum(best, _TINY))
    upper, lower = (np.take_along_axis(height, at, axis=1) for at in (before, after))
    left, right = (np.take_along_axis(since, at, axis=1) for at in (before, after))
    fall = np.maximum(upper - lower, _TINY)
    part = np.clip((upper - np.log(np.maximum(gaps, _TINY))) / fall, 0, 1)
    needed: Array = np.where(first > 0, left + part * (right - left), right)
    needed[first == len(logs)] = np.inf
    needed[gaps > curves[:, :1] * (1 + _ROUNDING)] = -np.inf
    return needed


# -- several environments ------------------------------------------------------------------------


@dataclass(frozen=True)
class Stratified:
    """A figure of m designs in k environments, and what it is in every resample.

    Seeds are resampled within each environment, apart from the others', and for all designs alike:
    a stratified, paired bootstrap. What is estimated is the mean over environments.

    Attributes:
        values: ``(m, k)``.
        draws: ``(DRAWS, m, k)``.
        seeds: how many each environment has, ``(k,)``.
    """

    values: Array
    draws: Array
    seeds: NDArray[np.int64]

    def of(self, designs: Sequence[int]) -> "Stratified":
        """The same of some of the designs."""
        chosen = list(designs)
        return Stratified(self.values[chosen], self.draws[:, chosen], self.seeds)

    def means(self) -> list[Estimate]:
        """The mean of each design, with an interval on the scale of the figure.

        With one seed in any environment, the interval tells nothing.
        """
        centres = self.values.mean(axis=1)
        if self.seeds.min() == 1:
            return [Estimate(float(centre), -np.inf, np.inf) for centre in centres]
        deviations = self._deviations()
        ends = np.quantile(deviations.mean(axis=2), _ENDS, axis=0)
        low, high = centres + self._students((deviations**2).mean(axis=0)) * ends
        return [
            Estimate(float(centre), float(a), float(b))
            for centre, a, b in zip(centres, low, high, strict=True)
        ]

    @cached_property
    def better(self) -> NDArray[np.bool_]:
        """Whether the row's design is better beyond doubt than the column's, ``(m, m)``.

        It is where the interval of the paired difference of their means is above 0.
        """
        m = len(self.values)
        found = np.zeros((m, m), dtype=bool)
        if self.seeds.min() == 1:
            return found
        centres, deviations = self.values.mean(axis=1), self._deviations()
        means = deviations.mean(axis=2)
        products = np.einsum("rik,rjk->ijk", deviations, deviations, optimize=True) / DRAWS
        squares = np.einsum("iik->ik", products)
        apart = np.maximum(squares[:, None] + squares - 2 * products, 0)
        wide = self._students(apart)
        for i in range(m):
            low = np.quantile(means[:, [i]] - means, _ENDS[0], axis=0)
            found[i] = centres[i] - centres + wide[i] * low > 0
        return found

    def ranks(self) -> list[int]:
        """Ranks with ties, the largest mean first: 1 + the number of designs in better groups.

        Equal ranks are ties. Two designs tie if neither is better beyond doubt, and a tie takes in
        all that lie between. So a group ends where every design down to there is better than every
        one below, and a design and its copy have different ranks no more often than one is better
        beyond doubt by chance. To count the better designs of each, as :meth:`places` does, gives
        finer ranks, and different ones to many copies (docs/theory.md, section 4).
        """
        order = np.argsort(-self.values.mean(axis=1), kind="stable")
        better = self.better[np.ix_(order, order)]
        found, rank = [0] * len(order), 1
        for place, design in enumerate(order):
            if better[:place, place:].all():
                rank = place + 1
            found[design] = rank
        return found

    def places(self) -> list[tuple[int, int]]:
        """The first and the last rank that each design may have, among designs without ties.

        The first is 1 + the number of designs that are better beyond doubt, pair by pair, and the
        last leaves room for those that are worse.
        """
        ahead, behind = self.better.sum(axis=0), self.better.sum(axis=1)
        last = len(self.values)
        return [(1 + int(a), last - int(b)) for a, b in zip(ahead, behind, strict=True)]

    def _deviations(self) -> Array:
        """Draws less values, by environment as wide as those of an estimate without bias."""
        return (self.draws - self.values) * np.sqrt(self.seeds / (self.seeds - 1))

    def _students(self, squares: Array) -> Array:
        """Student's t over the normal quantile, ``(…,)``: variances are estimated, too.

        Degrees of freedom are Welch and Satterthwaite's, environments having their own variances.

        Args:
            squares: mean squared deviations by environment, ``(…, k)``.
        """
        shares = squares / np.maximum(squares.sum(axis=-1, keepdims=True), _TINY)
        freedom = 1 / np.maximum((shares**2 / (self.seeds - 1)).sum(axis=-1), _TINY)
        return _students(freedom)


def log_savings(
    gaps: Array,
    labels: Array,
    reference: Array,
    reference_labels: Array,
    *,
    stratum: int,
) -> tuple[Array, Array]:
    """Log label savings of m designs in one environment, and in every resample.

    Savings beyond the reference's curve count as those at its end.

    Args:
        gaps: the designs' gaps in the end, ``(n_seeds, m)``.
        labels: how many labels each took, on average, ``(m,)``.
        reference: the reference's gaps, ``(n_seeds, n_budgets)``, paired by seed.
        reference_labels: labels that the reference took, ``(n_budgets,)``, increasing.
        stratum: which environment it is.

    Returns:
        ``(m,)`` and ``(DRAWS, m)``.
    """
    here, drawn = _reads(gaps, labels, reference, reference_labels, stratum)
    # Rounded, so that designs that chose the same pairs do not differ by rounding errors.
    return np.round(here.savings[0], 12), np.round(drawn.savings, 12)


def interquartile_mean(values: Sequence[Array]) -> Estimate:
    """Mean of the middle half of all runs: what outliers and single environments do not decide.

    Args:
        values: finite figures of one design, ``(n_seeds,)`` for each environment.
    """
    seeds = np.array([len(own) for own in values])

    def trimmed(rows: Array) -> Array:
        """``(r, n)`` to ``(r,)``."""
        cut = rows.shape[1] // 4
        found: Array = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(axis=1)
        return found

    pooled = np.concatenate(values)[None]
    drawn = np.concatenate([own[resamples(len(own), k)] for k, own in enumerate(values)], axis=1)
    centre = float(trimmed(pooled)[0])
    if seeds.min() == 1:
        return Estimate(centre, -np.inf, np.inf)
    # All runs are one sample here, of as many degrees of freedom as there are within environments.
    within, total = int((seeds - 1).sum()), int(seeds.sum())
    wide = np.sqrt(total / within) * _students(within)
    low, high = centre + wide * (np.quantile(trimmed(drawn), _ENDS) - centre)
    return Estimate(centre, float(low), float(high))


def probability_of_improvement(one: Sequence[Array], other: Sequence[Array]) -> Estimate:
    """P(a run of one has a smaller figure than a run of the other), the mean over environments.

    Ties count half, as in Mann and Whitney's statistic: any run of one meets any run of the other
    in the same environment. Resamples are of seeds, for both alike.

    Args:
        one: ``(n_seeds,)`` for each environment.
        other: likewise, paired by seed.
    """
    values, draws = [], []
    for k, (own, rival) in enumerate(zip(one, other, strict=True)):
        wins = (own[:, None] < rival) + 0.5 * (own[:, None] == rival)
        weights = seed_weights(len(own), k)
        values.append(wins.mean())
        draws.append(((weights @ wins) * weights).sum(axis=1))
    seeds = np.array([len(own) for own in one])
    sample = Stratified(np.array([values]), np.stack(draws, axis=1)[:, None], seeds)
    return _within(sample.means()[0], 0.0, 1.0)


@dataclass(frozen=True)
class Profile:
    """Shares of runs that are as good as thresholds, for plotting.

    Attributes:
        thresholds: ``(t,)``.
        shares: mean over environments, ``(t,)``.
        low: lower ends of their intervals, one by one, ``(t,)``.
        high: upper ends.
    """

    thresholds: Array
    shares: Array
    low: Array
    high: Array


def performance_profile(values: Sequence[Array], thresholds: Array) -> Profile:
    """Share of runs whose figure is at most each threshold: higher is better.

    Args:
        values: figures of one design, ``(n_seeds,)`` for each environment, such as its gap over
            the reference's.
        thresholds: ``(t,)``.
    """
    reached = [(own[:, None] <= thresholds).astype(np.float64) for own in values]
    draws = [seed_weights(len(own), k) @ own for k, own in enumerate(reached)]
    sample = Stratified(
        np.stack([own.mean(axis=0) for own in reached], axis=1),
        np.stack(draws, axis=2),
        np.array([len(own) for own in values]),
    )
    found = [_within(estimate, 0.0, 1.0) for estimate in sample.means()]
    shares, low, high = np.array([(e.value, e.low, e.high) for e in found]).T
    return Profile(thresholds, shares, low, high)


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
    return float(_students(n - 1) * np.sqrt(n / (n - 1)))


def _students(freedom: Array | int) -> Array:
    """Student's t over the normal quantile: what knowing the variance would save."""
    found: Array = stdtrit(freedom, _ENDS[1]) / stdtrit(np.inf, _ENDS[1])
    return found


def _within(estimate: Estimate, least: float, most: float) -> Estimate:
    """The same with an interval that ends where the figure does."""
    return Estimate(estimate.value, max(estimate.low, least), min(estimate.high, most))


def ratio(value: Array, reference: Array) -> Array:
    """Their ratio, 1 where both are 0."""
    value, reference = np.asarray(value), np.asarray(reference)
    ratio = np.where(value > 0, np.inf, 1.0)
    return np.divide(value, reference, out=ratio, where=reference > 0)


def _estimate(value: float, draws: Array, n: int) -> Estimate:
    """Value and interval of a positive figure; for one seed, the interval tells nothing."""
    return _estimates(np.array([value]), draws[:, None], n)[0]


def _estimates(values: Array, draws: Array, n: int) -> tuple[Estimate, ...]:
    """The same of m figures, ``(m,)`` and ``(DRAWS, m)``."""
    if n == 1:
        return tuple(Estimate(float(value), 0.0, np.inf) for value in values)
    centres = np.log(np.maximum(values, _TINY))
    # In logs, because the figures are positive; draws may be 0 or infinite, so none are averaged.
    with np.errstate(divide="ignore"):
        ends = np.log(np.quantile(draws, _ENDS, axis=0, method="inverted_cdf"))
    found = np.exp(centres + _widening(n) * (ends - centres))
    found[:, (values == 0) & (ends[1] == -np.inf)] = 0.0
    return tuple(
        Estimate(float(value), float(low), float(high))
        for value, low, high in zip(values, *found, strict=True)
    )
