"""Views in which the rules of the designs are compared with slow transcriptions."""

from collections.abc import Callable

import numpy as np
import pytest

from pairbench import Pool, View
from tests.reference import all_pairs

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
RIDGE, BETA = 0.5, 0.8


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    """A later round of a ragged pool."""
    pool = make_pool(7, 6, 5, 3, ragged=True)
    rng = np.random.default_rng(3)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:9]
    pairs[::2] = pairs[::2][:, [0, 2, 1]]
    labels = rng.choice([0.0, 1.0, 0.5], size=9)
    labels[4] = np.nan
    return make_view(pool, pairs, labels, n=6, ridge=RIDGE, beta=BETA)


@pytest.fixture(params=[0.02, 0.5])
def wide_view(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> View:
    """A pool of many pairs of which few were asked, some that saturate, under a weak prior too."""
    pool = make_pool(7, 12, 5, 4, ragged=True)
    pairs = np.array(all_pairs(pool))[::6]
    labels = (pool.differences(pairs) @ np.array([3.0, -3.0, 1.0, 0.0]) > 0).astype(np.float64)
    labels[::5] = np.nan
    return make_view(pool, pairs, labels, ridge=request.param, beta=BETA)


@pytest.fixture
def due_view(make_pool: MakePool, make_view: MakeView) -> View:
    """Every prompt of a ragged pool was asked once, so that all of their turns are due."""
    pool = make_pool(7, 6, 7, 3, ragged=True)
    pairs = np.array([all_pairs(pool.subset([x]))[0] for x in range(6)])
    pairs[:, 0] = np.arange(6)
    return make_view(pool, pairs, [1, 0, 1, 1, 0, 0.5], n=6, ridge=RIDGE, beta=BETA)
