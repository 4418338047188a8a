"""The rules that rank no rewards: uniform, positional, of the policy's own draws, and diverse."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pool, View, make_design
from tests.reference import (
    all_pairs,
    best_fresh,
    drawn_as,
    per_prompt,
    theta_of,
    unordered,
)

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]


def both_ways(pool: Pool) -> list[Question]:
    """Every pair twice, either way round."""
    return [row for x, i, j in all_pairs(pool) for row in ((x, i, j), (x, j, i))]


@pytest.fixture
def ragged(make_pool: MakePool) -> Pool:
    """Prompts that differ in their number of completions, and in their weights."""
    pool = make_pool(7, 6, 5, 3, ragged=True, weighted=True)
    assert len(set(pool.valid.sum(axis=1).tolist())) > 1
    return pool


def test_uniform_draws_every_pair_alike_either_way_round(ragged: Pool, make_view: MakeView) -> None:
    chosen = make_design("uniform").select(make_view(ragged, n=40_000), 40_000)
    rows = both_ways(ragged)
    assert drawn_as(chosen, dict.fromkeys(rows, 1 / len(rows)))


def test_uniform_prompts_draws_prompts_alike_and_their_pairs_alike(
    ragged: Pool, make_view: MakeView
) -> None:
    view, rows = make_view(ragged, n=40_000), both_ways(ragged)
    pairs = Counter(x for x, _, _ in rows)
    chances = {row: 1 / (6 * pairs[row[0]]) for row in rows}
    chosen = make_design("uniform-prompts").select(view, 40_000)
    assert drawn_as(chosen, chances)
    assert not drawn_as(make_design("uniform").select(view, 40_000), chances)


def test_one_per_prompt_draws_a_new_pair_of_each_prompt_in_each_turn(
    ragged: Pool, make_view: MakeView
) -> None:
    chosen = make_design("one-per-prompt").select(make_view(ragged, n=30_000), 30_000)
    for turn in chosen[:600].reshape(-1, 6, 3):
        assert sorted(turn[:, 0].tolist()) == list(range(6))
    rows = both_ways(ragged)
    for x in range(6):
        own = [row for row in rows if row[0] == x]
        assert drawn_as(chosen[chosen[:, 0] == x], dict.fromkeys(own, 1 / len(own)))


def policy_of(view: View) -> Array:
    """π̂ ∝ π_ref exp(φᵀθ̂ / β), from the definition."""
    policy = np.exp(view.pool.log_ref + view.pool.phi @ theta_of(view) / view.beta)
    shares: Array = policy / policy.sum(axis=1, keepdims=True)
    return shares


def test_on_policy_draws_two_completions_of_the_current_policy(
    ragged: Pool, make_view: MakeView
) -> None:
    asked = all_pairs(ragged)[::2]
    labels = [1.0 if i % 3 else 0.0 for i in range(len(asked))]
    for pairs, answers in (([], []), (asked, labels)):
        view = make_view(ragged, pairs, answers, n=40_000, ridge=0.1, beta=0.5)
        policy = policy_of(view)
        chances: dict[Question, float] = {}
        for x in range(6):
            joint = {(i, j): policy[x, i] * policy[x, j] for y, i, j in both_ways(ragged) if y == x}
            for (i, j), chance in joint.items():
                chances[x, i, j] = ragged.prompt_weights[x] * chance / sum(joint.values())
        assert drawn_as(make_design("on-policy").select(view, 40_000), chances)


def test_on_policy_asks_pairs_when_the_policy_is_sure_of_one_completion(
    make_view: MakeView,
) -> None:
    pool = Pool(np.zeros((2, 4, 1)), log_ref=np.tile([0.0, -900.0, -2000.0, -900.0], (2, 1)))
    chosen = make_design("on-policy").select(make_view(pool, n=4000), 4000)
    likely = [row for row in both_ways(pool) if 0 in row[1:] and 2 not in row[1:]]
    assert drawn_as(chosen, dict.fromkeys(likely, 1 / 8))


# All pairs


def questions_of(pool: Pool, completions: int) -> dict[int, set[Question]]:
    """Each prompt's pairs among its first completions."""
    asked: dict[int, set[Question]] = {}
    for x in range(pool.n_prompts):
        there = [y for y in range(pool.n_completions) if pool.valid[x, y]][:completions]
        asked[x] = {(x, i, j) for i in there for j in there if i < j}
    return asked


