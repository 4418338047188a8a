from collections.abc import Callable
from typing import Any

import choix
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import Laplace, LaplaceBelief, Pairs, Pool, View, make_env, make_estimator
from pairbench.errors import InvalidParameter, TrainingFailed
from tests.reference import all_pairs, history, precision_of, theta_of

Array = NDArray[np.float64]
MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
RIDGE = 0.3


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    pool = make_pool(3, ragged=True)
    return make_view(pool, *history(pool, 12), ridge=RIDGE)


@pytest.fixture
def belief(view: View) -> LaplaceBelief:
    return Laplace().fit(view)


def centred_phi(pool: Pool, x: int, i: int) -> Array:
    there = np.flatnonzero(pool.valid[x])
    centred: Array = pool.phi[x, i] - sum(pool.phi[x, k] for k in there) / len(there)
    return centred


def with_scores(pool: Pool, seed: int = 0) -> Pool:
    return pool.with_scores(np.random.default_rng(seed).normal(size=pool.valid.shape))


def test_theta_is_that_of_the_training(view: View, belief: LaplaceBelief) -> None:
    np.testing.assert_array_equal(belief.theta, theta_of(view))


def test_the_posterior_precision_counts_answered_labels_alone(
    view: View, belief: LaplaceBelief
) -> None:
    assert np.isnan(view.labels).any()
    expected = precision_of(view, theta_of(view))
    np.testing.assert_allclose(belief.precision, expected, rtol=1e-10)
    np.testing.assert_allclose(belief.covariance, np.linalg.inv(expected), rtol=1e-10)


def test_the_difference_variance_is_that_of_the_explicit_inverse(
    view: View, belief: LaplaceBelief
) -> None:
    pool, covariance = view.pool, np.linalg.inv(precision_of(view, theta_of(view)))
    variance, mean = belief.difference_variance(), belief.differences()
    for x, i, j in all_pairs(pool):
        z = pool.phi[x, i] - pool.phi[x, j]
        assert variance[x, i, j] == pytest.approx(z @ covariance @ z, rel=1e-9, abs=1e-12)
        assert variance[x, j, i] == pytest.approx(variance[x, i, j], rel=1e-12)
        assert mean[x, i, j] == pytest.approx(z @ theta_of(view), rel=1e-9, abs=1e-12)


def test_means_and_variances_are_of_rewards_relative_to_their_prompt(
    view: View, belief: LaplaceBelief
) -> None:
    pool, covariance = view.pool, np.linalg.inv(precision_of(view, theta_of(view)))
    assert not pool.valid.all()
    for x, i in np.ndindex(pool.valid.shape):
        if not pool.valid[x, i]:
            assert belief.mean[x, i] == belief.variance[x, i] == 0
            continue
        phi = centred_phi(pool, x, i)
        assert belief.mean[x, i] == pytest.approx(phi @ theta_of(view), rel=1e-9, abs=1e-12)
        assert belief.variance[x, i] == pytest.approx(phi @ covariance @ phi, rel=1e-9)
        assert belief.deviation[x, i] == pytest.approx(np.sqrt(phi @ covariance @ phi), rel=1e-9)


@pytest.mark.parametrize("labels", [[], [np.nan, np.nan]])
def test_before_the_first_answer_the_belief_is_the_prior(
    make_pool: MakePool, make_view: MakeView, labels: list[float]
) -> None:
    pool = make_pool()
    pairs = [[0, 0, 1], [1, 2, 0]][: len(labels)]
    belief = Laplace().fit(make_view(pool, pairs, labels, ridge=RIDGE))
    np.testing.assert_array_equal(belief.mean, 0)
    np.testing.assert_allclose(belief.precision, RIDGE * np.eye(3))
    for x, i in np.ndindex(pool.valid.shape):
        phi = centred_phi(pool, x, i)
        assert belief.variance[x, i] == pytest.approx(phi @ phi / RIDGE)


def test_some_pairs_are_believed_as_all_are(view: View, belief: LaplaceBelief) -> None:
    pairs = np.array([*all_pairs(view.pool), *[(x, j, i) for x, i, j in all_pairs(view.pool)]])
    mean, variance = belief.of_pairs(pairs)
    np.testing.assert_allclose(mean, belief.differences()[tuple(pairs.T)], atol=1e-12)
    np.testing.assert_allclose(variance, belief.difference_variance()[tuple(pairs.T)], rtol=1e-9)


def test_draws_have_the_moments_of_the_posterior(view: View, belief: LaplaceBelief) -> None:
    count, pool = 40_000, view.pool
    drawn = belief.draws(count, np.random.default_rng(0))
    assert drawn.shape == (count, *pool.valid.shape)
    np.testing.assert_array_equal(drawn[:, ~pool.valid], 0)
    np.testing.assert_allclose((drawn * pool.valid).sum(axis=2), 0, atol=1e-10)
    there = np.argwhere(pool.valid)
    phi = np.array([centred_phi(pool, x, i) for x, i in there])
    covariance = phi @ np.linalg.inv(precision_of(view, theta_of(view))) @ phi.T
    deviation = np.sqrt(np.diag(covariance))
    flat = drawn[:, pool.valid]
    assert np.abs((flat.mean(axis=0) - belief.mean[pool.valid]) / deviation).max() < 0.03
    error = (np.cov(flat.T) - covariance) / np.outer(deviation, deviation)
    assert np.abs(error).max() < 0.04


