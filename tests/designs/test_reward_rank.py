"""The rules that go by the order or the differences of predicted rewards."""

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import (
    Design,
    DuelDesign,
    InvalidParameter,
    Laplace,
    Pairs,
    Pool,
    View,
    duel_per_prompt,
    make_design,
)
from pairbench.design.registry import design_spec
from tests.reference import (
    all_pairs,
    best_fresh,
    drawn_as,
    history,
    per_prompt,
    theta_of,
    unordered,
)

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

DUELS = ["best-versus-worst", "best-versus-second", "best-versus-random", "ultrafeedback",
         "sweet-spot"]  # fmt: skip
GAPS = ["smallest-gap", "largest-gap", "delta-quantile", "difficulty"]


def ranking(view: View, x: int) -> list[int]:
    """The completions of a prompt, best first."""
    reward = view.pool.phi @ theta_of(view)
    there = np.flatnonzero(view.pool.valid[x]).tolist()
    return sorted(there, key=lambda y: -reward[x, y])


def in_roles(design: Design, view: View, n: int) -> Pairs:
    """What a design chooses; a duel rule's pairs as it names them, before they are turned."""
    if not isinstance(design, DuelDesign):
        return design.select(view, n)
    belief = design.belief(view)
    return duel_per_prompt(view, lambda: design.duel(belief, view.rng), n)


# Gaps


@pytest.mark.parametrize("name", ["smallest-gap", "difficulty"])
def test_the_least_difference_is_taken(name: str, wide_view: View) -> None:
    theta = theta_of(wide_view)
    expected = best_fresh(wide_view, lambda z: -abs(float(z @ theta)), 25)
    assert unordered(make_design(name).select(wide_view, 25)) == expected


def test_difficulty_is_the_gap_of_the_trained_policys_log_ratios(wide_view: View) -> None:
    log_policy, log_ref = wide_view.log_policy(), wide_view.pool.log_ref

    def gap(question: Question) -> float:
        x, i, j = question
        ratio = [wide_view.beta * (log_policy[x, y] - log_ref[x, y]) for y in (i, j)]
        return float(abs(ratio[0] - ratio[1]))

    fresh = set(all_pairs(wide_view.pool)) - set(unordered(wide_view.pairs))
    chosen = unordered(make_design("difficulty").select(wide_view, 25))
    assert chosen == sorted(fresh, key=gap)[:25]


def test_largest_gap_takes_the_largest_difference(wide_view: View) -> None:
    theta = theta_of(wide_view)
    expected = best_fresh(wide_view, lambda z: abs(float(z @ theta)), 25)
    assert unordered(make_design("largest-gap").select(wide_view, 25)) == expected


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_delta_quantile_takes_the_differences_of_a_middling_size(
    wide_view: View, quantile: float
) -> None:
    theta, phi = theta_of(wide_view), wide_view.pool.phi
    # Those of all pairs, asked or not; between two of them the quantile is interpolated.
    sizes = sorted(abs((phi[x, i] - phi[x, j]) @ theta) for x, i, j in all_pairs(wide_view.pool))
    below, share = divmod(quantile * (len(sizes) - 1), 1)
    target = sizes[int(below)]
    if share > 0:
        target += share * (sizes[int(below) + 1] - target)
    expected = best_fresh(wide_view, lambda z: -abs(abs(float(z @ theta)) - target), 25)
    design = make_design("delta-quantile", quantile=quantile)
    assert unordered(design.select(wide_view, 25)) == expected
    ends = {0.0: "smallest-gap", 1.0: "largest-gap"}
    if quantile in ends:
        assert unordered(make_design(ends[quantile]).select(wide_view, 25)) == expected


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("quantile", [0.0, 0.05, 0.4, 0.93, 1.0])
def test_the_optimistic_delta_quantile_is_active_ultrafeedbacks(
    due_view: View, quantile: float, beta: float
) -> None:
    design = make_design("delta-quantile", rule="optimistic", quantile=quantile, beta=beta)
    belief = Laplace().fit(due_view)
    expected = {}
    for x in range(due_view.pool.n_prompts):
        valid = np.flatnonzero(due_view.pool.valid[x]).tolist()
        upper = {i: belief.mean[x, i] + beta * belief.deviation[x, i] for i in valid}
        lower = {i: belief.mean[x, i] - beta * belief.deviation[x, i] for i in valid}
        gaps = {(i, j): upper[i] - lower[j] for i, j in permutations(valid, 2)}
        falling = sorted(gaps, key=lambda pair: -gaps[pair])
        rank = min(int(len(gaps) * quantile), len(gaps) - 1)
        expected[x] = gaps[falling[rank]], gaps
    chosen = design.select(due_view, due_view.pool.n_prompts)
    assert sorted(chosen[:, 0].tolist()) == list(expected)
    for x, i, j in chosen.tolist():
        gap, gaps = expected[x]
        # The order of the two is random, so the gap is that of either order.
        assert min(abs(gaps[i, j] - gap), abs(gaps[j, i] - gap)) < 1e-12