@pytest.mark.parametrize("completions", [2, 3, 4, 9])
def test_all_pairs_finishes_one_prompt_before_the_next(
    ragged: Pool, make_view: MakeView, completions: int
) -> None:
    expected = questions_of(ragged, completions)
    total = sum(map(len, expected.values()))
    design = make_design("all-pairs", completions=completions)
    begun_last = set()
    for n in range(1, 2 * total + 1):
        chosen = unordered(design.select(make_view(ragged, n=n, seed=n), n))
        rows = chosen[(n - 1) // total * total :]  # all of it was asked before, once or not at all
        times = Counter(chosen[: len(chosen) - len(rows)])
        assert set(times) in (set(), set().union(*expected.values()))
        assert len(set(rows)) == len(rows), "a question came twice"
        parts = {x: expected[x] & set(rows) for x in expected}
        assert sum(map(len, parts.values())) == len(rows), "a question is of later completions"
        unfinished = [x for x in expected if parts[x] and parts[x] != expected[x]]
        assert len(unfinished) <= 1
        begun_last.update(unfinished)
    several = {x for x in expected if len(expected[x]) > 1}
    assert begun_last == several, "prompts come in random order"


def test_all_pairs_goes_on_with_the_prompt_that_was_begun(
    ragged: Pool, make_view: MakeView
) -> None:
    expected = questions_of(ragged, 4)
    n = sum(map(len, expected.values()))
    design = make_design("all-pairs")
    for cut in range(1, n):
        before = design.select(make_view(ragged, n=cut, seed=cut), cut)
        view = make_view(ragged, before, np.ones(cut), n=n - cut, seed=100 + cut)
        after = design.select(view, n - cut)
        assert len({*unordered(before), *unordered(after)}) == n, "a question came twice"
        for some in range(n - cut):
            both = {*unordered(before), *unordered(design.select(view, some))}
            parts = [expected[x] & both for x in expected]
            assert sum(0 < len(parts[x]) < len(expected[x]) for x in expected) <= 1


def test_all_pairs_counts_no_questions_of_other_completions(make_view: MakeView) -> None:
    pool = Pool(np.zeros((6, 5, 1)))
    others = [[x, 0, 4] for x in range(6)]  # somebody else's questions
    view = make_view(pool, [[3, 0, 1], *others], np.ones(7), n=2)
    for seed in range(5):
        again = make_view(pool, view.pairs, view.labels, n=2, seed=seed)
        chosen = unordered(make_design("all-pairs", completions=3).select(again, 2))
        assert sorted(chosen) == [(3, 0, 2), (3, 1, 2)]


# Positions and modes


def test_most_likely_takes_the_modes_of_the_reference(due_view: View) -> None:
    expected = {}
    for x in range(6):
        order = sorted(range(7), key=lambda y: -due_view.pool.log_ref[x, y])
        expected[x] = (order[0], order[1])
    assert per_prompt(make_design("most-likely").select(due_view, 6)) == expected


def test_first_two_takes_the_first_two_that_are_there(due_view: View) -> None:
    valid = due_view.pool.valid
    expected = {x: tuple(y for y in range(7) if valid[x, y])[:2] for x in range(6)}
    assert not valid[:, :2].all(), "the pool is ragged at the front"
    assert per_prompt(make_design("first-two").select(due_view, 6)) == expected


@pytest.mark.parametrize("name", ["one-per-prompt", "most-likely", "first-two", "aepo"])
def test_prompts_take_turns(name: str, view: View, make_view: MakeView) -> None:
    pairs = [[x, *np.flatnonzero(view.pool.valid[x])[:2]] for x in (0, 2, 5)]
    due = make_view(view.pool, pairs, [1, 0, 1], n=9)
    prompts = make_design(name).select(due, 9)[:, 0].tolist()
    assert sorted(prompts[:3]) == [1, 3, 4]
    assert sorted(prompts[3:]) == list(range(6))


# Diversity


def test_max_distance_takes_the_farthest(wide_view: View) -> None:
    expected = best_fresh(wide_view, lambda z: float(np.linalg.norm(z)), 25)
    assert unordered(make_design("max-distance").select(wide_view, 25)) == expected


def test_max_distance_repeats_nothing_before_all_is_asked(view: View) -> None:
    left = view.pool.n_pairs - len(view.pairs)
    chosen = unordered(make_design("max-distance").select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


@pytest.mark.parametrize("diversity", [0.0, 0.5, 1.0, 2.0])
def test_aepo_takes_the_best_subset_of_two(
    due_view: View, make_view: MakeView, diversity: float
) -> None:
    features = due_view.pool.features.copy()
    features[2, np.flatnonzero(due_view.pool.valid[2])[1]] = 0  # of no direction
    pool = Pool(features, valid=due_view.pool.valid)
    view = make_view(pool, due_view.pairs, due_view.labels, n=6)

    def objective(x: int, subset: tuple[int, int]) -> float:
        there = np.flatnonzero(pool.valid[x]).tolist()
        similarity = np.zeros((7, 7))
        for i in there:
            for j in there:
                lengths = np.linalg.norm(pool.phi[x, i]) * np.linalg.norm(pool.phi[x, j])
                if i != j and lengths > 0:
                    similarity[i, j] = pool.phi[x, i] @ pool.phi[x, j] / lengths
        # As the publication's code has it, for a subset of k of n responses.
        n, k = len(there), 2
        member = np.isin(np.arange(7), subset)
        representative = np.ones(7) @ similarity @ member / (n - 1) / k
        alike = member @ similarity @ member / k / (k - 1)
        return float(representative - diversity * alike)

    expected = {}
    for x in range(6):
        pairs = [(i, j) for y, i, j in all_pairs(pool) if y == x]
        expected[x] = max(pairs, key=lambda subset: objective(x, subset))
    chosen = make_design("aepo", diversity=diversity).select(view, 6)
    assert per_prompt(chosen) == expected


def test_aepo_draws_between_equal_completions(make_view: MakeView) -> None:
    phi = np.random.default_rng(0).normal(size=(3000, 17, 96))
    phi[:, 1:16] = phi[:, :1]
    chosen = make_design("aepo").select(make_view(Pool(phi), n=3000), 3000)
    alike = np.stack([np.zeros(3000), *np.sort(chosen[:, 1:], axis=1).T], axis=1)
    assert drawn_as(alike, {(0, i, 16): 1 / 16 for i in range(16)})


@pytest.mark.parametrize(
    ("name", "spec"), [("aepo", "aepo(diversity=1)"), ("all-pairs", "all-pairs(completions=4)")]
)
def test_defaults_are_those_of_the_publications(name: str, spec: str) -> None:
    assert make_design(name) == make_design(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("all-pairs(completions=1)", "completions must be 2 or more, got 1"),
        ("aepo(diversity=-0.1)", "diversity must be a finite number, 0 or more, got -0.1"),
        ("aepo(diversity=1e999)", "diversity must be a finite number, 0 or more, got inf"),
    ],
)
def test_parameters_that_cannot_be_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_design(spec)
