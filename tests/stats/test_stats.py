"""Estimates, paired comparisons and label savings against cases worked out by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import fisher_exact, mannwhitneyu, trim_mean

from pairbench.stats.bootstrap import (
    DRAWS,
    Estimate,
    bootstrap_weights,
    mean,
    means,
    ratio_of_means,
    ratios_of_means,
    resample_indices,
)
from pairbench.stats.counts import fisher_exact_test
from pairbench.stats.savings import label_savings, log_savings
from pairbench.stats.stratified import (
    StratifiedBootstrap,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    ranks,
    signed_mean,
    signed_means,
)

Array = NDArray[np.float64]
BUDGETS = np.array([50, 100, 200, 400, 800])
FALLING = 10.0 / BUDGETS  # a gap that falls as one over the labels


def figures(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def table(curve: Array, n_seeds: int = 3) -> Array:
    """The same curve for each seed, so that intervals have no width."""
    return np.tile(curve, (n_seeds, 1))


def test_a_mean_without_spread_has_an_interval_without_width() -> None:
    assert mean(np.full(5, 0.25)) == Estimate(0.25, 0.25, 0.25)


@given(arrays(np.float64, 6, elements=st.floats(-10, 10)), st.floats(-100, 100))
def test_a_signed_mean_moves_with_its_figures(values: Array, shift: float) -> None:
    here, there = signed_mean(values), signed_mean(values + shift)
    assert here.low <= here.value <= here.high
    np.testing.assert_allclose(
        [there.value, there.low, there.high],
        np.array([here.value, here.low, here.high]) + shift,
        atol=1e-9,
    )
    assert signed_mean(-values).high == pytest.approx(-here.low, rel=0.2, abs=1e-9)


def test_one_seed_tells_no_interval() -> None:
    assert signed_mean(np.array([-0.3])) == Estimate(-0.3, -np.inf, np.inf)
    assert mean(np.array([0.3])) == Estimate(0.3, 0.0, np.inf)
    assert ranks(np.array([[0.3], [0.1]])) == [1, 1]


def test_the_interval_of_two_seeds_is_known() -> None:
    """Resampling {1, 4} gives 1, 2.5, 4, so the percentile interval is all, from 1 to 4.

    Student's t for two seeds widens it, in logs, by 12.706 / 1.960 times √2.
    """
    widening = 12.7062 / 1.95996 * np.sqrt(2)
    estimate = mean(np.array([1.0, 4.0]))
    assert estimate.value == 2.5
    assert estimate.low == pytest.approx(2.5 * (1 / 2.5) ** widening, rel=1e-4)
    assert estimate.high == pytest.approx(2.5 * (4 / 2.5) ** widening, rel=1e-4)


@pytest.mark.parametrize("seeds", [3, 5, 10, 30])
def test_equal_designs_seldom_differ_however_few_the_seeds(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    apart = [ranks(rng.exponential(size=(2, seeds))) != [1, 1] for _ in range(300)]
    assert np.mean(apart) < 0.09


def test_an_interval_is_about_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3, 1, size=400)
    estimate = mean(values)
    error = values.std() / np.sqrt(400)
    assert estimate.value == values.mean()
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = [e.low <= 1.0 <= e.high for e in (mean(rng.exponential(size=30)) for _ in range(400))]
    assert 0.87 <= np.mean(held) <= 0.98


def test_estimates_are_always_the_same() -> None:
    values = np.random.default_rng(2).exponential(size=12)
    assert mean(values) == mean(values.copy())
    assert resample_indices(12).shape == (DRAWS, 12)
    np.testing.assert_array_equal(resample_indices(12), resample_indices(12))


def test_environments_have_resamples_of_their_own() -> None:
    assert (resample_indices(12, 1) != resample_indices(12)).any()
    np.testing.assert_array_equal(resample_indices(12, 0), resample_indices(12))


@pytest.mark.parametrize("stratum", [0, 3])
def test_weights_turn_figures_into_the_means_of_resamples(stratum: int) -> None:
    values = np.random.default_rng(3).normal(size=(7, 2))
    expected = values[resample_indices(7, stratum)].mean(axis=1)
    np.testing.assert_allclose(bootstrap_weights(7, stratum) @ values, expected, atol=1e-14)


def test_columns_are_estimated_as_each_would_be_alone() -> None:
    values, reference = np.random.default_rng(4).exponential(size=(2, 9, 3))
    for many, one in (
        (means(values), [mean(column) for column in values.T]),
        (signed_means(values), [signed_mean(column) for column in values.T]),
        (
            ratios_of_means(values, reference),
            [ratio_of_means(a, b) for a, b in zip(values.T, reference.T, strict=True)],
        ),
    ):
        np.testing.assert_allclose([figures(e) for e in many], [figures(e) for e in one])


def test_a_ratio_is_paired_by_seed() -> None:
    reference = np.array([1.0, 10.0, 100.0])
    estimate = ratio_of_means(2 * reference, reference)
    np.testing.assert_allclose(dataclasses.astuple(estimate)[:3], 2)
    unpaired = ratio_of_means(2 * reference[::-1], reference)
    assert unpaired.value == pytest.approx(2)
    assert unpaired.high > 4


def test_a_ratio_is_one_of_means_and_not_a_mean_of_ratios() -> None:
    assert ratio_of_means(np.array([1.0, 3.0]), np.array([2.0, 2.0])).value == 1
    assert ratio_of_means(np.array([1.0, 3.0]), np.array([1.0, 6.0])).value == pytest.approx(4 / 7)


# -- label savings -------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [50, 100, 200, 400])
def test_savings_are_two_for_a_curve_shifted_by_a_factor_of_two(budget: int) -> None:
    gaps = np.full(3, 10 / (2 * budget))
    estimate = label_savings(gaps, budget, table(FALLING), BUDGETS)
    np.testing.assert_allclose(dataclasses.astuple(estimate)[:3], 2)
    assert estimate.censored is None


@settings(max_examples=30)
@given(
    factor=st.floats(0.51, 3.9),
    slope=st.floats(0.3, 3),
    level=st.floats(1e-3, 1e3),
)
def test_savings_are_exact_between_budgets_for_any_power_law(
    factor: float, slope: float, level: float
) -> None:
    gaps = np.full(3, level * (200 * factor) ** -slope)
    curve = level * BUDGETS.astype(float) ** -slope
    estimate = label_savings(gaps, 200, table(curve), BUDGETS)
    assert estimate.value == pytest.approx(factor)
    assert estimate.censored is None


def test_savings_interpolate_the_logarithms() -> None:
    """Halfway, on the log scale, from a gap of 0.1 to 0.05 lies the middle of 100 and 400."""
    curve = table(np.array([0.1, 0.05]))
    estimate = label_savings(np.full(3, np.sqrt(0.1 * 0.05)), 100, curve, np.array([100, 400]))
    assert estimate.value == pytest.approx(2)


def test_savings_of_the_reference_itself_are_one() -> None:
    spread = table(FALLING) * np.array([[0.5], [1.0], [1.5]])
    for i, budget in enumerate(BUDGETS):
        estimate = label_savings(spread[:, i], int(budget), spread, BUDGETS)
        np.testing.assert_allclose(dataclasses.astuple(estimate)[:3], 1)
        assert estimate.censored is None


def test_a_gap_that_the_reference_never_reaches_is_censored_above() -> None:
    estimate = label_savings(np.full(3, 0.001), 100, table(FALLING), BUDGETS)
    assert estimate == Estimate(pytest.approx(8), pytest.approx(8), np.inf, "above")  # type: ignore[arg-type]


def test_a_gap_worse_than_the_references_first_is_censored_below() -> None:
    estimate = label_savings(np.full(3, 1.0), 400, table(FALLING), BUDGETS)
    assert estimate == Estimate(pytest.approx(1 / 8), 0.0, pytest.approx(1 / 8), "below")  # type: ignore[arg-type]


@pytest.mark.parametrize(("gap", "value"), [(10 / 800, 2.0), (10 / 50, 1 / 8)])
def test_a_gap_at_either_end_of_the_curve_is_not_censored(gap: float, value: float) -> None:
    estimate = label_savings(np.full(3, gap), 400, table(FALLING), BUDGETS)
    assert estimate.value == pytest.approx(value)
    assert estimate.censored is None


def test_the_first_time_counts_where_the_reference_gets_worse_again() -> None:
    curve = table(np.array([0.4, 0.1, 0.3, 0.2, 0.05]))
    for gap, labels in ((0.4, 50), (0.1, 100), (0.2, np.exp(np.log(50) + np.log(2) / 2))):
        estimate = label_savings(np.full(3, gap), 100, curve, BUDGETS)
        assert estimate.value == pytest.approx(labels / 100)
    between = label_savings(np.full(3, 0.0999), 100, curve, BUDGETS)
    assert 1 < between.value < 1.01


def test_a_reference_that_never_improves_only_tells_who_is_better() -> None:
    rising = table(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    better, same, between, worse = (
        label_savings(np.full(3, gap), 100, rising, BUDGETS) for gap in (0.05, 0.2, 0.15, 0.3)
    )
    assert [e.value for e in (better, same, between, worse)] == pytest.approx([8, 1, 1, 1])
    # The others are not as good as the reference's beginning, but neither is it.
    sides = [e.censored for e in (better, same, between, worse)]
    assert sides == ["above", None, "above", "below"]
    assert [between.low, between.high] == pytest.approx([1, np.inf])
    # Where resamples do not agree on who is better, nothing is told.
    noisy = label_savings(np.array([0.1, 0.2, 0.31]), 100, rising, BUDGETS)
    assert (noisy.low, noisy.high, noisy.censored) == (0, np.inf, "below")


def test_what_labels_took_from_the_reference_is_no_fault_of_the_design() -> None:
    """At 400 labels it is as bad as it was at 100, so that 200 labels' gap is worth twice that."""
    curve = table(np.array([0.4, 0.2, 0.1, 0.2, 0.05]))
    for gap, value in ((0.1, 2.0), (0.2, 1.0), (0.4, 0.5), (np.sqrt(0.1 * 0.05), 4.0)):
        estimate = label_savings(np.full(3, gap), 400, curve, BUDGETS)
        # The curve ends at twice the labels.
        assert estimate.value == pytest.approx(min(value, 2))
        assert estimate.censored == ("above" if value > 2 else None)


