import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import (
    Duels,
    Pairs,
    Pool,
    View,
    cycle_pairs,
    distinct_draws,
    duel_per_prompt,
    duel_sequentially,
    fresh_pairs,
    largest_pair,
    masked_argmax,
    opponent_mask,
    pair_scores,
    rank_completions,
    redraw_until_different,
    reward_differences,
    sample_pairs,
    top_pairs,
)
from pairbench.errors import PairbenchError
from tests.reference import history

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Question = tuple[int, int, int]
Array = NDArray[np.float64]
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
    candidates = fresh(view)
    first = rows(chosen)[: len(candidates)]
    best = sorted((scores[row] for row in candidates), reverse=True)[: len(first)]
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


def test_scores_that_only_rounding_tells_apart_are_ties(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool, rng = make_pool(prompts=6, completions=5), np.random.default_rng(0)
    exact = np.round(rng.normal(size=(6, 5, 5)), 1) * 1e6
    exact[0, 0, 1] = -np.inf  # what must not be asked says nothing of how large the others are
    noisy = exact * (1 + 1e-15 * rng.normal(size=exact.shape))
    assert len(np.unique(noisy)) > len(np.unique(exact))
    one, other = (rows(top_pairs(make_view(pool), scores, 40)) for scores in (exact, noisy))
    assert one == other


def test_top_pairs_read_the_upper_triangle(make_view: MakeView) -> None:
    pool, scores = Pool(np.ones((1, 3, 1))), np.zeros((1, 3, 3))
    scores[0, 2, 0], scores[0, 1, 2] = 9, 1
    assert rows(top_pairs(make_view(pool), scores, 1)) == [(0, 1, 2)]


@pytest.mark.timeout(10)  # what is held is that it ends
def test_scores_that_are_no_numbers_are_refused(make_pool: MakePool, make_view: MakeView) -> None:
    with pytest.raises(PairbenchError, match=r"NaN|finite|number"):
        top_pairs(make_view(make_pool()), np.full((5, 4, 4), np.nan), 3)


# duel_per_prompt


@given(SEEDS, st.integers(0, 40), st.lists(st.integers(0, 4), max_size=40))
def test_over_prompts_spreads_labels_evenly(
    make_pool: MakePool, make_view: MakeView, seed: int, n: int, past: list[int]
) -> None:
    pool = make_pool(0, 5)
    pairs = np.array([[x, 0, 1] for x in past], dtype=np.int64).reshape(-1, 3)
    view = make_view(pool, pairs, np.ones(len(past)), n=n, seed=seed)
    first, second = np.array([0, 1, 2, 3, 0]), np.array([3, 2, 1, 0, 1])
    chosen = duel_per_prompt(view, lambda: (first, second), n)
    assert chosen.shape == (n, 3)
    np.testing.assert_array_equal(chosen[:, 1], first[chosen[:, 0]])
    np.testing.assert_array_equal(chosen[:, 2], second[chosen[:, 0]])
    times = np.bincount(pairs[:, 0], minlength=5)
    for prompt in chosen[:, 0]:
        assert times[prompt] == times.min(), "a prompt that was asked less often had to wait"
        times[prompt] += 1


def test_over_prompts_takes_a_new_order_each_time(make_pool: MakePool, make_view: MakeView) -> None:
    pool, zero = make_pool(0, 30), np.zeros(30, dtype=np.int64)

    def rule() -> Duels:
        return zero, zero + 1

    orders = [duel_per_prompt(make_view(pool, seed=s), rule, 30)[:, 0] for s in (0, 1, 0)]
    assert sorted(orders[0].tolist()) == list(range(30))
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders[0], orders[2])


def test_a_rule_is_asked_anew_for_each_turn(make_pool: MakePool, make_view: MakeView) -> None:
    turns = iter(range(3))

    def rule() -> Duels:
        turn = next(turns)
        return np.full(2, turn), np.full(2, 3)

    chosen = duel_per_prompt(make_view(make_pool(0, 2), [[1, 0, 1]], [1]), rule, 5)
    # Prompt 1 has had its first turn.
    assert chosen[:, 0].tolist()[0] == 0
    assert chosen[:, 1].tolist() == [0, 1, 1, 2, 2]
    assert next(turns, None) is None


# fresh_pairs


@given(SEEDS, st.integers(0, 20), st.integers(0, 30), st.booleans())
def test_fresh_pairs_are_distinct_and_not_asked(
    make_pool: MakePool, make_view: MakeView, seed: int, asked: int, most: int, ragged: bool
) -> None:
    pool = make_pool(seed, 3, 4, 2, ragged=ragged)
    view = make_view(pool, *history(pool, asked, seed), seed=seed)
    found = rows(fresh_pairs(view, most))
    before = {row for row, times in questions(view.pairs).items() if times}
    left = set(rows(np.argwhere(pool.pair_mask))) - before or before
    assert len(found) == len(set(found)) == min(most, len(left))
    assert set(found) <= left


