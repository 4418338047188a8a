from collections.abc import Callable

import numpy as np
from hypothesis import given, strategies as st

from pairbench import Pool
from pairbench.information import pair_forms, pair_gram

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 6), st.integers(1, 5))


@given(SEEDS, SHAPES)
def test_pair_forms_are_those_of_explicit_differences(
    make_pool: Callable[..., Pool], seed: int, shape: tuple[int, int, int]
) -> None:
    pool = make_pool(seed, *shape, duplicates=bool(seed % 2))
    root = np.random.default_rng(seed).normal(size=(pool.dim, pool.dim))
    matrix = root @ root.T
    forms = pair_forms(pool.phi, matrix)
    for x in range(pool.n_prompts):
        for i in range(pool.n_completions):
            for j in range(pool.n_completions):
                z = pool.phi[x, i] - pool.phi[x, j]
                np.testing.assert_allclose(forms[x, i, j], z @ matrix @ z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(forms, forms.transpose(0, 2, 1), rtol=1e-9, atol=1e-9)
    assert (forms >= 0).all()


@given(SEEDS, SHAPES)
def test_pair_gram_is_that_of_explicit_differences(
    make_pool: Callable[..., Pool], seed: int, shape: tuple[int, int, int]
) -> None:
    pool = make_pool(seed, *shape)
    k = pool.n_completions
    weights = np.random.default_rng(seed).random((pool.n_prompts, k, k))
    expected = np.zeros((pool.dim, pool.dim))
    for x in range(pool.n_prompts):
        for i in range(k):
            for j in range(k):
                # [i, j] and [j, i] are one pair's and are added.
                z = pool.phi[x, i] - pool.phi[x, j]
                expected += weights[x, i, j] * np.outer(z, z)
    gram = pair_gram(pool.phi, weights)
    np.testing.assert_allclose(gram, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(gram, gram.T)
    upper = weights * np.triu(np.ones((k, k)), 1)
    half = sum(
        upper[x, i, j] * np.outer(z, z)
        for x in range(pool.n_prompts)
        for i in range(k)
        for j in range(k)
        for z in [pool.phi[x, i] - pool.phi[x, j]]
    )
    np.testing.assert_allclose(pair_gram(pool.phi, upper), half, rtol=1e-9, atol=1e-9)


def test_neither_sum_changes_its_arguments(make_pool: Callable[..., Pool]) -> None:
    phi, weights, matrix = make_pool().phi.copy(), np.ones((5, 4, 4)), np.eye(3)
    before = phi.copy()
    pair_forms(phi, matrix)
    pair_gram(phi, weights)
    np.testing.assert_array_equal(phi, before)
    np.testing.assert_array_equal(weights, 1)
    np.testing.assert_array_equal(matrix, np.eye(3))
