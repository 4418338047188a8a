from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairbench import Pool
from pairbench.information import greedy_d
from pairbench.information.greedy import Array


def log_det(matrix: Array) -> float:
    return float(np.linalg.slogdet(matrix)[1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_each_choice_raises_the_determinant_most(
    make_pool: Callable[..., Pool], seed: int, n: int, ragged: bool
) -> None:
    pool, rng = make_pool(seed, 3, 4, 3, ragged=ragged), np.random.default_rng(seed)
    candidates = np.argwhere(pool.pair_mask)
    omega = rng.uniform(0.05, 0.25, size=len(candidates))
    root = rng.normal(size=(3, 3))
    start = root @ root.T + 0.1 * np.eye(3)
    chosen = greedy_d(pool, candidates, start.copy(), n, omega)
    assert chosen.shape == (n, 3)
    matrix = start
    for row in chosen:
        raised = []
        for (x, i, j), weight in zip(candidates, omega, strict=True):
            z = pool.phi[x, i] - pool.phi[x, j]
            raised.append(matrix + weight * np.outer(z, z))
        mine = int(np.flatnonzero((candidates == row).all(axis=1))[0])
        best = max(log_det(m) for m in raised)
        assert log_det(raised[mine]) == pytest.approx(best, abs=1e-9)
        matrix = raised[mine]


def test_a_pair_is_repeated_where_nothing_else_tells_as_much() -> None:
    pool = Pool([[[0.0, 0.0], [3.0, 0.0], [0.0, 0.1]]])
    candidates = np.array([[0, 0, 1], [0, 0, 2]])
    chosen = greedy_d(pool, candidates, np.eye(2), 4, np.full(2, 0.25))
    np.testing.assert_array_equal(chosen, [[0, 0, 1]] * 4)


def test_the_information_given_is_not_changed(make_pool: Callable[..., Pool]) -> None:
    pool, start = make_pool(), np.eye(3)
    greedy_d(pool, np.argwhere(pool.pair_mask), start, 5, np.full(pool.n_pairs, 0.25))
    np.testing.assert_array_equal(start, np.eye(3))
