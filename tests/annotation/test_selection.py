from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pairbench import Pairs, Pool, View, make_design
from pairbench.annotation.selection import (
    LabelledPairs,
    RandomLabels,
    Selection,
    match_labels,
    select_pairs,
)
from pairbench.errors import BudgetExceeded, InvalidPairs, InvalidParameter
from pairbench.information import label_information, policy_covariance
from pairbench.information.fisher import uniform_information
from pairbench.pool.corpus import read_corpus
from pairbench.pool.labels import Label

MakePool = Callable[..., Pool]
Write = Callable[..., Path]


def gap(pool: Pool, pairs: Pairs, ridge: float = 1.0, beta: float = 1.0) -> float:
    """The predicted gap before anything is known of θ, by its definition."""
    precision = ridge * np.eye(pool.dim) + label_information(pool, pairs)
    return float(np.trace(policy_covariance(pool) @ np.linalg.inv(precision))) / (2 * beta)


def past_of(pool: Pool, m: int, seed: int = 0) -> LabelledPairs:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(pool.pair_mask)
    return LabelledPairs(
        pairs[rng.integers(len(pairs), size=m)], rng.choice([0, 1, 0.5, np.nan], size=m)
    )


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    return make_pool(prompts=12, completions=6, dim=4, ragged=True, weighted=True)


@pytest.mark.parametrize("design", ["uniform", "i-optimal-two-stage", "leverage"])
def test_the_figures_are_what_they_say(pool: Pool, design: str) -> None:
    chosen = select_pairs(pool, make_design(design), 30, ridge=0.7, beta=2.0)
    assert chosen.pairs.shape == (30, 3)
    for k in (0, 1, 17, 30):
        np.testing.assert_allclose(chosen.gaps[k], gap(pool, chosen.pairs[:k], 0.7, 2.0), rtol=1e-9)
    assert (np.diff(chosen.gaps) < 0).all()
    # The expected information of so many random labels.
    covariance = policy_covariance(pool, beta=2.0)
    precision = 0.7 * np.eye(4) + 30 * uniform_information(pool)
    expected = np.trace(covariance @ np.linalg.inv(precision)) / 4
    np.testing.assert_allclose(chosen.random.gap(30), expected, rtol=1e-9)
    np.testing.assert_allclose(chosen.random.gap(chosen.worth), chosen.gap, rtol=1e-6)
    assert 0 < chosen.efficiency <= 1


