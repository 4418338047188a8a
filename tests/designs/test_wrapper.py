"""Designs that change another one, and what designs do where things cost money."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pairbench import InvalidParameter, Pool, Prices, View, make_design, play
from pairbench.information import policy_covariance
from pairbench.view.budget import open_ledger
from tests.reference import all_pairs, precision_of, sigmoid, theta_of, unordered

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
READING = Prices(label=0.5, token_read=0.05)


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    rng = np.random.default_rng(5)
    made = make_pool(6, 6, 5, 3, ragged=True)
    lengths = np.where(made.valid, rng.integers(1, 60, size=made.valid.shape), 0)
    return Pool(made.features, valid=made.valid, lengths=lengths)


@pytest.fixture
def view(pool: Pool, make_view: MakeView) -> View:
    """A first round with 40 units of money."""
    made = make_view(pool, n=5)
    return replace(made, ledger=open_ledger((40,), None, pool, unit="money", prices=READING))


def cost(view: View, question: tuple[int, ...]) -> float:
    x, i, j = question
    return 0.5 + 0.05 * float(view.pool.lengths[x, i] + view.pool.lengths[x, j])


def test_per_cost_buys_by_the_ratio_until_the_money_ends(view: View) -> None:
    def distance(question: tuple[int, int, int]) -> float:
        x, i, j = question
        return float(((view.pool.phi[x, i] - view.pool.phi[x, j]) ** 2).sum())

    rows = all_pairs(view.pool)
    least = min(map(distance, rows))
    order = sorted(rows, key=lambda row: -(distance(row) - least) / cost(view, row))
    affordable = np.cumsum([cost(view, row) for row in order]) <= 40
    expected = [row for row, there in zip(order, affordable, strict=True) if there]
    chosen = make_design("per-cost", design="max-distance").select(view, 5)
    assert 0 < len(expected) < len(rows)
    assert unordered(chosen) == expected
    plain = unordered(make_design("max-distance").select(view, len(expected)))
    assert set(plain) != set(expected)


def test_per_cost_is_the_other_design_where_all_pairs_cost_the_same(
    pool: Pool, make_view: MakeView
) -> None:
    for name in ("max-distance", "smallest-gap", "eubo"):
        views = [make_view(pool, n=6) for _ in range(2)]
        chosen = [
            unordered(make_design(design).select(own, 6))
            for design, own in zip((name, f"per-cost(design={name!r})"), views, strict=True)
        ]
        assert chosen[0] == chosen[1]


def test_greedy_i_robust_buys_what_gains_most_for_its_price(view: View) -> None:
    design = make_design("greedy-i-robust", selectivity=1000, residual=0.0)
    theta = theta_of(view)
    precision = precision_of(view, theta)
    covariance = policy_covariance(view.pool, theta, view.beta)
    money, expected = 40.0, []
    while True:
        gains = {}
        for x, i, j in all_pairs(view.pool):
            z = view.pool.phi[x, i] - view.pool.phi[x, j]
            w = sigmoid(float(z @ theta)) * sigmoid(-float(z @ theta))
            after = np.linalg.inv(precision + w * np.outer(z, z))
            fall = np.trace(covariance @ np.linalg.inv(precision)) - np.trace(covariance @ after)
            if cost(view, (x, i, j)) <= money:
                gains[x, i, j] = fall / cost(view, (x, i, j))
        if not gains:
            break
        best = max(gains, key=lambda row: gains[row])
        x, i, j = best
        z = view.pool.phi[x, i] - view.pool.phi[x, j]
        precision += sigmoid(float(z @ theta)) * sigmoid(-float(z @ theta)) * np.outer(z, z)
        money -= cost(view, best)
        expected.append(best)
    assert unordered(design.select(view, 5)) == expected


def growing(pool: Pool, make_view: MakeView, hidden: list[int], money: int, **prices: Any) -> View:
    """A round in which some completions of each prompt can still be generated."""
    ledger = open_ledger((money,), None, pool, unit="money", prices=Prices(**prices))
    return replace(make_view(pool, n=5), ledger=ledger, hidden=np.array(hidden))


def test_generate_first_fills_the_smallest_prompts_up_first(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(0, 3, 6, 2)
    there = np.arange(6) < np.array([[2], [4], [3]])
    view = growing(pool.restrict(there), make_view, [4, 2, 1], 30, completion=1.0)
    design = make_design("generate-first", completions=5)
    assert design.generate(view).tolist() == [0, 0, 2, 0, 1]
    poor = growing(pool.restrict(there), make_view, [4, 2, 1], 3, completion=1.0)
    assert design.generate(poor).tolist() == [0, 0, 2]
    assert make_design("generate-first", completions=2).generate(view).tolist() == []


def test_generate_first_leaves_the_choice_to_the_other_design(
    make_pool: MakePool, make_view: MakeView
) -> None:
    views = [make_view(make_pool(0, 4, 5, 2), n=6) for _ in range(2)]
    wrapper = make_design("generate-first(design='max-distance', completions=4)")
    chosen = wrapper.select(views[0], 6)
    np.testing.assert_array_equal(chosen, make_design("max-distance").select(views[1], 6))


def test_all_pairs_generates_for_as_many_prompts_as_it_can_label_completely() -> None:
    spec = (
        "GenerateThenLabel-v1(prompts=9, held_out_prompts=4, completions=6, dim=3, "
        "prices='label=1, completion=0.5')"
    )
    # A prompt takes 2 completions and 6 labels: 7 units, so that 5 prompts are completed.
    episode = play(spec, "all-pairs(completions=4)", 2, (10, 35))
    drawn = np.concatenate([r.generated for r in episode.rounds])
    assert sorted(np.bincount(drawn, minlength=9).tolist()) == [0] * 4 + [2] * 5
    asked = unordered(np.concatenate([r.pairs for r in episode.rounds]))
    assert len(set(asked)) == len(asked) == 30
    assert {x for x, _, _ in asked} == set(drawn.tolist())


def test_all_pairs_begins_one_prompt_at_least() -> None:
    spec = "GenerateThenLabel-v1(prompts=4, held_out_prompts=4, completions=12, dim=3)"
    (round_,) = play(spec, "all-pairs(completions=12)", 0, (20,)).rounds
    assert len(set(round_.generated.tolist())) == len(set(round_.pairs[:, 0].tolist())) == 1
    assert (len(round_.generated), len(round_.pairs)) == (10, 19)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("per-cost(design='uniform')", "'uniform' does not score pairs"),
        ("per-cost(design='oracle-i-optimal')", "is a control"),
        ("per-cost(design='my.py')", "goes by its name"),
        ("generate-first(design='unifrom')", "Did you mean 'uniform'"),
        ("generate-first(completions=0)", "completions must be 1 or more, got 0"),
    ],
)
def test_wrappers_refuse_what_they_cannot_wrap(spec: str, message: str) -> None:
    with pytest.raises((InvalidParameter, LookupError), match=message):
        make_design(spec)