def test_draws_of_pairs_and_of_theta_are_those_of_the_rewards(
    view: View, belief: LaplaceBelief
) -> None:
    pairs = np.array(all_pairs(view.pool))
    rewards = belief.draws(7, np.random.default_rng(5))
    differences = belief.pair_draws(pairs, 7, np.random.default_rng(5))
    theta = belief.theta_draws(7, np.random.default_rng(5))
    x, i, j = pairs.T
    np.testing.assert_allclose(differences, rewards[:, x, i] - rewards[:, x, j], atol=1e-12)
    np.testing.assert_allclose(differences, theta @ view.pool.differences(pairs).T, atol=1e-12)


def test_completions_that_are_equal_differ_by_nothing(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(0, 4, 4, duplicates=True)
    pairs = np.array([[x, 0, 1] for x in range(4)])
    belief = Laplace().fit(make_view(pool, *history(pool, 9), ridge=1e-6))
    for mean, variance in (
        belief.of_pairs(pairs),
        (belief.differences()[:, 0, 1], belief.difference_variance()[:, 0, 1]),
    ):
        np.testing.assert_allclose(mean, 0, atol=1e-9)
        np.testing.assert_allclose(variance, 0, atol=1e-9)
    np.testing.assert_array_equal(belief.pair_draws(pairs, 3, np.random.default_rng(0)), 0)


@pytest.mark.parametrize("seed", range(3))
def test_no_variance_is_negative_however_badly_conditioned(
    make_pool: MakePool, make_view: MakeView, seed: int
) -> None:
    pool = make_pool(seed, 6, 5, 4, ragged=True)
    wild = Pool(pool.features * np.array([1e4, 1, 1e-2, 1e-4], np.float32), valid=pool.valid)
    belief = Laplace().fit(make_view(wild, *history(wild, 30), ridge=1e-4))
    assert (belief.variance >= 0).all()
    assert (belief.of_pairs(np.array(all_pairs(wild)))[1] >= 0).all()
    assert (belief.difference_variance() >= 0).all()
    assert np.isfinite(belief.draws(3, np.random.default_rng(0))).all()


def test_a_precision_without_an_inverse_says_so() -> None:
    pool = Pool(np.ones((1, 2, 2)))
    belief = LaplaceBelief(pool, np.zeros(2), np.full((2, 2), 1e9), np.zeros((1, 2)))
    np.testing.assert_array_equal(belief.mean, 0)
    with pytest.raises(TrainingFailed, match=r"precision is singular .* A larger ridge"):
        belief.difference_variance()


# External scores


def test_trusted_scores_are_the_prior_mean(make_pool: MakePool, make_view: MakeView) -> None:
    pool = with_scores(make_pool(ragged=True))
    assert pool.scores is not None
    belief = Laplace(trust=0.7).fit(make_view(pool, ridge=RIDGE))
    for x in range(pool.n_prompts):
        there = pool.valid[x]
        scores = 0.7 * (pool.scores[x, there] - pool.scores[x, there].mean())
        np.testing.assert_allclose(belief.mean[x, there], scores, atol=1e-12)
        np.testing.assert_array_equal(belief.mean[x, ~there], 0)


@pytest.mark.parametrize("unexplained", [1.0, 0.2])
def test_labels_correct_what_the_scores_say(
    make_pool: MakePool, make_view: MakeView, unexplained: float
) -> None:
    pool = with_scores(make_pool(3, ragged=True))
    assert pool.scores is not None
    pairs, labels = history(pool, 12)
    view = make_view(pool, pairs, labels, ridge=RIDGE)
    belief = Laplace(trust=0.7, unexplained=unexplained).fit(view)
    gradient, precision = RIDGE / unexplained * belief.theta, RIDGE / unexplained * np.eye(3)
    for (x, i, j), label in zip(pairs, labels, strict=True):
        if not np.isnan(label):
            z = pool.phi[x, i] - pool.phi[x, j]
            p = expit(0.7 * (pool.scores[x, i] - pool.scores[x, j]) + z @ belief.theta)
            gradient = gradient + (p - label) * z
            precision = precision + p * (1 - p) * np.outer(z, z)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    np.testing.assert_allclose(belief.precision, precision, rtol=1e-10)
    mean, _ = belief.of_pairs(pairs)
    x, i, j = pairs.T
    expected = 0.7 * (pool.scores[x, i] - pool.scores[x, j])
    expected += pool.differences(pairs) @ belief.theta
    np.testing.assert_allclose(mean, expected, atol=1e-12)
    np.testing.assert_allclose(belief.differences()[x, i, j], expected, atol=1e-12)
    drawn = belief.pair_draws(pairs, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.1)


def test_scores_that_are_not_trusted_change_nothing(view: View, make_view: MakeView) -> None:
    scored = make_view(with_scores(view.pool), view.pairs, view.labels, ridge=RIDGE)
    np.testing.assert_array_equal(Laplace().fit(scored).mean, Laplace().fit(view).mean)


def test_trust_in_a_pool_without_scores_is_refused(view: View) -> None:
    with pytest.raises(InvalidParameter, match=r"laplace\(trust=1\.0\) needs external scores"):
        make_estimator("laplace(trust=1.0)").fit(view)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trust": np.nan}, "trust must be a finite number, got nan"),
        ({"trust": np.inf}, "trust must be a finite number, got inf"),
        ({"trust": 1.0, "unexplained": 0.0}, "unexplained must be a share above 0, up to 1, got 0"),
        ({"trust": 1.0, "unexplained": 1.5}, "unexplained must be a share above 0, up to 1"),
        ({"trust": 1.0, "unexplained": np.nan}, "unexplained must be a share"),
        ({"unexplained": 0.5}, r"unexplained=0\.5 is about external scores; set trust"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Laplace(**params)


@pytest.mark.parametrize(
    ("estimator", "labels"),
    [
        ("laplace(trust=1.0)", 0),
        ("laplace(trust=1.0)", 10),
        ("laplace(trust=1.0, unexplained=0.1)", 50),
    ],
)
def test_good_scores_make_a_better_belief(make_view: MakeView, estimator: str, labels: int) -> None:
    world = make_env("pairbench/Isotropic-v1", score_noise=0.5).world(0)
    pairs = np.random.default_rng(0).permutation(np.argwhere(world.pool.pair_mask))[:labels]
    answers = world.oracle.label(pairs, np.zeros(labels, dtype=np.int64))
    view = make_view(world.pool, pairs, answers, ridge=world.trainer.ridge)
    truth = world.truth.rewards[:, :, None] - world.truth.rewards[:, None, :]

    def error(estimator: str) -> float:
        return float(np.mean((make_estimator(estimator).fit(view).differences() - truth) ** 2))

    assert error(estimator) < error("laplace") / 2


# Against another implementation, and against the truth


@pytest.fixture(scope="module")
def tournament() -> tuple[Pool, Pairs]:
    """Eight items with a feature each, and 300 comparisons of them, the winner first."""
    rng = np.random.default_rng(0)
    strength = rng.normal(size=8)
    items = np.array([rng.choice(8, size=2, replace=False) for _ in range(300)])
    wins = rng.random(300) < expit(strength[items[:, 0]] - strength[items[:, 1]])
    items[~wins] = items[~wins, ::-1]
    return Pool(np.eye(8)[None]), np.column_stack([np.zeros(300, dtype=np.int64), items])


@pytest.mark.parametrize("ridge", [0.01, 1.0, 10.0])
def test_the_mode_is_the_one_that_choix_finds(
    tournament: tuple[Pool, Pairs], make_view: MakeView, ridge: float
) -> None:
    pool, pairs = tournament
    belief = Laplace().fit(make_view(pool, pairs, np.ones(300), ridge=ridge))
    # choix penalises by α‖θ‖².
    expected = choix.opt_pairwise(8, pairs[:, 1:].tolist(), alpha=ridge / 2, method="BFGS")
    np.testing.assert_allclose(belief.mean[0], expected - expected.mean(), atol=1e-4)


def test_without_a_ridge_the_mode_is_the_spectral_rankings(
    tournament: tuple[Pool, Pairs], make_view: MakeView
) -> None:
    pool, pairs = tournament
    belief = Laplace().fit(make_view(pool, pairs, np.ones(300), ridge=1e-7))
    expected = choix.ilsr_pairwise(8, pairs[:, 1:].tolist(), tol=1e-10)
    np.testing.assert_allclose(belief.mean[0], expected - np.mean(expected), atol=1e-5)


@pytest.mark.parametrize("labels", [0, 20, 80, 320])
def test_intervals_cover_the_truth_as_often_as_they_say(make_view: MakeView, labels: int) -> None:
    ridge, covered = 0.25, []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        pool = Pool(rng.normal(size=(30, 6, 16)) / 4)
        theta = rng.normal(size=16) / np.sqrt(ridge)  # the prior
        every = np.argwhere(pool.pair_mask)
        pairs = every[rng.integers(len(every), size=labels)]
        answers = (rng.random(labels) < expit(pool.differences(pairs) @ theta)).astype(float)
        belief = Laplace().fit(make_view(pool, pairs, answers, ridge=ridge))
        mean, variance = belief.of_pairs(every)
        miss = np.abs(pool.differences(every) @ theta - mean)
        covered.append(np.mean(miss < 1.6449 * np.sqrt(variance)))
    print(f"90 % intervals after {labels} labels cover {np.mean(covered):.1%}")
    assert 0.85 < np.mean(covered) < 0.95