@settings(max_examples=50)
@given(
    reference=arrays(np.float64, (4, 5), elements=st.floats(0.001, 10)),
    place=st.integers(0, 4),
    between=st.floats(0.3, 3),
)
def test_a_copy_of_the_reference_saves_nothing_whatever_its_curve(
    reference: Array, place: int, between: float
) -> None:
    gaps = reference[:, place]
    alone = label_savings(gaps, int(BUDGETS[place]), reference, BUDGETS)
    np.testing.assert_allclose(dataclasses.astuple(alone)[:3], 1)
    assert alone.censored is None
    took = np.array([BUDGETS[place]])
    value, draws = log_savings(gaps[:, None], took, reference, BUDGETS, stratum=1)
    np.testing.assert_allclose(value, 0, atol=1e-9)
    np.testing.assert_allclose(draws, 0, atol=1e-9)
    # A gap that is a factor off is worth at least, or at most, the reference's own labels.
    other = label_savings(gaps * between, int(BUDGETS[place]), reference, BUDGETS)
    assert other.value >= 1 - 1e-9 if between <= 1 else other.value <= 1 + 1e-9


def test_gaps_of_zero_have_no_logarithm_and_do_no_harm() -> None:
    curve = table(np.array([0.2, 0.1, 0.0, 0.0, 0.0]))
    estimate = label_savings(np.zeros(3), 100, curve, BUDGETS)
    assert estimate.value == pytest.approx(2)
    assert np.isfinite([estimate.value, estimate.low, estimate.high]).all()


