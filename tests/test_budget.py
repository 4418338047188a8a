from collections.abc import Callable

import numpy as np

from pairbench import Pool
from pairbench.budget import Ledger

NOTHING = np.empty((0, 3), dtype=np.int64)


def test_a_new_ledger_has_everything_to_spend() -> None:
    ledger = Ledger((5, 12, 20))
    assert (ledger.round, ledger.labels, ledger.tokens_read) == (0, 0, 0)
    assert (ledger.left, ledger.rounds_left) == (5, 3)


def test_a_charge_counts_labels_rounds_and_the_tokens_of_both_completions() -> None:
    pool = Pool(np.ones((2, 3, 1)), lengths=[[1, 10, 100], [1000, 10_000, 100_000]])
    ledger = Ledger((5, 12)).charge(np.array([[0, 0, 2], [1, 1, 0], [0, 0, 2]]), pool)
    assert (ledger.round, ledger.labels) == (1, 3)
    assert ledger.tokens_read == 101 + 11_000 + 101
    assert ledger.charge(np.array([[0, 1, 0]]), pool).tokens_read == ledger.tokens_read + 11


def test_what_a_round_leaves_over_is_carried_to_the_next(make_pool: Callable[..., Pool]) -> None:
    pool, pairs = make_pool(), np.array([[0, 0, 1], [1, 0, 1]])
    ledger = Ledger((5, 12)).charge(pairs, pool)
    assert (ledger.left, ledger.rounds_left) == (10, 1)
    ledger = Ledger((5, 12)).charge(NOTHING, pool)
    assert (ledger.left, ledger.rounds_left, ledger.tokens_read) == (12, 1, 0)


def test_after_the_last_round_nothing_is_left(make_pool: Callable[..., Pool]) -> None:
    ledger = Ledger((5,)).charge(NOTHING, make_pool())
    assert (ledger.left, ledger.rounds_left) == (0, 0)


def test_a_charge_leaves_the_old_ledger_as_it_was(make_pool: Callable[..., Pool]) -> None:
    ledger = Ledger((5, 12))
    ledger.charge(np.array([[0, 0, 1]]), make_pool())
    assert ledger == Ledger((5, 12))