def test_fresh_pairs_are_drawn_evenly(make_view: MakeView) -> None:
    pool = Pool(np.ones((2, 3, 1)))
    drawn = Counter(
        row
        for seed in range(1000)
        for row in rows(fresh_pairs(make_view(pool, [[0, 1, 0]], [1], seed=seed), 2))
    )
    assert len(drawn) == 5
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_fresh_pairs_of_a_large_pool_cost_little(make_view: MakeView) -> None:
    pool = Pool(np.zeros((2, 20_000, 1)))
    pairs = fresh_pairs(make_view(pool), 1000)
    assert pool.proper(pairs).all()
    assert (pairs[:, 1] < pairs[:, 2]).all()


def test_pairs_are_filled_up_from_the_front() -> None:
    pairs = np.array([[0, 1, 2], [3, 0, 1]])
    np.testing.assert_array_equal(cycle_pairs(pairs, 3), pairs[[0, 1, 0]])
    np.testing.assert_array_equal(cycle_pairs(pairs, 1), pairs[:1])


# largest


def test_the_largest_is_drawn_evenly_from_ties() -> None:
    mask = np.tile([True, True, False, True], (9000, 1))
    values = np.tile([1.0, 2.0, 5.0, 2.0], (9000, 1))
    found = Counter(masked_argmax(mask, values, np.random.default_rng(0)).tolist())
    assert set(found) == {1, 3}
    assert chisquare(list(found.values())).pvalue > 1e-3


# sampled_pairs


def test_sampled_pairs_follow_the_weights_and_are_turned_evenly(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pairs, weights = np.array([[0, 0, 1], [3, 1, 2], [2, 0, 3]]), np.array([0.5, 0.3, 0.2])
    before = pairs.copy()
    drawn = Counter(rows(sample_pairs(make_view(make_pool()), pairs, weights, 20_000)))
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
    make_pool: MakePool, seed: int, ties: bool
) -> None:
    pool = make_pool(seed, 6, 5, ragged=True)
    rewards = np.random.default_rng(seed).normal(size=(6, 5))
    rewards = np.round(rewards) if ties else rewards
    ranked = rank_completions(pool, rewards, np.random.default_rng(seed))
    for x, row in enumerate(ranked):
        assert sorted(row.tolist()) == list(range(5))
        size = int(pool.valid[x].sum())
        assert pool.valid[x, row[:size]].all()
        assert (np.diff(rewards[x, row[:size]]) <= 0).all()


def test_ties_of_ranked_completions_are_drawn_evenly() -> None:
    pool = Pool(np.ones((6000, 3, 1)))
    ranked = rank_completions(pool, np.zeros((6000, 3)), np.random.default_rng(0))
    orders = Counter(rows(ranked))
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 1e-3


# distinct_draws


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]),
        ([0.9, 0.1, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0]),
        ([0.5, 0.0, 0.0, 0.5], [0.0, 0.5, 0.1, 0.4]),
        ([1.0, 0.0], [0.5, 0.5]),
    ],
)
def test_distinct_draws_are_independent_but_for_being_distinct(
    p: list[float], q: list[float]
) -> None:
    with np.errstate(divide="ignore"):
        log_p, log_q = (np.tile(np.log(x), (20_000, 1)) for x in (p, q))
    # Log-probabilities are up to a constant in each row.
    log_p += np.linspace(-900, 900, 20_000)[:, None]
    first, second = distinct_draws(log_p, log_q, np.random.default_rng(0))
    found = Counter(zip(first.tolist(), second.tolist(), strict=True))
    joint = {(i, j): a * b for i, a in enumerate(p) for j, b in enumerate(q) if i != j}
    expected = {ij: 20_000 * x / sum(joint.values()) for ij, x in joint.items() if x > 0}
    assert set(found) == set(expected)
    observed = [found[ij] for ij in expected]
    assert len(expected) == 1 or chisquare(observed, list(expected.values())).pvalue > 1e-3