def test_the_interval_of_savings_is_paired_by_seed() -> None:
    """Seeds of very different difficulty; the design halves the labels on each of them."""
    hard = np.array([0.1, 1.0, 10.0, 3.0])[:, None]
    reference = hard * FALLING
    paired = label_savings(reference[:, 2], 100, reference, BUDGETS)
    np.testing.assert_allclose(dataclasses.astuple(paired)[:3], 2)


def test_an_interval_that_goes_beyond_the_curve_is_open_on_that_side() -> None:
    """Half of the resamples are beyond reach: 8 is what can be seen, not where it ends."""
    gaps = np.array([0.0125, 0.0125, 0.0126, 0.0001, 0.0380])
    estimate = label_savings(gaps, 100, table(FALLING, 5), BUDGETS)
    assert estimate.censored is None
    assert estimate.high == np.inf


# -- ranks ---------------------------------------------------------------------------------------


def test_clear_differences_are_ranked() -> None:
    gaps = np.array([[3.0, 3.1, 3.2], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2]])
    assert ranks(gaps) == [3, 1, 2]


def test_a_small_but_steady_difference_counts_because_seeds_are_paired() -> None:
    hard = np.array([1.0, 10.0, 100.0, 5.0])
    assert ranks(np.stack([hard, hard + 0.01])) == [1, 2]


