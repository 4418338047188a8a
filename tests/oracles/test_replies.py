import math
from collections.abc import Callable

import numpy as np
import pytest

from pairbench import InvalidParameter, World
from pairbench.oracles.annotators import make_annotator
from tests.oracles.conftest import Answering, MakeWorld
from tests.oracles.reference import answers_as, many, ordered_pairs, shares


def logistic(world: World, x: int, i: int, j: int) -> float:
    r = world.truth.rewards
    return 1 / (1 + math.exp(r[x, j] - r[x, i]))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.35, 1.0])
def test_mistakes_come_as_often_as_the_formula_says(
    make_world: MakeWorld, answering: Answering, rate: float
) -> None:
    world = make_world(1)
    oracle = answering(f"mistake(rate={rate})", 5, world)

    def p(x: int, i: int, j: int) -> float:
        right = logistic(world, x, i, j)
        return (1 - rate) * right + rate * (1 - right)

    assert answers_as(oracle, world, p)
    pairs = ordered_pairs(world)
    np.testing.assert_allclose(oracle.expected(pairs), [p(*map(int, row)) for row in pairs])


def test_two_mistakes_are_independent(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(1)
    oracle = answering("mistake(rate=0.2) | mistake(rate=0.3)", 5, world)
    rate = 0.2 * 0.7 + 0.8 * 0.3
    assert answers_as(
        oracle, world, lambda x, i, j: rate + (1 - 2 * rate) * logistic(world, x, i, j)
    )


def test_an_adversary_has_prompts_and_is_wrong_about_all_of_them_always(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1, 3000, 3)
    pairs = ordered_pairs(world)
    oracle, other = (answering("deterministic | adversary(fraction=0.3)", s, world) for s in (5, 6))
    sure = answering("deterministic", 5, world)
    no_repeat = np.zeros(len(pairs), dtype=np.int64)
    wrong = oracle.label(pairs, no_repeat) != sure.label(pairs, no_repeat)
    for repeat in (1, 7):  # asking again tells the same
        again = oracle.label(pairs, no_repeat + repeat) != sure.label(pairs, no_repeat)
        np.testing.assert_array_equal(again, wrong)
    by_prompt = [set(wrong[pairs[:, 0] == x]) for x in range(3000)]
    assert all(len(found) == 1 for found in by_prompt)
    hostile = np.array([found == {True} for found in by_prompt])
    assert abs(hostile.sum() - 900) < 4 * math.sqrt(3000 * 0.3 * 0.7)
    theirs = other.label(pairs, no_repeat) != sure.label(pairs, no_repeat)
    assert abs(np.mean(theirs == wrong) - (0.3**2 + 0.7**2)) < 0.05
    np.testing.assert_array_equal(oracle.expected(pairs), oracle.label(pairs, no_repeat))


def test_adversaries_turn_random_answers_too(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(1)
    turned = answering("adversary(fraction=1)", 5, world)
    assert answers_as(turned, world, lambda x, i, j: 1 - logistic(world, x, i, j))
    kept = answering("adversary(fraction=0)", 5, world)
    assert answers_as(kept, world, lambda x, i, j: logistic(world, x, i, j))


def above_worst(world: World, x: int, i: int) -> float:
    there = [k for k in range(world.pool.n_completions) if world.pool.valid[x, k]]
    return float(world.truth.rewards[x, i] - min(world.truth.rewards[x, k] for k in there))


def mean_above_worst(world: World) -> float:
    """How much better than the worst π_ref is on average, prompt by prompt."""
    total = 0.0
    for x, weight in enumerate(world.pool.prompt_weights):
        for k in np.flatnonzero(world.pool.valid[x]).tolist():
            total += weight * math.exp(world.pool.log_ref[x, k]) * above_worst(world, x, k)
    return total


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("skip", lambda mean: 0.1 * mean),
        ("skip(epsilon=0.8)", lambda mean: 0.8 * mean),
        ("skip(threshold=1.5)", lambda mean: 1.5),
        ("skip(threshold=0)", lambda mean: -1),  # nothing is skipped
        ("skip(epsilon=0)", lambda mean: -1),
    ],
)
def test_a_skip_is_where_neither_is_good(
    make_world: MakeWorld, answering: Answering, text: str, threshold: Callable[[float], float]
) -> None:
    world = make_world(1, 12)
    limit = threshold(mean_above_worst(world))
    pairs = ordered_pairs(world)
    best = [max(above_worst(world, x, i), above_worst(world, x, j)) for x, i, j in pairs]
    poor = np.array(best) <= limit
    oracle = answering(text, 5, world)
    skipped = shares(oracle, pairs, np.nan)
    np.testing.assert_array_equal(skipped, poor)
    np.testing.assert_array_equal(np.isnan(oracle.expected(pairs)), poor)
    if limit > 1:
        assert 0 < poor.sum() < len(poor)
    # What is not skipped is answered as without.
    asked, repeat = many(pairs, 5000)
    labels, plain = (answering(t, 5, world).label(asked, repeat) for t in (text, "bradley-terry"))
    np.testing.assert_array_equal(np.where(np.isnan(labels), plain, labels), plain)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("equal", lambda mean: 0.1 * mean),
        ("equal(epsilon=0.5)", lambda mean: 0.5 * mean),
        ("equal(threshold=1.5)", lambda mean: 1.5),
        ("equal(threshold=0)", lambda mean: 0),
    ],
)
def test_equal_is_where_rewards_are_near(
    make_world: MakeWorld, answering: Answering, text: str, threshold: Callable[[float], float]
) -> None:
    world = make_world(1, 12)
    limit = threshold(mean_above_worst(world))
    pairs, r = ordered_pairs(world), world.truth.rewards
    near = np.array([abs(r[x, i] - r[x, j]) < limit for x, i, j in pairs])
    oracle = answering(text, 5, world)
    np.testing.assert_array_equal(shares(oracle, pairs, 0.5), near)
    np.testing.assert_array_equal(oracle.expected(pairs) == 0.5, near)
    asked, repeat = many(pairs, 5000)
    labels, plain = (answering(t, 5, world).label(asked, repeat) for t in (text, "bradley-terry"))
    np.testing.assert_array_equal(np.where(labels == 0.5, plain, labels), plain)


AFTER = ["mistake(rate=1)", "equal(threshold=1e9)", "adversary(fraction=1)", "skip"]


@pytest.mark.parametrize("after", AFTER)
def test_no_answer_stays_none(make_world: MakeWorld, answering: Answering, after: str) -> None:
    world = make_world(1)
    pairs, repeat = many(ordered_pairs(world), 500)
    labels = answering(f"skip(threshold=1e9) | {after}", 5, world).label(pairs, repeat)
    assert np.isnan(labels).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mistake(rate=1.01)", "rate must be between 0 and 1, got 1.01"),
        ("mistake(rate=1e999)", "rate must be between 0 and 1, got inf"),
        ("adversary(fraction=-0.01)", "fraction must be between 0 and 1, got -0.01"),
        ("skip(epsilon=-1)", "epsilon must be a finite number, 0 or more, got -1"),
        ("equal(threshold=-1)", "threshold must be a finite number, 0 or more, got -1"),
        ("equal(threshold=1e999)", "threshold must be a finite number"),
        ("skip(threshold=1, epsilon=0.2)", "threshold=1.0 takes the place of epsilon=0.2"),
    ],
)
def test_impossible_replies_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(text)
