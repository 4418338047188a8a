"""Crowds: who votes, how, and what the votes come to."""

from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chisquare, kstest

from pairbench import InvalidParameter, PairEnv, Pool, World, make_env, play
from pairbench.cells.play import replay
from pairbench.oracles import VotingOracle
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.crowd import Crowd, CrowdTraits
from pairbench.oracles.stages import AnnotatorContext
from pairbench.pool.votes import Votes
from tests.oracles.conftest import drawn

Array = NDArray[np.float64]
WORLD = drawn(ragged=False)
TIMES = 100_000
MIXED = (
    "crowd(votes=3, annotators=6, reliability=(0.2, 1.0), temperature=0.7, tastes=2, deviation=0.8"
)


def crowd_of(text: str, seed: int = 0, world: World = WORLD) -> VotingOracle:
    oracle = world.with_annotator(text, seed).oracle
    assert isinstance(oracle, VotingOracle)
    return oracle


def people_of(text: str, seed: int = 0, world: World = WORLD) -> CrowdTraits:
    crowd = next(s for _, s in make_annotator(text).stages if isinstance(s, Crowd))
    return crowd.sample_traits(AnnotatorContext(world.pool, world.truth.rewards, None, seed))


def often(pair: list[int], times: int = TIMES) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.tile(pair, (times, 1)), np.arange(times)


def wins(
    people: CrowdTraits, pair: list[int], temperature: float, world: World = WORLD
) -> list[float]:
    """The probability that each annotator prefers the first."""
    x, i, j = pair
    rewards, found = world.truth.rewards, []
    for sure, group in zip(people.reliability, people.group, strict=True):
        taste = people.taste[group, x]
        delta = rewards[x, i] - rewards[x, j] + taste[i] - taste[j]
        found.append(sure * expit(delta / temperature) + (1 - sure) / 2)
    return found


@pytest.mark.parametrize("pair", [[0, 1, 3], [4, 2, 0]])
def test_frequencies_are_those_of_the_formula(pair: list[int]) -> None:
    p = wins(people_of(MIXED + ")"), pair, 0.7)
    # Any three of the six annotators; the probability of each number of wins.
    wins_of_three = np.zeros(4)
    for three in combinations(p, 3):
        chance = np.array([1.0])
        for q in three:
            chance = np.convolve(chance, [1 - q, q])
        wins_of_three += chance / 20
    soft = crowd_of(MIXED + ", aggregate='soft')").label(*often(pair))
    observed = np.bincount(np.rint(3 * soft).astype(int), minlength=4)
    assert chisquare(observed, TIMES * wins_of_three).pvalue > 1e-3
    majority = crowd_of(MIXED + ")").label(*often(pair))
    np.testing.assert_array_equal(majority, soft > 0.5)


def test_every_annotators_votes_have_his_own_frequency() -> None:
    pair = [2, 4, 1]
    votes = crowd_of(MIXED + ")").votes(*often(pair))
    p = np.array(wins(people_of(MIXED + ")"), pair, 0.7))
    count = np.bincount(votes.annotators.ravel(), minlength=6)
    won = np.bincount(votes.annotators.ravel(), votes.answers.ravel(), minlength=6)
    observed = np.concatenate([won, count - won])
    assert chisquare(observed, np.concatenate([count * p, count * (1 - p)]), ddof=5).pvalue > 1e-3


def test_voters_are_any_and_all_different() -> None:
    votes = crowd_of("crowd(votes=3, annotators=5)").votes(*often([1, 0, 2]))
    orders = {order: k for k, order in enumerate(permutations(range(5), 3))}
    found = np.bincount([orders[tuple(row)] for row in votes.annotators.tolist()], minlength=60)
    assert chisquare(found).pvalue > 1e-3
    everyone = crowd_of("crowd(votes=5, annotators=5)").votes(*often([1, 0, 2], 50))
    np.testing.assert_array_equal(np.sort(everyone.annotators, axis=1), np.tile(range(5), (50, 1)))