def test_no_pairs_are_better_than_the_certificate_says(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    everything = np.argwhere(pool.pair_mask)
    chosen = select_pairs(pool, make_design("i-optimal-two-stage"), 8)
    limit = chosen.gap * chosen.efficiency
    for _ in range(300):
        others = everything[rng.integers(len(everything), size=8)]
        assert gap(pool, others) >= limit
    assert chosen.efficiency > 0.5


def test_good_pairs_are_worth_more_than_random_ones(make_pool: MakePool) -> None:
    pool = make_pool(prompts=20, completions=8, dim=4, duplicates=True)
    worth = select_pairs(pool, make_design("i-optimal-two-stage"), 40).worth
    assert worth > 80
    assert 25 < select_pairs(pool, make_design("uniform"), 40).worth < 60


def test_the_order_is_greedy_and_every_beginning_is_better_than_the_designs(pool: Pool) -> None:
    design = make_design("uniform")
    chosen = select_pairs(pool, design, 25, seed=3)
    left = chosen.pairs.tolist()
    for k, pair in enumerate(chosen.pairs.tolist()):
        best = min(gap(pool, np.array([*chosen.pairs[:k].tolist(), other])) for other in left)
        np.testing.assert_allclose(gap(pool, chosen.pairs[: k + 1]), best, rtol=1e-9)
        left.remove(pair)
    rng = np.random.default_rng(0)
    shuffled = [gap(pool, rng.permutation(chosen.pairs)[:8]) for _ in range(50)]
    assert chosen.gaps[8] < np.quantile(shuffled, 0.02)


def test_first_and_second_stay_as_the_design_showed_them(pool: Pool) -> None:
    asked: list[Pairs] = []

    def select(view: View, n: int) -> Pairs:
        pairs = np.argwhere(view.pool.pair_mask)[:n]
        pairs[::2] = pairs[::2][:, [0, 2, 1]]
        asked.append(pairs)
        return pairs

    chosen = select_pairs(pool, make_design(select), 10)
    assert sorted(chosen.pairs.tolist()) == sorted(asked[0].tolist())


def test_a_view_holds_what_was_answered(pool: Pool) -> None:
    past = past_of(pool, 7)
    views: list[View] = []

    def select(view: View, n: int) -> Pairs:
        views.append(view)
        return np.argwhere(view.pool.pair_mask)[:n]

    select_pairs(pool, make_design(select), 5, past=past, beta=0.5, ridge=2.0)
    (view,) = views
    assert (view.budget_left, view.horizon, view.round, view.rounds_left) == (5, 12, 1, 1)
    assert (view.beta, view.ridge, view.ledger.labels) == (0.5, 2.0, 7)
    np.testing.assert_array_equal(view.pairs, past.pairs)
    np.testing.assert_array_equal(view.labels, past.values)
    assert not view.pairs.flags.writeable
    assert not view.labels.flags.writeable


def test_labels_so_far_count(pool: Pool) -> None:
    past = past_of(pool, 60)
    before = select_pairs(pool, make_design("uniform"), 10)
    after = select_pairs(pool, make_design("uniform"), 10, past=past)
    assert after.gaps[0] < before.gaps[0]
    again = select_pairs(pool, make_design("uniform"), 10, past=past)
    np.testing.assert_array_equal(after.pairs, again.pairs)


def test_a_second_round_of_random_pairs_is_not_the_first_once_more(pool: Pool) -> None:
    def chosen(past: LabelledPairs | None, seed: int = 0) -> list[list[int]]:
        # Sorted, because labels change the order in which the same pairs are put.
        pairs = select_pairs(pool, make_design("uniform"), 10, past=past, seed=seed).pairs
        return sorted(pairs.tolist())

    first, second, third = (chosen(past) for past in (None, past_of(pool, 10), past_of(pool, 20)))
    assert first != second != third != first
    assert chosen(past_of(pool, 10, seed=1)) == second  # as many labels: the same random numbers
    assert chosen(None, seed=1) != first


def test_pairs_asked_again_are_counted(pool: Pool) -> None:
    one = np.argwhere(pool.pair_mask)[:1]
    past = LabelledPairs(one[:, [0, 2, 1]], np.array([np.nan]))
    chosen = select_pairs(pool, make_design(lambda view, n: np.tile(one, (n, 1))), 3, past=past)
    assert chosen.repeated == 3


def test_a_pool_in_which_nothing_matters_is_worth_nothing() -> None:
    # π_ref is sure of one completion, so no label changes the policy.
    pool = Pool(np.eye(3)[None], log_ref=[[0.0, -1e6, -1e6]])
    chosen = select_pairs(pool, make_design("uniform"), 2)
    assert (chosen.gap, chosen.worth, chosen.efficiency) == (0.0, 0.0, 1.0)


def test_nothing_random_makes_up_for_a_direction_that_it_never_sees() -> None:
    seen = np.diag([1.0, 0.0])
    random = RandomLabels.diagonalise(np.eye(2), np.eye(2), seen, 0.5)
    assert random.gap(0) == 2.0
    assert random.needed(1.5) == pytest.approx(1.0)
    assert random.needed(2.5) == 0.0
    assert random.needed(0.9) == np.inf


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_the_number_of_random_labels_is_that_of_their_gap(
    make_pool: MakePool, seed: int, labels: float, ridge: float
) -> None:
    pool = make_pool(seed, dim=3)
    random = RandomLabels.diagonalise(
        policy_covariance(pool), ridge * np.eye(3), uniform_information(pool), 1.0
    )
    np.testing.assert_allclose(random.needed(random.gap(labels)), labels, rtol=1e-5)


@pytest.mark.parametrize("budget", [0, -3, 10**6])
def test_a_budget_that_the_pool_cannot_serve_is_refused(pool: Pool, budget: int) -> None:
    with pytest.raises(InvalidParameter, match=rf"from 1 to {pool.n_pairs}, .* got {budget:,}"):
        select_pairs(pool, make_design("uniform"), budget)


@pytest.mark.parametrize("name", ["beta", "ridge"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_beta_and_ridge_are_positive(pool: Pool, name: str, value: float) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InvalidParameter, match=f"{name} must be positive and finite"):
        select_pairs(pool, make_design("uniform"), 5, **arguments)


def test_a_design_that_misbehaves_is_named(pool: Pool) -> None:
    def answering(pairs: object) -> Selection:
        return select_pairs(pool, make_design(lambda view, n: pairs), 2, name="mine.py")

    with pytest.raises(InvalidPairs, match=r"design 'mine\.py' returned no pairs, where 2 labels"):
        answering([])
    with pytest.raises(InvalidPairs, match=r"design 'mine.py' .* with itself"):
        answering([(0, 1, 1)])
    with pytest.raises(BudgetExceeded, match=r"design 'mine\.py' asked for 3 pairs"):
        answering([(0, 0, 1)] * 3)


def test_labels_find_their_pairs(write: Write) -> None:
    rows = [
        {"prompt": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "P", "chosen": "c", "rejected": "b"},
    ]
    corpus = read_corpus(write(rows))
    a, _, c = (candidate.digest for candidate in corpus.candidates)
    labels = [
        Label.model_validate({"id": f"{c}-{a}", "label": "tie"}),
        Label.model_validate({"id": f"{a}-{c}-2", "label": "skip"}),
    ]
    past = match_labels(corpus, labels, "labels.jsonl")
    assert past.pairs.tolist() == [[0, 0, 1], [0, 2, 1], [0, 2, 0], [0, 0, 2]]
    np.testing.assert_equal(past.values, [1, 1, 0.5, np.nan])
    assert len(match_labels(corpus, labels, "labels.jsonl", include_comparisons=False).pairs) == 2
    strange = Label.model_validate({"id": f"{a}-{'0' * 16}", "label": 1})
    with pytest.raises(InvalidPairs, match=rf"the first at label 3 of labels.jsonl \(id {a}-0"):
        match_labels(corpus, [*labels, strange], "labels.jsonl", include_comparisons=False)