@pytest.mark.slow
def test_the_optimistic_delta_quantile_breaks_ties_at_random(
    make_pool: MakePool, make_view: MakeView
) -> None:
    # Before the first label all means are 0, and without width all gaps.
    view = make_view(make_pool(1, 1, 3, 2), n=1)
    design = make_design("delta-quantile", rule="optimistic", quantile=0.05, beta=0.0)
    chosen = np.concatenate([design.select(view, 1) for _ in range(9000)])
    pairs = [(0, 0, 1), (0, 0, 2), (0, 1, 2)]
    chances = {(x, *order): 1 / 6 for x, i, j in pairs for order in ((i, j), (j, i))}
    assert drawn_as(chosen, chances)


def test_the_optimistic_delta_quantile_gives_prompts_their_turns(view: View) -> None:
    design = make_design("delta-quantile(rule='optimistic', quantile=0.05)")
    asked = np.bincount(view.pairs[:, 0], minlength=view.pool.n_prompts)
    n = int((asked.max() - asked).sum()) + view.pool.n_prompts
    asked += np.bincount(design.select(view, n)[:, 0], minlength=view.pool.n_prompts)
    assert (asked == asked[0]).all()


def test_parameters_of_delta_quantile_that_came_later_are_not_on_record() -> None:
    assert design_spec("delta-quantile").params == {"estimator": "laplace", "quantile": 0.5}
    spec = design_spec("delta-quantile(rule='optimistic', beta=1.0)")
    assert spec.params == {"estimator": "laplace", "quantile": 0.5, "rule": "optimistic"}


