from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import Members, Pool
from pairbench.estimators import centred
from tests.reference import all_pairs

Array = NDArray[np.float64]
MakePool = Callable[..., Pool]


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    return make_pool(3, ragged=True)


@pytest.fixture
def rewards(pool: Pool) -> Array:
    drawn = np.random.default_rng(0).normal(size=(6, *pool.valid.shape))
    # What stands where no completion is must not matter.
    return np.where(pool.valid, drawn, np.nan)


def relative(pool: Pool, rewards: Array, e: int, x: int, i: int) -> float:
    there = [rewards[e, x, k] for k in range(pool.n_completions) if pool.valid[x, k]]
    return float(rewards[e, x, i] - sum(there) / len(there))


def test_means_and_variances_are_over_the_members(pool: Pool, rewards: Array) -> None:
    belief = Members(pool, rewards)
    assert not pool.valid.all()
    for x, i in np.ndindex(pool.valid.shape):
        if not pool.valid[x, i]:
            assert belief.mean[x, i] == belief.variance[x, i] == 0
            continue
        values = [relative(pool, rewards, e, x, i) for e in range(6)]
        mean = sum(values) / 6
        variance = sum((value - mean) ** 2 for value in values) / 6
        assert belief.mean[x, i] == pytest.approx(mean)
        assert belief.variance[x, i] == pytest.approx(variance)
        assert belief.deviation[x, i] == pytest.approx(np.sqrt(variance))


def test_differences_are_believed_as_the_members_have_them(pool: Pool, rewards: Array) -> None:
    belief = Members(pool, rewards)
    pairs = np.array(all_pairs(pool))
    means, variances = belief.of_pairs(pairs)
    for k, (x, i, j) in enumerate(all_pairs(pool)):
        values = [rewards[e, x, i] - rewards[e, x, j] for e in range(6)]
        mean = sum(values) / 6
        variance = sum((value - mean) ** 2 for value in values) / 6
        assert means[k] == pytest.approx(mean)
        assert variances[k] == pytest.approx(variance)
        assert belief.differences()[x, i, j] == pytest.approx(mean)
        assert belief.differences()[x, j, i] == pytest.approx(-mean)
        assert belief.difference_variance()[x, i, j] == pytest.approx(variance)
        assert belief.difference_variance()[x, j, i] == pytest.approx(variance)


def test_draws_are_members_drawn_evenly(pool: Pool, rewards: Array) -> None:
    belief = Members(pool, rewards)
    drawn = belief.draws(6000, np.random.default_rng(0))
    assert drawn.shape == (6000, *pool.valid.shape)
    same = (drawn[:, None] == belief.rewards).all(axis=(2, 3))
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    assert chisquare(same.sum(axis=0)).pvalue > 1e-3


def test_draws_of_pairs_are_those_of_the_rewards(pool: Pool, rewards: Array) -> None:
    belief = Members(pool, rewards)
    pairs = np.array(all_pairs(pool))
    x, i, j = pairs.T
    whole = belief.draws(9, np.random.default_rng(1))
    some = belief.pair_draws(pairs, 9, np.random.default_rng(1))
    np.testing.assert_array_equal(some, whole[:, x, i] - whole[:, x, j])


def test_members_that_agree_are_certain(pool: Pool, rewards: Array) -> None:
    belief = Members(pool, np.repeat(rewards[:1], 5, axis=0))
    np.testing.assert_allclose(belief.variance, 0, atol=1e-30)
    np.testing.assert_allclose(belief.difference_variance(), 0, atol=1e-30)
    assert (belief.difference_variance() >= 0).all()


def test_centred_rewards_have_mean_zero_in_every_prompt(pool: Pool) -> None:
    rewards = np.random.default_rng(0).normal(size=(2, 3, *pool.valid.shape))
    found = centred(pool, rewards)
    for x in range(pool.n_prompts):
        there = pool.valid[x]
        expected = rewards[..., x, there] - rewards[..., x, there].mean(axis=-1, keepdims=True)
        np.testing.assert_allclose(found[..., x, there], expected, atol=1e-14)
