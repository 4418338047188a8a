from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import Belief, Laplace, Members, Pairs, Pool, View
from pairbench.estimators import centre_rewards, reward_differences
from pairbench.information import gaussian_forecast, sampled_forecast
from tests.reference import all_pairs, history

Array = NDArray[np.float64]
MakePool = Callable[..., Pool]
MakeView = Callable[..., View]


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
    found = centre_rewards(pool, rewards)
    for x in range(pool.n_prompts):
        there = pool.valid[x]
        expected = rewards[..., x, there] - rewards[..., x, there].mean(axis=-1, keepdims=True)
        np.testing.assert_allclose(found[..., x, there], expected, atol=1e-14)
        np.testing.assert_array_equal(found[..., x, ~there], 0)


def test_variances_of_differences_are_computed_once_and_cannot_be_written_to(
    pool: Pool, rewards: Array
) -> None:
    belief = Members(pool, rewards)
    variance = belief.difference_variance()
    assert belief.difference_variance() is variance
    with pytest.raises(ValueError, match="read-only"):
        variance[0, 0, 1] = 0


class Draws(Belief):
    """A belief that can do nothing but draw."""

    def __init__(self, pool: Pool, scale: float) -> None:
        self.pool, self.scale = pool, scale

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        drawn: Array = self.scale * rng.normal(size=(count, *self.pool.valid.shape))
        return drawn

    def difference_variance(self) -> Array:
        raise AssertionError("not asked for")

    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        raise AssertionError("not asked for")

    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        return np.stack([*reward_differences(self.pool, self.draws(count, rng), pairs)])


def beliefs(view: View) -> dict[str, Belief]:
    rewards = np.random.default_rng(1).normal(size=(7, *view.pool.valid.shape))
    return {
        "laplace": Laplace().fit(view),
        "members": Members(view.pool, rewards),
        "draws": Draws(view.pool, 2.0),
    }


@pytest.mark.parametrize("kind", ["laplace", "members", "draws"])
def test_a_forecast_of_some_pairs_is_that_of_all(
    make_pool: MakePool, make_view: MakeView, kind: str
) -> None:
    pool = make_pool(2, 4, 4, 3, ragged=True)
    view = make_view(pool, *history(pool, 8))
    belief = beliefs(view)[kind]
    everything = np.argwhere(pool.pair_mask)
    made = belief.forecast(np.random.default_rng(3))
    some = belief.forecast(np.random.default_rng(3), everything[[5, 1, 5]])
    for name in ("probability", "noise", "slope"):
        np.testing.assert_allclose(getattr(made, name)[[5, 1, 5]], getattr(some, name))
    if kind == "laplace":
        right = gaussian_forecast(*belief.of_pairs(everything))
    elif isinstance(belief, Members):
        z = [belief.rewards[:, x, i] - belief.rewards[:, x, j] for x, i, j in everything]
        right = sampled_forecast(np.transpose(z))
    else:
        right = sampled_forecast(belief.pair_draws(everything, 100, np.random.default_rng(3)))
    np.testing.assert_allclose(made.mutual_information, right.mutual_information, atol=1e-12)
    np.testing.assert_allclose(made.probability, right.probability)


def test_scenarios_are_draws_or_all_members(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool(2, 4, 4, 3, ragged=True)
    view = make_view(pool, *history(pool, 8))
    pairs = np.argwhere(pool.pair_mask)[:6]
    for kind, belief in beliefs(view).items():
        drawn = belief.scenarios(pairs, 5, np.random.default_rng(3))
        if isinstance(belief, Members):
            x, i, j = pairs.T
            np.testing.assert_array_equal(drawn, belief.rewards[:, x, i] - belief.rewards[:, x, j])
        else:
            right = belief.pair_draws(pairs, 5, np.random.default_rng(3))
            np.testing.assert_array_equal(drawn, right, err_msg=kind)