def test_people_are_drawn_as_they_are_said_to_be() -> None:
    text = "crowd(annotators=900, reliability=(0.3, 0.8), tastes=7, deviation=1.5)"
    people = people_of(text, world=drawn())
    assert kstest(people.reliability, "uniform", (0.3, 0.5)).pvalue > 1e-3
    assert set(np.bincount(people.group).tolist()) == {128, 129}
    pool = drawn().pool
    for taste in people.taste:
        # A direction of the features, of this spread within prompts.
        assert np.std(taste[pool.valid]) == pytest.approx(1.5)
        for x in range(pool.n_prompts):
            assert taste[x, pool.valid[x]].mean() == pytest.approx(0, abs=1e-9)
    inside = [pool.phi[x, pool.valid[x]] for x in range(pool.n_prompts)]
    z = np.concatenate([phi - phi.mean(axis=0) for phi in inside])
    _, residual, *_ = np.linalg.lstsq(z, people.taste[:, pool.valid].T, rcond=None)
    np.testing.assert_allclose(residual, 0, atol=1e-12)
    other = people_of(text, seed=1, world=drawn())
    assert not np.allclose(other.reliability, people.reliability)


def test_one_reliable_vote_is_bradley_terry() -> None:
    pairs, repeat = often([3, 0, 4], 200)
    pairs[::2] = pairs[::2, [0, 2, 1]]
    alone = crowd_of("crowd(votes=1, reliability=(1, 1), temperature=2)").label(pairs, repeat)
    plain = WORLD.with_annotator("bradley-terry(temperature=2)", 0).oracle.label(pairs, repeat)
    np.testing.assert_array_equal(alone, plain)


def test_coins_are_shared_between_crowds() -> None:
    pairs, repeat = often([3, 0, 4], 20_000)
    three, five = (crowd_of(f"crowd(votes={v})").votes(pairs, repeat) for v in (3, 5))
    np.testing.assert_array_equal(three.annotators, five.annotators[:, :3])
    np.testing.assert_array_equal(three.answers, five.answers[:, :3])
    # One who is a little less reliable answers otherwise only now and then.
    low, high = (
        crowd_of(f"crowd(reliability=({r}, {r}))").votes(pairs, repeat) for r in (0.8, 0.9)
    )
    p = wins(people_of("crowd(reliability=(1, 1))"), [3, 0, 4], 1.0)[0]
    assert np.mean(low.answers != high.answers) == pytest.approx(0.1 * abs(p - 0.5), abs=0.005)


def test_the_same_question_has_the_same_votes_in_any_order_and_turned() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(5, size=300)
    pairs = np.stack(
        [rng.integers(6, size=300), first, (first + rng.integers(1, 5, size=300)) % 5], axis=1
    )
    repeat = rng.integers(3, size=300)
    chain = MIXED + ") | mistake(rate=0.2)"
    votes, order = crowd_of(chain).votes(pairs, repeat), rng.permutation(300)
    again = crowd_of(chain).votes(pairs[order], repeat[order])
    np.testing.assert_array_equal(again.annotators, votes.annotators[order])
    np.testing.assert_array_equal(again.answers, votes.answers[order])
    turned = crowd_of(chain).votes(pairs[:, [0, 2, 1]], repeat)
    np.testing.assert_array_equal(turned.annotators, votes.annotators)
    np.testing.assert_array_equal(turned.answers, 1 - votes.answers)


def test_replies_are_every_voters_own() -> None:
    pairs, repeat = often([3, 0, 4], 20_000)
    plain = crowd_of("crowd").votes(pairs, repeat)
    mistaken = crowd_of("crowd | mistake(rate=0.2)").votes(pairs, repeat)
    wrong = plain.answers != mistaken.answers
    np.testing.assert_allclose(wrong.mean(axis=0), 0.2, atol=0.015)
    # Independent: all three are wrong as often as chance has it.
    assert np.mean(wrong.all(axis=1)) == pytest.approx(0.008, abs=0.003)


