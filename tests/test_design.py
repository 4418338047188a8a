from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import (
    Design,
    LogLinearDPO,
    Pairs,
    Pool,
    View,
    difference_variance,
    over_prompts,
    posterior_precision,
    ranked_completions,
    sampled_pairs,
    top_pairs,
)
from pairbench.design import FunctionDesign
from pairbench.errors import PairbenchError

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Question = tuple[int, int, int]
SEEDS = st.integers(0, 2**32 - 1)


def rows(pairs: Pairs) -> list[Question]:
    return [(int(x), int(i), int(j)) for x, i, j in pairs]


def questions(pairs: Pairs) -> Counter[Question]:
    return Counter((x, min(i, j), max(i, j)) for x, i, j in rows(pairs))


def fresh(view: View) -> list[Question]:
    """The pairs that were asked least often."""
    asked, pairs = questions(view.pairs), rows(np.argwhere(view.pool.pair_mask))
    least = min(asked[row] for row in pairs)
    return [row for row in pairs if asked[row] == least]


def history(pool: Pool, n: int, seed: int = 0) -> tuple[Pairs, NDArray[np.float64]]:
    """Random questions, turned at random, with random answers, each fourth one missing."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.repeat(np.argwhere(pool.pair_mask), 3, axis=0))[:n]
    turned = rng.random(len(pairs)) < 0.5
    pairs[turned] = pairs[turned][:, [0, 2, 1]]
    labels = rng.choice([0.0, 0.5, 1.0], size=len(pairs))
    labels[::4] = np.nan
    return pairs, labels


def test_a_view_reads_the_round_off_its_ledger(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool()
    view = make_view(pool, [[0, 0, 1], [1, 0, 1]], [1, 0], n=7)
    assert (view.budget_left, view.horizon, view.round, view.rounds_left) == (7, 9, 1, 1)


def test_the_implicit_theta_is_the_trainers(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool(1, ragged=True)
    pairs, labels = history(pool, 12)
    view = make_view(pool, pairs, labels, ridge=0.4, beta=0.7)
    policy = LogLinearDPO(0.4).fit(pool, 0.7, pairs, labels)
    np.testing.assert_array_equal(view.implicit_theta(), policy.theta)
    np.testing.assert_allclose(view.implicit_rewards(), pool.phi @ policy.theta)
    # Up to a constant in x it is β log π/π_ref.
    with np.errstate(invalid="ignore"):
        ratio = 0.7 * (policy.log_probs(pool) - pool.log_ref) - view.implicit_rewards()
    for x in range(pool.n_prompts):
        assert np.ptp(ratio[x, pool.valid[x]]) < 1e-12


def test_before_the_first_label_the_implicit_reward_is_zero(
    make_pool: MakePool, make_view: MakeView
) -> None:
    np.testing.assert_array_equal(make_view(make_pool()).implicit_rewards(), 0)


def test_a_function_is_a_design_with_its_parameters(
    make_pool: MakePool, make_view: MakeView
) -> None:
    def select(view: View, n: int, shift: int) -> Pairs:
        return np.full((n, 3), shift)

    design: Design = FunctionDesign(select, shift=4)
    np.testing.assert_array_equal(design.select(make_view(make_pool()), 2), np.full((2, 3), 4))


def test_the_posterior_precision_counts_answered_labels_alone(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(ragged=True)
    pairs, labels = history(pool, 10)
    theta = np.array([0.5, -1.0, 2.0])
    expected = 0.3 * np.eye(3)
    for (x, i, j), label in zip(pairs, labels, strict=True):
        if not np.isnan(label):
            z = pool.phi[x, i] - pool.phi[x, j]
            p = 1 / (1 + np.exp(-z @ theta))
            expected += p * (1 - p) * np.outer(z, z)
    found = posterior_precision(make_view(pool, pairs, labels, ridge=0.3), theta)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_difference_variance_is_that_of_the_explicit_inverse(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(ragged=True)
    view = make_view(pool, *history(pool, 10), ridge=0.3)
    theta = np.array([0.5, -1.0, 2.0])
    covariance = np.linalg.inv(posterior_precision(view, theta))
    variance = difference_variance(view, theta)
    for x in range(pool.n_prompts):
        for i in range(pool.n_completions):
            for j in range(pool.n_completions):
                z = pool.phi[x, i] - pool.phi[x, j]
                assert variance[x, i, j] == pytest.approx(z @ covariance @ z, rel=1e-9, abs=1e-12)


# top_pairs


@given(SEEDS, st.integers(0, 40), st.integers(0, 60), st.booleans())
def test_top_pairs_are_the_best_of_those_asked_least(
    make_pool: MakePool, make_view: MakeView, seed: int, n: int, asked: int, ties: bool
) -> None:
    pool = make_pool(seed, 3, 4, 2, ragged=True)
    view = make_view(pool, *history(pool, asked, seed), n=n, seed=seed)
    scores = np.random.default_rng(seed).normal(size=(3, 4, 4))
    scores = np.round(scores) if ties else scores
    chosen = top_pairs(view, scores, n)
    assert chosen.shape == (n, 3)
    assert pool.proper(chosen).all()
    # One after the other: of the pairs asked least often, one of the highest score.
    times = dict.fromkeys(rows(np.argwhere(pool.pair_mask)), 0)
    times.update(questions(view.pairs))
    for row in rows(chosen):
        least = min(times.values())
        assert times[row] == least
        times[row] += 1
    rivals = fresh(view)
    first = rows(chosen)[: len(rivals)]
    best = sorted((scores[row] for row in rivals), reverse=True)[: len(first)]
    assert sorted((scores[row] for row in first), reverse=True) == best


def test_top_pairs_of_few_are_in_falling_order(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool()
    scores = np.random.default_rng(0).normal(size=(5, 4, 4))
    chosen = top_pairs(make_view(pool), scores, 7)
    values = scores[tuple(chosen.T)]
    assert (np.diff(values) <= 0).all()
    assert values[-1] == np.sort(scores[pool.pair_mask])[-7]


def test_a_pair_asked_the_other_way_round_was_asked(make_view: MakeView) -> None:
    pool = Pool(np.ones((1, 3, 1)))
    scores = np.zeros((1, 3, 3))
    scores[0, 0, 2] = 9
    chosen = top_pairs(make_view(pool, [[0, 2, 0]], [1], n=2), scores, 2)
    assert sorted(rows(chosen)) == [(0, 0, 1), (0, 1, 2)]


def test_ties_of_top_pairs_are_drawn_evenly_and_by_seed(make_view: MakeView) -> None:
    pool = Pool(np.ones((2, 3, 1)))
    scores = np.zeros((2, 3, 3))
    drawn = Counter(
        row
        for seed in range(1200)
        for row in rows(top_pairs(make_view(pool, seed=seed), scores, 2))
    )
    assert len(drawn) == 6
    # Two of six each time: 400 each, with less than binomial variance.
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    one, same = (top_pairs(make_view(pool, seed=5), scores, 2) for _ in range(2))
    np.testing.assert_array_equal(one, same)


def test_top_pairs_read_the_upper_triangle(make_view: MakeView) -> None:
    pool, scores = Pool(np.ones((1, 3, 1))), np.zeros((1, 3, 3))
    scores[0, 2, 0], scores[0, 1, 2] = 9, 1
    assert rows(top_pairs(make_view(pool), scores, 1)) == [(0, 1, 2)]


@pytest.mark.timeout(10)  # what is held is that it ends
def test_scores_that_are_no_numbers_are_refused(make_pool: MakePool, make_view: MakeView) -> None:
    with pytest.raises(PairbenchError, match=r"NaN|finite|number"):
        top_pairs(make_view(make_pool()), np.full((5, 4, 4), np.nan), 3)


# over_prompts


@given(SEEDS, st.integers(0, 40), st.lists(st.integers(0, 4), max_size=40))
def test_over_prompts_spreads_labels_evenly(
    make_pool: MakePool, make_view: MakeView, seed: int, n: int, past: list[int]
) -> None:
    pool = make_pool(0, 5)
    pairs = np.array([[x, 0, 1] for x in past], dtype=np.int64).reshape(-1, 3)
    view = make_view(pool, pairs, np.ones(len(past)), n=n, seed=seed)
    first, second = np.array([0, 1, 2, 3, 0]), np.array([3, 2, 1, 0, 1])
    chosen = over_prompts(view, first, second, n)
    assert chosen.shape == (n, 3)
    np.testing.assert_array_equal(chosen[:, 1], first[chosen[:, 0]])
    np.testing.assert_array_equal(chosen[:, 2], second[chosen[:, 0]])
    times = np.bincount(pairs[:, 0], minlength=5)
    for prompt in chosen[:, 0]:
        assert times[prompt] == times.min(), "a prompt that was asked less often had to wait"
        times[prompt] += 1


def test_over_prompts_takes_a_new_order_each_time(make_pool: MakePool, make_view: MakeView) -> None:
    pool, zero = make_pool(0, 30), np.zeros(30, dtype=np.int64)
    orders = [over_prompts(make_view(pool, seed=s), zero, zero + 1, 30)[:, 0] for s in (0, 1, 0)]
    assert sorted(orders[0].tolist()) == list(range(30))
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders[0], orders[2])


# sampled_pairs


def test_sampled_pairs_follow_the_weights_and_are_turned_evenly(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pairs, weights = np.array([[0, 0, 1], [3, 1, 2], [2, 0, 3]]), np.array([0.5, 0.3, 0.2])
    before = pairs.copy()
    drawn = Counter(rows(sampled_pairs(make_view(make_pool()), pairs, weights, 20_000)))
    np.testing.assert_array_equal(pairs, before)
    expected = {}
    for (x, i, j), weight in zip(pairs.tolist(), weights, strict=True):
        expected[x, i, j] = expected[x, j, i] = 10_000 * weight
    assert set(drawn) == set(expected)
    observed = [drawn[row] for row in expected]
    assert chisquare(observed, list(expected.values())).pvalue > 1e-3


# ranked_completions


@given(SEEDS, st.booleans())
@settings(max_examples=50)
def test_ranked_completions_fall_in_reward_and_end_in_the_invalid(
    make_pool: MakePool, make_view: MakeView, seed: int, ties: bool
) -> None:
    pool = make_pool(seed, 6, 5, ragged=True)
    rewards = np.random.default_rng(seed).normal(size=(6, 5))
    rewards = np.round(rewards) if ties else rewards
    ranked = ranked_completions(make_view(pool, seed=seed), rewards)
    for x, row in enumerate(ranked):
        assert sorted(row.tolist()) == list(range(5))
        size = int(pool.valid[x].sum())
        assert pool.valid[x, row[:size]].all()
        assert (np.diff(rewards[x, row[:size]]) <= 0).all()


def test_ties_of_ranked_completions_are_drawn_evenly(make_view: MakeView) -> None:
    pool = Pool(np.ones((6000, 3, 1)))
    ranked = ranked_completions(make_view(pool), np.zeros((6000, 3)))
    orders = Counter(rows(ranked))
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 1e-3