def test_differences_within_the_spread_are_ties() -> None:
    assert ranks(np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.1]])) == [1, 1]


def test_ties_take_in_what_lies_between() -> None:
    """The steady designs differ beyond doubt; the first, of much spread, ties with some of them."""
    wild = np.array([-20.0, 9.0, 9.0, 5.0, -3.0])
    steady = np.full(5, 1.0)
    others = [steady, steady + 0.1, steady + 0.2]
    assert ranks(np.stack(others)) == [1, 2, 3]
    assert wild.mean() < 1
    assert ranks(np.stack([wild, *others])) == [1, 1, 1, 1]
    wild = wild / 1000 + 1.15
    assert ranks(np.stack([wild, *others])) == [3, 1, 2, 4]
    wild = 100 * (wild - 1.15) + 1.15
    assert ranks(np.stack([wild, *others])) == [1, 1, 1, 1]


def test_one_design_is_first() -> None:
    assert ranks(np.array([[0.5, 0.6]])) == [1]


matrices = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 3, width=16))
)


@given(gaps=matrices)
def test_identical_designs_always_tie(gaps: Array) -> None:
    doubled = ranks(np.concatenate([gaps, gaps]))
    assert doubled[: len(gaps)] == doubled[len(gaps) :]


@given(gaps=matrices)
def test_designs_that_cannot_be_told_apart_have_one_rank(gaps: Array) -> None:
    sample = sampled(-gaps[:, None])
    found = np.array(sample.ranks())
    apart = sample.better | sample.better.T
    assert ((found[:, None] == found) | apart).all()
    firsts, lasts = np.array(sample.rank_bounds()).T
    assert (found <= firsts).all()
    assert (firsts <= lasts).all()


@given(gaps=matrices, data=st.data())
def test_ranks_do_not_depend_on_the_order_of_the_designs(gaps: Array, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(gaps))))
    assert ranks(gaps[order]) == [ranks(gaps)[i] for i in order]


@given(gaps=matrices)
def test_ranks_follow_the_means_and_begin_at_one(gaps: Array) -> None:
    found, means = np.array(ranks(gaps)), gaps.mean(axis=1)
    assert found.min() == 1
    assert found.max() <= len(gaps)
    better = means[:, None] < means
    assert (found[:, None] <= found)[better].all()


@given(gaps=matrices, scale=st.sampled_from([0.5, 2.0, 8.0]))
def test_ranks_do_not_depend_on_the_unit_of_rewards(gaps: Array, scale: float) -> None:
    assert ranks(gaps * scale) == ranks(gaps)


def test_equal_means_do_not_let_the_order_decide() -> None:
    """The first two have equal means; only the second is significantly worse than the third."""
    wild = np.array([-8.0, 3.0, 5.0, 4.0])
    steady = np.full(4, 1.0)
    third = steady - 0.5
    gaps = np.stack([wild, steady, third])
    assert wild.mean() == steady.mean()
    assert ranks(gaps) == [*ranks(gaps[[1, 0, 2]])[1::-1], 1]


# -- several environments ------------------------------------------------------------------------


def sampled(values: Array) -> StratifiedBootstrap:
    """Means of ``(designs, environments, seeds)`` as they are resampled."""
    k, n = values.shape[1:]
    draws = [bootstrap_weights(n, stratum) @ values[:, stratum].T for stratum in range(k)]
    return StratifiedBootstrap(values.mean(axis=2), np.stack(draws, axis=2), np.full(k, n))


def test_a_mean_over_environments_has_the_freedom_of_all_of_them() -> None:
    """Of two seeds, 0 and 1, in each of two environments, 1 of 16 resamples has but zeros.

    So the percentile interval is all, from 0 to 1. With equal variances there are two degrees of
    freedom, whose t is 4.303, and the variance of two seeds is half of what it should be.
    """
    (estimate,) = sampled(np.array([[[0.0, 1.0], [0.0, 1.0]]])).means()
    half = 0.5 * np.sqrt(2) * 4.3027 / 1.95996
    assert figures(estimate) == pytest.approx((0.5, 0.5 - half, 0.5 + half), rel=1e-2)


