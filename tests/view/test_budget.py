from collections.abc import Callable

import numpy as np
import pytest

from pairbench import InvalidParameter, Pool, Prices
from pairbench.view.budget import Ledger, check_unit, make_prices, min_label_price, open_ledger

MakePool = Callable[..., Pool]

NOTHING = np.empty((0, 3), dtype=np.int64)


def test_a_new_ledger_has_the_whole_budget() -> None:
    ledger = Ledger((5, 12, 20))
    assert (ledger.round, ledger.labels, ledger.tokens_read) == (0, 0, 0)
    assert (ledger.labels_left, ledger.rounds_left) == (5, 3)


def test_a_charge_counts_labels_rounds_and_the_tokens_of_both_completions() -> None:
    pool = Pool(np.ones((2, 3, 1)), lengths=[[1, 10, 100], [1000, 10_000, 100_000]])
    ledger = Ledger((5, 12)).charge(np.array([[0, 0, 2], [1, 1, 0], [0, 0, 2]]), pool)
    assert (ledger.round, ledger.labels) == (1, 3)
    assert ledger.tokens_read == 101 + 11_000 + 101
    assert ledger.charge(np.array([[0, 1, 0]]), pool).tokens_read == ledger.tokens_read + 11


def test_unused_budget_is_carried_to_the_next_round(make_pool: Callable[..., Pool]) -> None:
    pool, pairs = make_pool(), np.array([[0, 0, 1], [1, 0, 1]])
    ledger = Ledger((5, 12)).charge(pairs, pool)
    assert (ledger.labels_left, ledger.rounds_left) == (10, 1)
    ledger = Ledger((5, 12)).charge(NOTHING, pool)
    assert (ledger.labels_left, ledger.rounds_left, ledger.tokens_read) == (12, 1, 0)


def test_after_the_last_round_no_budget_is_left(make_pool: Callable[..., Pool]) -> None:
    ledger = Ledger((5,)).charge(NOTHING, make_pool())
    assert (ledger.labels_left, ledger.rounds_left) == (0, 0)


def test_a_charge_leaves_the_old_ledger_as_it_was(make_pool: Callable[..., Pool]) -> None:
    ledger = Ledger((5, 12))
    ledger.charge(np.array([[0, 0, 1]]), make_pool())
    assert ledger == Ledger((5, 12))


PRICES = Prices(label=0.5, vote=0.25, token_read=0.01, completion=0.1, reward_call=0.02)


@pytest.fixture
def ragged() -> Pool:
    rng = np.random.default_rng(0)
    valid = rng.random((6, 5)) < 0.6
    valid[:, :2] = True
    return Pool(
        rng.normal(size=(6, 5, 2)),
        valid=valid,
        lengths=rng.integers(1, 90, size=(6, 5)),
        scores=rng.normal(size=(6, 5)),
    )


def cost_of(pool: Pool, row: list[int], votes: int) -> float:
    """Compute the price of a pair's label from the price list by hand."""
    tokens = int(pool.lengths[row[0], row[1]] + pool.lengths[row[0], row[2]])
    return 0.5 + votes * (0.25 + 0.01 * tokens)


@pytest.mark.parametrize("votes", [1, 3])
def test_prices_of_pairs_are_those_of_the_list(ragged: Pool, votes: int) -> None:
    pairs = np.argwhere(ragged.pair_mask)
    costs = [cost_of(ragged, row, votes) for row in pairs.tolist()]
    ledger = open_ledger((100,), None, ragged, unit="money", prices=PRICES, votes=votes)
    np.testing.assert_allclose(ledger.cost(pairs, ragged), costs)
    assert ledger.label_price == pytest.approx(np.mean(costs))
    assert min_label_price(ragged, PRICES, votes) == pytest.approx(min(costs))
    scored = 0.02 * ragged.valid.sum()
    assert ledger.spent == pytest.approx(scored), "the pool came with its scores"
    ledger = ledger.charge(pairs, ragged).generate(7, ragged)
    assert ledger.spent == pytest.approx(scored + sum(costs) + 7 * 0.12)


def test_money_buys_pairs_from_the_first_on(ragged: Pool) -> None:
    pairs = np.argwhere(ragged.pair_mask)
    ledger = open_ledger((10, 30), None, ragged, unit="money", prices=PRICES)
    n = ledger.affordable(pairs, ragged)
    costs = [cost_of(ragged, row, 1) for row in pairs.tolist()]
    assert sum(costs[:n]) <= ledger.money_left < sum(costs[: n + 1])
    assert ledger.labels_left == int(ledger.money_left / ledger.label_price)
    after = ledger.charge(pairs[:n], ragged)
    assert after.money_left == pytest.approx(30 - ledger.spent - sum(costs[:n]))
    assert after.planned == n + after.labels_left
    assert after.charge(pairs[:0], ragged).money_left == 0


def test_sums_that_rounding_lifts_over_the_budget_are_within_it(make_pool: MakePool) -> None:
    pool = make_pool()
    ledger = open_ledger((3,), None, pool, unit="money", prices=Prices(label=0.1))
    pairs = np.repeat(np.argwhere(pool.pair_mask)[:1], 31, axis=0)
    assert sum([0.1] * 30) != 3
    assert ledger.labels_left == ledger.affordable(pairs, pool) == 30


def test_budgets_of_labels_keep_accounts_of_money_too(ragged: Pool) -> None:
    ledger = open_ledger((4,), None, ragged, prices=PRICES)
    assert (ledger.labels_left, ledger.money_left, ledger.affordable_completions) == (
        4,
        np.inf,
        None,
    )
    pairs = np.argwhere(ragged.pair_mask)[:4]
    spent = ledger.spent + sum(cost_of(ragged, row, 1) for row in pairs.tolist())
    assert ledger.charge(pairs, ragged).spent == pytest.approx(spent)


def test_a_budget_too_small_for_a_label_is_refused(ragged: Pool) -> None:
    with pytest.raises(InvalidParameter, match="buys no label, which costs 1"):
        open_ledger((1, 5), None, ragged, unit="money", prices=Prices(label=1.5))
    calls = Prices(reward_call=9.5 / ragged.valid.sum())
    with pytest.raises(InvalidParameter, match=r"of which 9\.5 pay for the scores of the pool"):
        open_ledger((10,), None, ragged, unit="money", prices=calls)
    with pytest.raises(InvalidParameter, match="every label must cost something"):
        open_ledger((10,), None, ragged, unit="money", prices=Prices(label=0.0, completion=1.0))


def test_a_price_list_is_parsed_from_text() -> None:
    assert make_prices("label=2, token_read=0.5") == Prices(label=2.0, token_read=0.5)
    assert make_prices("completion=1") == Prices(label=0.0, completion=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label=-1", "price of a label must be a finite number, 0 or more, got -1"),
        ("vote=1e999", "price of a vote"),
        ("labels=1", "no parameter 'labels'. Did you mean 'label'"),
        ("label='x'", "label"),
        ("1", "cannot read"),
    ],
)
def test_invalid_prices_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_prices(text)


def test_the_unit_of_budgets_is_labels_or_money() -> None:
    with pytest.raises(InvalidParameter, match="Did you mean 'money'"):
        check_unit("moneys")