def test_distinct_draws_know_what_is_all_but_certain() -> None:
    # Both draws would be the first for ever; what differs is rarer by e^800, in proportion all the
    # same.
    log_p = np.tile([0.0, -800.0, -800.0 + np.log(3)], (20_000, 1))
    log_q = np.tile([0.0, -800.0 + np.log(8), -800.0 + np.log(4)], (20_000, 1))
    drawn = distinct_draws(log_p, log_q, np.random.default_rng(0))
    found = Counter(zip(*(x.tolist() for x in drawn), strict=True))
    expected = {(0, 1): 8.0, (0, 2): 4.0, (1, 0): 1.0, (2, 0): 3.0}
    assert set(found) == set(expected)
    observed = [found[ij] for ij in expected]
    assert chisquare(observed, [20_000 * x / 16 for x in expected.values()]).pvalue > 1e-3


# duel_sequentially


@given(SEEDS, st.integers(0, 40), st.lists(st.integers(0, 4), max_size=40))
def test_over_turns_spreads_labels_evenly_and_tells_what_was_asked(
    make_pool: MakePool, make_view: MakeView, seed: int, n: int, past: list[int]
) -> None:
    pairs = np.array([[x, 0, 1] for x in past], dtype=np.int64).reshape(-1, 3)
    view = make_view(make_pool(0, 5), pairs, np.ones(len(past)), n=n, seed=seed)
    told: list[Pairs] = []

    def rule(asked: Pairs) -> Duels:
        told.append(asked)
        return np.full(5, len(told) % 4), np.full(5, (len(told) + 1) % 4)

    chosen = duel_sequentially(view, rule, n)
    assert chosen.shape == (n, 3)
    times = np.bincount(pairs[:, 0], minlength=5)
    turns = [len(asked) for asked in told] + [len(past) + n]
    for turn, (start, end) in enumerate(itertools.pairwise(turns), start=1):
        np.testing.assert_array_equal(told[turn - 1], np.concatenate([pairs, chosen])[:start])
        this = chosen[start - len(past) : end - len(past)]
        assert len(set(this[:, 0].tolist())) == len(this) > 0
        assert (this[:, 1:] == [turn % 4, (turn + 1) % 4]).all()
        for prompt in this[:, 0]:
            assert times[prompt] == times.min(), "a prompt that was asked less often had to wait"
            times[prompt] += 1


# opponent_mask, largest_pair, redraw_until_different


def test_rivals_are_the_valid_others(make_pool: MakePool) -> None:
    pool = make_pool(1, 20, 5, ragged=True)
    first = masked_argmax(pool.valid, np.zeros((20, 5)), np.random.default_rng(0))
    found = opponent_mask(pool, first)
    for x in range(20):
        there = set(np.flatnonzero(pool.valid[x]).tolist())
        assert set(np.flatnonzero(found[x]).tolist()) == there - {int(first[x])}


def test_the_largest_pair_is_turned_at_random_and_reads_the_upper_triangle() -> None:
    pool = Pool(np.ones((6000, 4, 1)), valid=np.tile([True, True, True, False], (6000, 1)))
    scores = np.zeros((6000, 4, 4))
    scores[:, 0, 1] = scores[:, 1, 2] = 1
    scores[:, 0, 3] = scores[:, 1, 1] = scores[:, 2, 0] = 9  # no pairs, or not read
    duels = largest_pair(pool, scores, np.random.default_rng(0))
    found = Counter(zip(*(arms.tolist() for arms in duels), strict=True))
    assert set(found) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert chisquare(list(found.values())).pvalue > 1e-3


def test_the_best_is_redrawn_until_it_is_another(make_pool: MakePool) -> None:
    pool = make_pool(2, 40, 5, ragged=True)
    rng = np.random.default_rng(0)
    first, draws = (
        masked_argmax(pool.valid, rng.normal(size=(40, 5)), rng),
        rng.normal(size=(3, 40, 5)),
    )
    second, times = redraw_until_different(pool, first, draws, rng), Counter[int]()
    for x in range(40):
        there = np.flatnonzero(pool.valid[x])
        found = [int(there[np.argmax(draw[x, there])]) for draw in draws]
        others = [i for i in found if i != first[x]]
        times[found.index(others[0]) if others else 3] += 1
        assert second[x] == (others[0] if others else first[x])
    assert len(times) == 4, "after no, one and two more draws, and never"


# forecasts and differences


def test_reward_differences_and_pair_scores_keep_the_order_of_pairs(make_pool: MakePool) -> None:
    pool = make_pool(2, 4, 4, 3, ragged=True)
    rewards = np.random.default_rng(0).normal(size=(2, 4, 4))
    for reward, made in zip(rewards, reward_differences(pool, rewards), strict=True):
        scores = pair_scores(pool, made)
        assert scores.shape == (4, 4, 4)
        for x, i, j in np.ndindex(4, 4, 4):
            there = i < j and pool.valid[x, i] and pool.valid[x, j]
            assert scores[x, i, j] == (reward[x, i] - reward[x, j] if there else 0)
