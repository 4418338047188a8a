import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from pairbench import InvalidParameter
from pairbench.oracles.annotators import make_annotator
from tests.oracles.conftest import Answering, MakeWorld, with_rewards
from tests.oracles.reference import answers_as, many, ordered_pairs


def logistic(delta: float) -> float:
    return 1 / (1 + math.exp(-delta))


def normal(delta: float) -> float:
    return 0.5 * math.erfc(-delta / 2)  # noise of variance 2


def cauchy(delta: float) -> float:
    return 0.5 + math.atan(delta) / math.pi


def student(df: float) -> Callable[[float], float]:
    def density(t: float) -> float:
        scale = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
        return float(scale * (1 + t * t / df) ** (-(df + 1) / 2))

    return lambda delta: 0.5 + float(quad(density, 0, delta)[0])


@pytest.mark.parametrize(
    ("annotator", "win", "temperature"),
    [
        ("bradley-terry", logistic, 1.0),
        ("bradley-terry(temperature=0.5)", logistic, 0.5),
        ("bradley-terry(temperature=3)", logistic, 3.0),
        ("thurstone", normal, 1.0),
        ("thurstone(temperature=2.5)", normal, 2.5),
        ("heavy-tailed", cauchy, 1.0),
        ("heavy-tailed(temperature=2)", cauchy, 2.0),
        ("heavy-tailed(df=2.5, temperature=0.7)", student(2.5), 0.7),
    ],
)
def test_answers_come_as_often_as_the_formula_says(
    make_world: MakeWorld,
    answering: Answering,
    annotator: str,
    win: Callable[[float], float],
    temperature: float,
) -> None:
    world = make_world(1)
    r = world.truth.rewards
    oracle = answering(annotator, 5, world)
    assert answers_as(oracle, world, lambda x, i, j: win((r[x, i] - r[x, j]) / temperature))
    # And the test can fail: another temperature shows.
    assert not answers_as(oracle, world, lambda x, i, j: win((r[x, i] - r[x, j]) / temperature / 2))
    pairs = ordered_pairs(world)
    expected = [win((r[x, i] - r[x, j]) / temperature) for x, i, j in pairs]
    np.testing.assert_allclose(oracle.expected(pairs), expected, rtol=1e-7)


def test_thurstone_is_noise_on_each_of_the_two(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(1)
    r, rng = world.truth.rewards, np.random.default_rng(0)
    noise = 2.5 * rng.normal(size=(2, 200_000))
    seen = np.mean(r[0, 0] + noise[0] > r[0, 1] + noise[1])
    p = answering("thurstone(temperature=2.5)", 0, world).expected(np.array([[0, 0, 1]]))[0]
    assert seen == pytest.approx(p, abs=0.005)


def test_certain_answers_are_the_better_one_and_a_half_where_rewards_are_equal(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1)
    world = with_rewards(world, np.round(world.truth.rewards))
    pairs, repeat = many(ordered_pairs(world), 5000)
    r = world.truth.rewards
    better = [0.5 if r[x, i] == r[x, j] else float(r[x, i] > r[x, j]) for x, i, j in pairs]
    oracle = answering("deterministic", 1, world)
    np.testing.assert_array_equal(oracle.label(pairs, repeat), better)
    np.testing.assert_array_equal(oracle.expected(pairs), better)
    assert 0.5 in better


def test_choices_differ_where_their_probabilities_do_and_nowhere_else(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1)
    pairs = ordered_pairs(world)
    asked, repeat = many(pairs[pairs[:, 1] < pairs[:, 2]])
    texts = ("bradley-terry", "bradley-terry(temperature=3)", "thurstone", "heavy-tailed(df=1)")
    oracles = [answering(text, 3, world) for text in texts]
    labels = [oracle.label(asked, repeat) for oracle in oracles]
    p = [oracle.expected(asked) for oracle in oracles]
    for k in range(1, len(texts)):
        apart = np.abs(p[k] - p[0])
        assert np.mean(labels[k] != labels[0]) == pytest.approx(apart.mean(), abs=0.004)
        # The same coin: who is likelier to prefer the first does so whenever the other does.
        assert (labels[k] >= labels[0])[p[k] >= p[0]].all()


def test_extreme_differences_make_no_warning_and_no_doubt(
    make_world: MakeWorld, answering: Answering
) -> None:
    world = make_world(1)
    world = with_rewards(world, world.truth.rewards * 1e300)
    pairs, repeat = many(ordered_pairs(world), 500)
    sure = answering("deterministic", 1, world).label(pairs, repeat)
    for text in ("bradley-terry", "thurstone", "heavy-tailed(df=0.5)"):
        np.testing.assert_array_equal(answering(text, 1, world).label(pairs, repeat), sure)
    oracle = answering("bradley-terry(agreement=0.7)", 1, world)
    assert 0.6 < np.mean(oracle.label(pairs, repeat) == sure) < 0.8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thurstone(temperature=-1)", "temperature must be positive and finite, got -1"),
        ("heavy-tailed(df=0)", "df must be positive and finite, got 0"),
        ("heavy-tailed(df=1e400)", "df must be positive and finite, got inf"),
        ("bradley-terry(agreement=0.5)", "more than 0.5, which is chance, .* got 0.5"),
        ("bradley-terry(agreement=0.3)", "more than 0.5"),
        ("bradley-terry(agreement=1)", "less than 1, which is 'deterministic'; got 1"),
        ("thurstone(agreement=1.2)", "agreement must be .* less than 1"),
        ("thurstone(agreement=0.7, temperature=2)", "agreement=0.7 sets the temperature, and so"),
        ("deterministic(agreement=0.7)", "'deterministic' has no parameter 'agreement'"),
    ],
)
def test_impossible_choices_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(text)