def test_a_pool_whose_features_do_not_vary_has_no_tastes() -> None:
    flat = replace(WORLD, pool=Pool(np.ones(WORLD.pool.features.shape)))
    text = "crowd(tastes=3, deviation=2)"
    np.testing.assert_allclose(people_of(text, world=flat).taste, 0, atol=1e-12)
    assert set(crowd_of(text, world=flat).label(*often([0, 0, 1], 50))) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("votes=0", "votes must be 1 or more, got 0"),
        ("annotators=0", "annotators must be 1 or more, got 0"),
        ("tastes=0", "tastes must be 1 or more, got 0"),
        ("votes=4, annotators=3", "votes must be at most 3, the number of annotators, got 4"),
        ("tastes=31", "tastes must be at most 30, the number of annotators, got 31"),
        ("votes=2.5", "votes: .* integer"),
        ("reliability=(0.5, 1.1)", "each bound of reliability must be between 0 and 1, got 1.1"),
        ("reliability=(-1, 1)", "each bound of reliability must be between 0 and 1, got -1"),
        ("reliability=(1, 0.5)", r"its least value and its greatest, got \(1.0, 0.5\)"),
        ("reliability=(1,)", "reliability"),
        ("reliability=0.5", "reliability"),
        ("temperature=0", "temperature must be positive and finite, got 0"),
        ("deviation=1e999", "deviation must be a finite number, 0 or more, got inf"),
        ("deviation=-1", "deviation must be a finite number, 0 or more, got -1"),
        ("aggregate='median'", "aggregate must be 'majority' or 'soft', got 'median'"),
    ],
)
def test_a_crowd_that_cannot_be_is_refused(params: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_env("Isotropic-v1", annotator=f"crowd({params})")


# -- what designs see ----------------------------------------------------------------------------


def env_of(annotator: str | None, **params: Any) -> PairEnv:
    env = PairEnv("LogLinear-v1", (5, 12), prompts=6, completions=4, dim=3, annotator=annotator)
    env.reset(seed=2)
    return env


def test_a_view_shows_the_votes_that_the_labels_are_made_of() -> None:
    env = env_of("crowd(votes=5, annotators=7)")
    first = env.view().votes
    assert first is not None
    assert first.answers.shape == (0, 5)
    for pairs in ([[0, 0, 1]] * 5, [[0, 1, 0]] * 3 + [[1, 0, 1]] * 4):
        env.step(env.action(np.array(pairs)))
    view = env.view()
    assert view.votes is not None
    assert view.votes.answers.shape == (12, 5)
    np.testing.assert_array_equal(view.votes.majority(), view.labels)
    # Asked again, a question meets other annotators.
    assert len(np.unique(view.votes.annotators[:8], axis=0)) > 4
    with pytest.raises(ValueError, match="read-only"):
        view.votes.answers[0] = 1
    again: Votes | None = env.view(control=True).votes
    assert again is not None
    np.testing.assert_array_equal(again.annotators, view.votes.annotators)


def test_the_votes_in_a_view_are_of_the_time_when_they_were_given() -> None:
    env = env_of("drift(size=20, period=9) | position-bias(weight=2) | crowd(votes=5) | mistake")
    for pairs in ([[0, 0, 1]] * 5, [[0, 1, 0]] * 3 + [[1, 0, 1]] * 4):
        env.step(env.action(np.array(pairs)))
    view = env.view()
    assert view.votes is not None
    np.testing.assert_array_equal(view.votes.majority(), view.labels)


@pytest.mark.parametrize("annotator", [None, "deterministic | mistake"])
def test_where_one_annotator_answers_there_are_no_votes(annotator: str | None) -> None:
    env = env_of(annotator)
    env.step(env.action(np.array([[0, 0, 1]])))
    assert env.view().votes is None


def test_an_episode_is_the_same_again_and_a_design_may_weigh_votes() -> None:
    env = make_env(
        "LogLinear-v1", prompts=6, completions=4, dim=3, annotator="crowd(reliability=(0, 1))"
    )
    for design in ("uniform", "uncertainty(estimator=\"laplace(votes='dawid-skene')\")"):
        played = play(env, design, 3, (20, 40))
        again = replay(env, [round_.pairs for round_ in played.rounds], 3, (20, 40))
        assert again.results() == played.results()
