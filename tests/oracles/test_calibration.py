from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, World, make_env
from pairbench.oracles import ExpectedLabelOracle
from pairbench.oracles.calibration import sample_evenly
from tests.oracles.conftest import Answering, MakeWorld, with_rewards
from tests.oracles.reference import Array, many, ordered_pairs

CHOICES = ["bradley-terry", "thurstone", "heavy-tailed", "heavy-tailed(df=3)"]


def with_agreement(choice: str, agreement: float) -> str:
    name, _, params = choice.rstrip(")").partition("(")
    return f"{name}({params}{', ' * bool(params)}agreement={agreement})"


def agreed(world: World, oracle: ExpectedLabelOracle) -> float:
    """How often the answers are for the better one, exactly, over all pairs of unequal rewards."""
    r, right = world.truth.rewards, []
    pairs = ordered_pairs(world)
    for (x, i, j), p in zip(pairs, oracle.expected(pairs), strict=True):
        if r[x, i] != r[x, j]:
            right.append(p if r[x, i] > r[x, j] else 1 - p)
    return float(np.mean(right))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("target", [0.505, 0.6, 0.72, 0.9, 0.995])
def test_the_target_is_hit_where_all_pairs_are_counted(
    make_world: MakeWorld, answering: Answering, choice: str, target: float
) -> None:
    world = make_world(2, 20, 7)
    world = with_rewards(world, np.round(world.truth.rewards * 2))  # ties do not count
    oracle = answering(with_agreement(choice, target), 0, world)
    assert agreed(world, oracle) == pytest.approx(target, abs=1e-8)


@pytest.mark.parametrize(
    "before",
    ["length-bias(weight=1)", "intransitive(strength=2)", "position-bias(weight=2)",
     "sycophancy(weight=-1) | myopic(gamma=0.5)", "drift(size=5)"],
)  # fmt: skip
def test_the_target_is_hit_by_what_is_perceived(
    make_world: MakeWorld, answering: Answering, before: str
) -> None:
    world = make_world(2, 20, 7)
    plain = answering("bradley-terry(agreement=0.7)", 0, world)
    oracle = answering(f"{before} | bradley-terry(agreement=0.7)", 0, world)
    assert agreed(world, oracle) == pytest.approx(0.7, abs=1e-8)
    pairs = ordered_pairs(world)
    same = np.allclose(oracle.expected(pairs), plain.expected(pairs), atol=1e-6)
    assert same == before.startswith("drift")  # there is none before the first label


def test_replies_do_not_count(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(2, 20, 7)
    oracle = answering("bradley-terry(agreement=0.8) | mistake(rate=0.25)", 0, world)
    assert agreed(world, oracle) == pytest.approx(0.8 * 0.75 + 0.2 * 0.25, abs=1e-8)


def test_answers_agree_as_often_as_they_should(make_world: MakeWorld, answering: Answering) -> None:
    world = make_world(2, 20, 7)
    pairs, repeat = many(ordered_pairs(world))
    labels = answering("thurstone(agreement=0.72)", 4, world).label(pairs, repeat)
    r, (x, i, j) = world.truth.rewards, pairs.T
    assert np.mean(labels == (r[x, i] > r[x, j])) == pytest.approx(0.72, abs=0.005)


@pytest.mark.parametrize("choice", ["bradley-terry", "heavy-tailed"])
@pytest.mark.parametrize("before", ["", "intransitive(strength=3) | "])
def test_the_target_is_hit_within_half_a_per_cent_where_pairs_are_sampled(
    choice: str, before: str
) -> None:
    world = make_env("LogLinear-v1", prompts=700, completions=24, dim=4, duplicates=0.5).world(0)
    pairs = np.argwhere(world.pool.pair_mask)
    assert len(pairs) > 2**17
    oracle = world.with_annotator(before + with_agreement(choice, 0.65), 0).oracle
    assert isinstance(oracle, ExpectedLabelOracle)
    x, i, j = pairs.T
    p = oracle.expected(pairs)
    better = world.truth.rewards[x, i] > world.truth.rewards[x, j]
    assert np.mean(np.where(better, p, 1 - p)) == pytest.approx(0.65, abs=0.005)


@pytest.mark.parametrize(
    ("annotator", "world", "reach"),
    [
        (
            "length-bias(weight=3) | bradley-terry(agreement=0.9)",
            lambda world: world,
            r"more than 0\.5 and less than 0\.\d+, whatever",
        ),
        (  # the better, the shorter
            "length-bias(weight=1e9) | thurstone(agreement=0.51)",
            lambda world: with_rewards(world, world.truth.rewards, _ranks(-world.truth.rewards)),
            r"nothing above chance, 0\.5",
        ),
        (
            "bradley-terry(agreement=0.6)",
            lambda world: with_rewards(world, np.ones(world.truth.rewards.shape)),
            r"nothing above chance, 0\.5",
        ),
    ],
)
def test_a_target_out_of_reach_is_refused_with_what_can_be_reached(
    make_world: MakeWorld,
    answering: Answering,
    annotator: str,
    world: Callable[[World], World],
    reach: str,
) -> None:
    with pytest.raises(InvalidParameter, match=rf"agreement=0\.\d+ cannot be reached .*{reach}"):
        answering(annotator, 0, world(make_world(2, 20, 7)))


def _ranks(values: Array) -> NDArray[np.int64]:
    return 1 + np.argsort(np.argsort(values, axis=1), axis=1)


def test_a_target_that_only_noise_can_reach_is_hit(
    make_world: MakeWorld, answering: Answering
) -> None:
    # Two prompts of three are seen wrongly, but by little; noise leaves the third.
    world = make_world(2, 3, 2, ragged=False)
    rewards = np.array([[0.1, 0], [0.1, 0], [5, 0]])
    world = with_rewards(world, rewards, np.array([[5, 50], [5, 50], [9, 9]]))
    sure = answering("length-bias(weight=0.3) | deterministic", 0, world)
    assert agreed(world, sure) == pytest.approx(1 / 3)
    oracle = answering("length-bias(weight=0.3) | bradley-terry(agreement=0.57)", 0, world)
    assert agreed(world, oracle) == pytest.approx(0.57, abs=1e-8)
    # And what is told of a higher one is the most that any temperature can do.
    with pytest.raises(InvalidParameter, match="less than") as refused:
        answering("length-bias(weight=0.3) | bradley-terry(agreement=0.7)", 0, world)
    told = float(str(refused.value).rpartition("less than ")[2].split(",")[0])
    chains = (
        f"length-bias(weight=0.3) | bradley-terry(temperature={t})"
        for t in 2 ** np.linspace(-9, 9, 200)
    )
    most = max(agreed(world, answering(chain, 0, world)) for chain in chains)
    assert told == pytest.approx(most, abs=2e-3)


@pytest.mark.parametrize("most", [1, 10, 100])
def test_pairs_are_spread_evenly(make_world: MakeWorld, most: int) -> None:
    pool = make_world(3, 40, 6).pool
    pairs = sample_evenly(pool, most)
    assert len(pairs) == most
    assert pool.proper(pairs).all()
    everything = {tuple(row): k for k, row in enumerate(np.argwhere(pool.pair_mask))}
    places = np.array([everything[tuple(row)] for row in pairs])
    edges = [len(everything) * k // most for k in range(most + 1)]
    assert all(a <= k < b for a, k, b in zip(edges, places, edges[1:], strict=False))
    np.testing.assert_array_equal(sample_evenly(pool, most), pairs)
    assert len(sample_evenly(pool, 10**6)) == pool.n_pairs
