"""Estimates, paired comparisons and label savings against cases worked out by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from pairbench.stats import (
    DRAWS,
    Estimate,
    chance_of_counts,
    label_savings,
    mean,
    ranks,
    ratio_of_means,
    resamples,
    signed_mean,
)

Array = NDArray[np.float64]
BUDGETS = np.array([50, 100, 200, 400, 800])
FALLING = 10.0 / BUDGETS  # a gap that falls as one over the labels


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
    assert resamples(12).shape == (DRAWS, 12)
    np.testing.assert_array_equal(resamples(12), resamples(12))


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


@settings(max_examples=30, deadline=None)
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


def test_a_reference_that_never_improves_only_censors() -> None:
    rising = table(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    better = label_savings(np.full(3, 0.05), 100, rising, BUDGETS)
    worse = label_savings(np.full(3, 0.2), 100, rising, BUDGETS)
    assert (better.censored, worse.censored) == ("above", "below")
    assert [better.value, worse.value] == pytest.approx([8, 0.5])


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
    """The second is better than the fourth, the first (of much spread) only ties with all."""
    wild = np.array([-20.0, 9.0, 9.0, 5.0, -3.0])
    steady = np.full(5, 1.0)
    gaps = np.stack([wild, steady, steady + 0.1, steady + 0.2])
    assert wild.mean() < 1
    assert ranks(gaps) == [1, 1, 3, 4]
    wild = wild + 1.15
    assert ranks(np.stack([wild, steady, steady + 0.1, steady + 0.2])) == [1, 1, 1, 4]


def test_one_design_is_first() -> None:
    assert ranks(np.array([[0.5, 0.6]])) == [1]


matrices = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 3, width=16))
)


@settings(deadline=None)
@given(gaps=matrices)
def test_identical_designs_always_tie(gaps: Array) -> None:
    doubled = ranks(np.concatenate([gaps, gaps]))
    assert doubled[: len(gaps)] == doubled[len(gaps) :]


@settings(deadline=None)
@given(gaps=matrices, data=st.data())
def test_ranks_do_not_depend_on_the_order_of_the_designs(gaps: Array, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(gaps))))
    assert ranks(gaps[order]) == [ranks(gaps)[i] for i in order]


@settings(deadline=None)
@given(gaps=matrices)
def test_ranks_follow_the_means_and_begin_at_one(gaps: Array) -> None:
    found, means = np.array(ranks(gaps)), gaps.mean(axis=1)
    assert found.min() == 1
    assert found.max() <= len(gaps)
    better = means[:, None] < means
    assert (found[:, None] <= found)[better].all()


@settings(deadline=None)
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


@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_chance_of_two_counts_is_fishers(n: int) -> None:
    one, other = np.divmod(np.arange((n + 1) ** 2), n + 1)
    chances = chance_of_counts(one, other, n)
    for a, b, chance in list(zip(one, other, chances, strict=True))[:: max(1, n // 5)]:
        exact = fisher_exact([[a, n - a], [b, n - b]]).pvalue
        np.testing.assert_allclose(chance, exact, rtol=1e-9)