def test_an_environment_without_spread_adds_no_freedom() -> None:
    (estimate,) = sampled(np.array([[[0.0, 1.0], [3.0, 3.0]]])).means()
    half = 0.25 * np.sqrt(2) * 12.7062 / 1.95996  # one seed's worth, and half of the effect
    assert figures(estimate) == pytest.approx((1.75, 1.75 - half, 1.75 + half), rel=1e-3)


def test_an_environment_of_one_seed_leaves_all_open() -> None:
    sample = sampled(np.array([[[0.0], [1.0]], [[5.0], [9.0]]]))
    assert sample.means() == [Estimate(0.5, -np.inf, np.inf), Estimate(7.0, -np.inf, np.inf)]
    assert sample.ranks() == [1, 1]
    assert sample.rank_bounds() == [(1, 2), (1, 2)]


def test_places_say_what_pairs_cannot() -> None:
    """All tie, since the one of much spread does with all; of the others, it is known who leads."""
    wild, steady = np.array([-20.0, 9.0, 9.0, 5.0, -3.0]), np.zeros(5)
    sample = sampled(np.stack([steady + 2, wild + 1, steady, steady])[:, None])
    assert sample.ranks() == [1, 1, 1, 1]
    assert sample.rank_bounds() == [(1, 2), (1, 4), (2, 4), (2, 4)]
    assert sample.subset([0, 2, 3]).ranks() == [1, 2, 2]
    assert not sample.subset([]).ranks()
    assert not sample.subset([]).rank_bounds()


@given(
    gaps=arrays(np.float64, (4, 2), elements=st.floats(0.013, 0.19)),
    labels=st.integers(50, 400),
)
def test_log_savings_are_those_of_each_design(gaps: Array, labels: int) -> None:
    spread = table(FALLING, 4) * np.array([[0.7], [1.0], [1.2], [1.1]])
    values, draws = log_savings(gaps, np.full(2, labels), spread, BUDGETS, stratum=0)
    alone = [label_savings(column, labels, spread, BUDGETS) for column in gaps.T]
    np.testing.assert_allclose(np.exp(values), [estimate.value for estimate in alone])
    assert draws.shape == (DRAWS, 2)


def test_log_savings_end_where_the_curve_does() -> None:
    gaps = np.array([[1.0, 0.0125, 0.0]] * 3)
    values, draws = log_savings(gaps, np.full(3, 100), table(FALLING), BUDGETS, stratum=2)
    np.testing.assert_allclose(np.exp(values), [0.5, 8, 8])
    np.testing.assert_allclose(draws, np.tile(values, (DRAWS, 1)))


def test_the_interquartile_mean_is_of_the_middle_half_of_all_runs() -> None:
    """Of 1 to 8, 3 to 6 are left; how large the largest are does not matter."""
    assert interquartile_mean([np.array([1.0, 8, 3, 6]), np.array([2.0, 5, 7, 4])]).value == 4.5
    assert interquartile_mean([np.array([1.0, 1e9, 3, 6]), np.array([2.0, 5, 7, 4])]).value == 4.5
    assert interquartile_mean([np.array([5.0, 1, 2]), np.array([3.0, 100])]).value == 10 / 3


def test_the_interval_of_an_interquartile_mean_is_known_for_two_seeds() -> None:
    """Of two runs none is cut, so that it is their mean; see the interval of two seeds above."""
    estimate = interquartile_mean([np.array([1.0, 4.0])])
    half = 1.5 * np.sqrt(2) * 12.7062 / 1.95996
    assert figures(estimate) == pytest.approx((2.5, 2.5 - half, 2.5 + half), rel=1e-4)
    assert interquartile_mean([np.ones(4), np.ones(3)]) == Estimate(1, 1, 1)
    assert interquartile_mean([np.ones(4), np.ones(1)]) == Estimate(1, -np.inf, np.inf)


runs = st.lists(
    arrays(np.float64, st.integers(2, 6), elements=st.floats(-9, 9)), min_size=1, max_size=3
)


@settings(max_examples=50)
@given(runs)
def test_the_interquartile_mean_is_scipys_trimmed_mean(values: list[Array]) -> None:
    expected = trim_mean(np.concatenate(values), 0.25)
    assert interquartile_mean(values).value == pytest.approx(expected, abs=1e-12)