@pytest.mark.parametrize("name", GAPS)
def test_gaps_are_repeated_only_when_all_is_asked(name: str, view: View) -> None:
    left = view.pool.n_pairs - len(view.pairs)
    chosen = unordered(make_design(name).select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


# Duels


def test_best_versus_worst_takes_the_extremes(due_view: View) -> None:
    expected = {x: (ranking(due_view, x)[0], ranking(due_view, x)[-1]) for x in range(6)}
    assert per_prompt(in_roles(make_design("best-versus-worst"), due_view, 6)) == expected


def test_best_versus_second_takes_the_two_best(due_view: View) -> None:
    expected = {x: tuple(ranking(due_view, x)[:2]) for x in range(6)}
    assert per_prompt(in_roles(make_design("best-versus-second"), due_view, 6)) == expected


def test_best_versus_random_draws_the_others_alike(due_view: View) -> None:
    chosen = in_roles(make_design("best-versus-random"), due_view, 9000)
    for x in range(6):
        best, *others = ranking(due_view, x)
        chances = {(x, best, other): 1 / len(others) for other in others}
        assert drawn_as(chosen[chosen[:, 0] == x], chances)


@pytest.mark.parametrize("among", [2, 3, 4, 9])
def test_ultrafeedback_takes_the_best_of_a_few_and_another_of_them(
    due_view: View, among: int
) -> None:
    chosen = in_roles(make_design("ultrafeedback", among=among), due_view, 9000)
    sizes = set()
    for x in range(6):
        ranked = ranking(due_view, x)
        subsets = list(combinations(ranked, min(among, len(ranked))))
        chances: dict[Question, float] = {}
        for best, *others in subsets:  # a subset is in the order of the ranking
            for other in others:
                chance = 1 / len(subsets) / len(others)
                chances[x, best, other] = chances.get((x, best, other), 0) + chance
        assert drawn_as(chosen[chosen[:, 0] == x], chances)
        sizes.add(len(ranked))
    assert min(sizes) < 4 < max(sizes), "some prompts have fewer completions than four, some more"


@pytest.mark.parametrize("below", [2.0, 1.0, 0.0, -3.0])
def test_sweet_spot_takes_the_completion_nearest_to_it(
    make_pool: MakePool, make_view: MakeView, below: float
) -> None:
    pool = make_pool(3, 8, 60, 3, ragged=True)
    pairs, labels = history(pool, 40)
    # As many labels of each prompt, so that all turns are due.
    pairs[:, 0] = np.arange(40) % 8
    pairs[:, 1:] = pool.valid_first[pairs[:, 0]][:, :2]
    view = make_view(pool, pairs, labels, n=8, ridge=0.1)
    reward, expected, worst = pool.phi @ theta_of(view), {}, {}
    for x in range(8):
        best, *others = ranking(view, x)
        rewards = [float(reward[x, y]) for y in (best, *others)]
        spot = float(np.mean(rewards)) - below * float(np.std(rewards))
        distance = {y: abs(float(reward[x, y]) - spot) for y in others}
        expected[x], worst[x] = (best, min(distance, key=lambda y: distance[y])), (best, others[-1])
    design = make_design("sweet-spot", below=below)
    assert per_prompt(in_roles(design, view, 8)) == expected
    assert expected != worst, "the pool tells the spot from the worst"


def test_sweet_spot_of_few_completions_is_the_worst(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(3, 300, 5, 3, ragged=True)
    pairs, labels = history(pool, 300)
    pairs[:, 0] = np.arange(300)
    pairs[:, 1:] = pool.valid_first[:, :2]
    view = make_view(pool, pairs, labels, n=300, ridge=0.1)
    chosen = [
        in_roles(make_design(name), view, 300) for name in ("sweet-spot", "best-versus-worst")
    ]
    assert per_prompt(chosen[0]) == per_prompt(chosen[1])


@pytest.mark.parametrize("name", DUELS)
def test_prompts_take_turns(name: str, view: View, make_view: MakeView) -> None:
    pairs = [[x, *np.flatnonzero(view.pool.valid[x])[:2]] for x in (0, 2, 5)]
    due = make_view(view.pool, pairs, [1, 0, 1], n=9)
    prompts = make_design(name).select(due, 9)[:, 0].tolist()
    assert sorted(prompts[:3]) == [1, 3, 4]
    assert sorted(prompts[3:]) == list(range(6))


# All of them


@pytest.mark.parametrize("name", [*DUELS, *GAPS])
def test_before_the_first_label_the_pair_is_random(name: str, make_view: MakeView) -> None:
    pool = Pool(np.random.default_rng(0).normal(size=(3000, 3, 2)))
    chosen = in_roles(make_design(name), make_view(pool, n=3000), 3000)
    i, j = np.sort(chosen[:, 1:]).T
    chosen = np.stack([np.zeros_like(i), i, j], axis=1)
    assert drawn_as(chosen, {(0, 0, 1): 1 / 3, (0, 0, 2): 1 / 3, (0, 1, 2): 1 / 3})


@pytest.mark.parametrize("name", [*DUELS, *GAPS])
def test_rewards_are_those_of_the_estimator_that_is_named(name: str, make_view: MakeView) -> None:
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(4, 6, 3)), scores=rng.normal(size=(4, 6)))
    view = make_view(pool, n=4)
    if name == "difficulty":
        with pytest.raises(InvalidParameter, match="no parameter 'estimator'"):
            make_design(name, estimator="laplace")
        return
    chosen = in_roles(make_design(name, estimator="laplace(trust=2.0)"), view, 4)
    prompt, first, second = chosen.T
    scores = pool.scores
    assert scores is not None
    if name in DUELS:
        assert (scores[prompt, first] > scores[prompt, second]).all()
    else:
        sizes = np.sort([abs(scores[x, i] - scores[x, j]) for x, i, j in all_pairs(pool)])
        middle = np.argsort(np.abs(sizes - np.median(sizes)))[:4]
        expected = {"smallest-gap": sizes[:4], "largest-gap": sizes[-4:]}.get(name, sizes[middle])
        taken = np.abs(scores[prompt, first] - scores[prompt, second])
        np.testing.assert_allclose(np.sort(taken), np.sort(expected))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("ultrafeedback", "ultrafeedback(among=4)"),
        ("sweet-spot", "sweet-spot(below=2.0)"),
    ],
)
def test_defaults_are_those_of_the_publications(name: str, spec: str) -> None:
    assert make_design(name) == make_design(spec)


def test_the_default_of_delta_quantile_is_the_median() -> None:
    spec = "delta-quantile(quantile=0.5, rule='nearest')"
    assert make_design("delta-quantile") == make_design(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ultrafeedback(among=1)", "among must be 2 or more, got 1"),
        ("sweet-spot(below=1e999)", "below must be a finite number, got inf"),
        ("delta-quantile(quantile=1.1)", "quantile must lie between 0 and 1, got 1.1"),
        ("delta-quantile(quantile=-0.1)", "quantile must lie between 0 and 1, got -0.1"),
        ("delta-quantile(rule='best')", "rule must be nearest or optimistic, got 'best'"),
        ("delta-quantile(beta=-1)", "beta must be a finite number, 0 or more, got -1"),
        ("delta-quantile(beta=1e999)", "beta must be a finite number, 0 or more, got inf"),
        ("delta-quantile(estimator='laplac')", "laplac"),
        ("sweet-spot(estimator='laplac')", "laplac"),
        ("ultrafeedback(estimator='laplac')", "laplac"),
    ],
)
def test_parameters_that_cannot_be_are_refused(spec: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        make_design(spec)
