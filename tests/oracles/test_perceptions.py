import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pool, Truth, World
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.questions import ExpectedQuestions, Questions
from pairbench.oracles.stages import AnnotatorContext, Perception
from tests.oracles.conftest import Answering, MakeWorld
from tests.oracles.reference import Array, answers_as, come_as_often, many, ordered_pairs

SEED = 6
Extra = Callable[[int, int, int], float]
"""What is added to Δ, of prompt, first and second."""


def generator(name: str, seed: int = SEED) -> np.random.Generator:
    """The generator of a stage's own, from its definition."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 0)))


def unit(values: Array, valid: NDArray[np.bool_]) -> Array:
    """Values less the mean of their prompt, over the deviation of all that is left."""
    left = np.zeros(values.shape)
    for x in range(len(values)):
        there = [k for k in range(values.shape[1]) if valid[x, k]]
        for k in there:
            left[x, k] = values[x, k] - sum(values[x, m] for m in there) / len(there)
    squares = [left[x, k] ** 2 for x, k in zip(*np.nonzero(valid), strict=True)]
    return left / math.sqrt(sum(squares) / len(squares))


def position(world: World, weight: float) -> Extra:
    return lambda x, i, j: weight


def length(world: World, weight: float) -> Extra:
    z = unit(np.log(1.0 + world.pool.lengths), world.pool.valid)
    return lambda x, i, j: weight * (z[x, i] - z[x, j])


def sycophancy(world: World, weight: float) -> Extra:
    p = np.exp(world.pool.log_ref)
    return lambda x, i, j: weight * math.log(p[x, i] / p[x, j])


def myopic(world: World, gamma: float) -> Extra:
    assert world.truth.steps is not None
    r = world.truth.steps

    def extra(x: int, i: int, j: int) -> float:
        seen = [sum(gamma ** (4 - s) * r[x, k, s - 1] for s in range(1, 5)) for k in (i, j)]
        return float(seen[0] - seen[1] - (r[x, i].sum() - r[x, j].sum()))

    return extra


def circles(world: World, strength: float) -> Extra:
    valid = world.pool.valid
    points = generator("intransitive").normal(size=(2, *valid.shape))
    c = {}
    for x in range(len(valid)):
        there = np.flatnonzero(valid[x]).tolist()
        if len(there) < 3:
            c.update({(x, i, j): 0.0 for i in there for j in there})
            continue
        p = points[:, x, there] - points[:, x, there].mean(axis=1, keepdims=True)
        raw = np.outer(p[0], p[1]) - np.outer(p[1], p[0])
        size = math.sqrt(np.mean([raw[a, b] ** 2 for a in range(len(there)) for b in range(a)]))
        for a, i in enumerate(there):
            for b, j in enumerate(there):
                c[x, i, j] = strength * raw[a, b] / size
    return lambda x, i, j: c[x, i, j]


@pytest.mark.parametrize(
    ("annotator", "extra"),
    [
        ("position-bias", lambda world: position(world, 0.5)),
        ("position-bias(weight=-1.5)", lambda world: position(world, -1.5)),
        ("length-bias", lambda world: length(world, 0.5)),
        ("length-bias(weight=-2)", lambda world: length(world, -2)),
        ("sycophancy", lambda world: sycophancy(world, 0.5)),
        ("sycophancy(weight=-1)", lambda world: sycophancy(world, -1)),
        ("myopic", lambda world: myopic(world, 0.9)),
        ("myopic(gamma=0.3)", lambda world: myopic(world, 0.3)),
        ("myopic(gamma=0)", lambda world: myopic(world, 0)),
        ("intransitive", lambda world: circles(world, 1)),
        ("intransitive(strength=-3)", lambda world: circles(world, -3)),
        ("drift", lambda world: lambda x, i, j: 0),  # before the first label
    ],
)
def test_answers_come_as_often_as_the_formula_says(
    make_world: MakeWorld, answering: Answering, annotator: str, extra: Callable[[World], Extra]
) -> None:
    world = make_world(1, 8)
    assert 2 in world.pool.valid.sum(axis=1)
    assert 5 in world.pool.valid.sum(axis=1)
    r, added = world.truth.rewards, extra(world)

    def p(x: int, i: int, j: int) -> float:
        return 1 / (1 + math.exp(-(r[x, i] - r[x, j] + added(x, i, j))))

    oracle = answering(annotator, SEED, world)
    assert answers_as(oracle, world, p)
    pairs = ordered_pairs(world)
    expected = [p(*(int(k) for k in row)) for row in pairs]
    np.testing.assert_allclose(oracle.expected(pairs), expected, rtol=1e-9)
    if annotator != "drift":  # and the formula does say something
        assert not answers_as(answering("bradley-terry", SEED, world), world, p)


def test_drifting_answers_come_as_often_as_the_formula_says_at_any_time(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1, 8)
    r, w = world.truth.rewards, generator("drift").normal(size=world.pool.dim)
    taste = unit(world.pool.features.astype(float) @ w, world.pool.valid)
    oracle = answering("drift(size=2, period=100)", SEED, world)
    pairs = ordered_pairs(world)
    asked, repeat = many(pairs)
    for time in (0, 25, 50, 75, 112, 1025):
        swing = 2 * math.sin(2 * math.pi * time / 100)
        p = np.array([
            1 / (1 + math.exp(-(r[x, i] - r[x, j] + swing * (taste[x, i] - taste[x, j]))))
            for x, i, j in pairs
        ])  # fmt: skip
        answers = oracle.label(asked, repeat, np.full(len(asked), time)).reshape(len(pairs), -1)
        assert come_as_often(answers.mean(axis=1), p, answers.shape[1])
        np.testing.assert_allclose(oracle.expected(pairs, np.full(len(pairs), time)), p)


def added(annotator: str, world: World, seed: int, pairs: NDArray[np.int64]) -> Array:
    """What a perception adds to Δ."""
    ((_, stage), _) = make_annotator(annotator).stages
    assert isinstance(stage, Perception)
    context = AnnotatorContext(world.pool, world.truth.rewards, world.truth.steps, seed)
    return stage.on(context)(ExpectedQuestions.of(pairs), np.zeros(len(pairs)))


@pytest.mark.parametrize("seed", range(5))
def test_circles_are_antisymmetric_with_no_part_that_a_reward_explains(
    make_world: MakeWorld, seed: int
) -> None:
    world = make_world(seed, 10, 7)
    pairs = ordered_pairs(world)
    c = np.full((10, 7, 7), np.nan)
    c[tuple(pairs.T)] = added("intransitive(strength=1.7)", world, seed, pairs)
    np.testing.assert_array_equal(c, -c.swapaxes(1, 2))
    np.testing.assert_allclose(np.nansum(c, axis=2), 0, atol=1e-12)
    for x, sizes in enumerate(world.pool.valid.sum(axis=1)):
        rms = np.sqrt(np.nanmean(c[x] ** 2))
        assert rms == pytest.approx(1.7 if sizes > 2 else 0, abs=1e-12)
    # Least squares on the pairs: no rewards explain any of it.
    x, i, j = pairs.T
    design = np.zeros((len(pairs), 70))
    design[np.arange(len(pairs)), x * 7 + i] = 1
    design[np.arange(len(pairs)), x * 7 + j] = -1
    best = np.linalg.lstsq(design, c[tuple(pairs.T)], rcond=None)[0]
    np.testing.assert_allclose(design @ best, 0, atol=1e-10)


def test_three_completions_go_round(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(0, 4, 3, ragged=False)
    oracle = answering("intransitive(strength=1e6) | deterministic", 1, world)
    for x in range(4):
        around = np.array([[x, 0, 1], [x, 1, 2], [x, 2, 0]])
        assert len(set(oracle.label(around, np.zeros(3, dtype=np.int64)))) == 1


def test_circles_are_of_each_prompt_and_seed(make_world: MakeWorld) -> None:
    world = make_world(0, 4, 3, ragged=False)
    pairs = np.array([[x, 0, 1] for x in range(4)])
    signs = {tuple(np.sign(added("intransitive", world, seed, pairs))) for seed in range(20)}
    assert len(signs) > 8


def test_tastes_have_a_deviation_of_one_within_prompts(make_world: MakeWorld) -> None:
    world = make_world(3, 300, 5)
    for name in ("length-bias(weight=1)", "drift(period=4)"):
        ((_, stage), _) = make_annotator(name).stages
        assert isinstance(stage, Perception)
        step = stage.on(AnnotatorContext(world.pool, world.truth.rewards, None, 0))
        pairs = ordered_pairs(world)
        time = np.ones(len(pairs), dtype=np.int64)  # a quarter of a period
        extra = step(Questions(pairs, 0 * time, time), np.zeros(len(pairs)))
        # The mean square difference of n completions is twice their variance, times n/(n−1).
        n = world.pool.valid.sum(axis=1)[pairs[:, 0]]
        assert np.sum(extra**2 / n) / 2 / world.pool.valid.sum() == pytest.approx(1)


def test_what_does_not_vary_biases_nobody(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(1)
    valid = world.pool.valid
    pool = Pool(np.full(world.pool.features.shape, 0.1), lengths=57 * valid, valid=valid)
    world = replace(world, pool=pool)
    pairs, repeat = many(ordered_pairs(world), 3000)
    plain = answering("bradley-terry", 0, world).label(pairs, repeat)
    for name in ("length-bias(weight=9)", "sycophancy(weight=9)", "drift(size=9, period=7)"):
        biased = answering(name, 0, world).label(pairs, repeat, np.arange(len(pairs)))
        np.testing.assert_array_equal(biased, plain)


def test_perceptions_add_up_in_any_order(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(1)
    pairs = ordered_pairs(world)
    names = ["position-bias", "length-bias", "myopic", "intransitive", "sycophancy", "drift"]
    one, other = (
        answering(" | ".join(order), 0, world).expected(pairs, np.full(len(pairs), 9))
        for order in (names, names[::-1])
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)
    # Twice the same stage is two of them, each with random numbers of its own.
    twice, double = (
        answering(text, 0, world).expected(pairs)
        for text in ("intransitive | intransitive", "intransitive(strength=2)")
    )
    assert np.abs(twice - double).max() > 0.05


def test_a_position_bias_is_of_the_order_and_not_of_the_coin(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1)
    pairs, repeat = many(ordered_pairs(world), 20_000)
    repeat %= 100
    oracle = answering("position-bias(weight=2)", 0, world)
    shown, turned = (oracle.label(p, repeat) for p in (pairs, pairs[:, [0, 2, 1]]))
    # The one that wins when shown second also wins when shown first.
    assert (turned[shown == 0] == 1).all()
    assert 0.3 < np.mean(turned[shown == 1]) < 0.7


def test_a_myopic_annotator_needs_steps(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world()
    world = replace(world, truth=Truth(world.truth.rewards, world.truth.held_out))
    with pytest.raises(InvalidParameter, match="'myopic' weighs rewards by step, and this world"):
        answering("myopic", 0, world)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("position-bias(weight=1e999)", "weight must be a finite number, got inf"),
        ("length-bias(weight=-1e999)", "weight must be a finite number, got -inf"),
        ("sycophancy(weight=1e999)", "weight must be a finite number"),
        ("myopic(gamma=1.1)", "gamma must be between 0 and 1, got 1.1"),
        ("myopic(gamma=-0.1)", "gamma must be between 0 and 1"),
        ("intransitive(strength=1e999)", "strength must be a finite number"),
        ("drift(size=1e999)", "size must be a finite number"),
        ("drift(period=0)", "period must be positive and finite, got 0"),
    ],
)
def test_impossible_perceptions_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(text)