def test_the_probability_of_improvement_counts_pairs_of_runs_and_ties_half() -> None:
    """1 beats 2 and 3, 2 ties with 2 and beats 3: 3.5 of 4; in the other environment, none."""
    one, other = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    assert probability_of_improvement([one], [other]).value == 3.5 / 4
    worse, better = np.array([4.0, 5.0, 6.0]), np.array([3.0, 1.0, 2.0])
    assert probability_of_improvement([one, worse], [other, better]).value == 3.5 / 8


def test_the_interval_of_a_probability_stays_within_0_and_1() -> None:
    one, other = np.array([1.0, 2.0, 4.0, 2.0]), np.array([3.0, 3.0, 3.0, 3.0])
    estimate = probability_of_improvement([one], [other])
    assert (estimate.value, estimate.high) == (0.75, 1.0)
    assert 0 <= estimate.low < 0.75
    assert figures(probability_of_improvement([one], [other + 2])) == (1, 1, 1)
    assert figures(probability_of_improvement([one[:1]], [other[:1]])) == (1, 0, 1)


@settings(max_examples=50)
@given(arrays(np.int64, (2, 2, 5), elements=st.integers(0, 5)))
def test_the_probability_of_improvement_is_mann_and_whitneys(values: NDArray[np.int64]) -> None:
    one, other = values.astype(np.float64)
    expected = [mannwhitneyu(b, a).statistic / 25 for a, b in zip(one, other, strict=True)]
    there = probability_of_improvement(list(one), list(other))
    back = probability_of_improvement(list(other), list(one))
    assert there.value == pytest.approx(np.mean(expected))
    assert there.value + back.value == pytest.approx(1)
    assert there.low <= there.value + 1e-9
    assert there.high >= there.value - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 30), (4, 10)])
def test_intervals_over_environments_hold_the_truth_about_as_often_as_they_say(
    shape: tuple[int, int],
) -> None:
    """Log-normal gaps, paired by world; the second design is better in some environments."""
    rng = np.random.default_rng(shape)
    middle = np.sort(np.exp(0.5 * rng.normal(size=400_000)))[100_000:300_000].mean()
    held = []
    for _ in range(200):
        worlds, better = 0.3 * rng.normal(size=shape), rng.normal(0.2, 0.3, size=(shape[0], 1))
        one, other = worlds + 0.4 * rng.normal(size=(2, *shape))
        chance = probability_of_improvement(list(one), list(other + better))
        runs_ = interquartile_mean(list(np.exp(one)))
        # Each run meets runs of other worlds, so that the worlds' spread counts twice.
        truth = ndtr(better / np.sqrt(2 * (0.4**2 + 0.3**2))).mean()
        held.append([chance.low <= truth <= chance.high, runs_.low <= middle <= runs_.high])
    shares = np.mean(held, axis=0)
    assert (shares >= 0.91).all()
    assert (shares <= 0.99).all()


def test_a_profile_is_the_share_of_runs_below_each_threshold() -> None:
    """Of 1, 2, 3, 4 half are at most 2; of 2, 2 all; environments count alike."""
    values = [np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0])]
    found = performance_profile(values, np.array([0.5, 1.0, 2.0, 4.0, np.inf]))
    np.testing.assert_allclose(found.shares, [0, 1 / 8, 3 / 4, 1, 1])
    np.testing.assert_allclose(found.low[[0, 3, 4]], [0, 1, 1])
    np.testing.assert_allclose(found.high[[0, 3, 4]], [0, 1, 1])
    assert found.low[2] < 0.75 < found.high[2]


@settings(max_examples=50)
@given(runs)
def test_a_profile_rises_from_0_to_1(values: list[Array]) -> None:
    found = performance_profile(values, np.linspace(-10, 10, 9))
    assert (np.diff(found.shares) >= 0).all()
    assert (found.shares[0], found.shares[-1]) == (0, 1)
    assert (found.low >= 0).all()
    assert (found.high <= 1).all()


@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_chance_of_two_counts_is_fishers(n: int) -> None:
    one, other = np.divmod(np.arange((n + 1) ** 2), n + 1)
    chances = fisher_exact_test(one, other, n)
    for a, b, chance in list(zip(one, other, chances, strict=True))[:: max(1, n // 5)]:
        exact = fisher_exact([[a, n - a], [b, n - b]]).pvalue
        np.testing.assert_allclose(chance, exact, rtol=1e-9)
