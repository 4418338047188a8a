"""IPO: its closed form, its τ, and where it tends to."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import InvalidParameter, LogLinearDPO, LogLinearIPO, Pool

Array = NDArray[np.float64]


def problem(seed: int, n: int, dim: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)), rng.choice([0.0, 0.3, 0.5, 1.0], size=n)


@pytest.mark.parametrize("shape", [(50, 4), (5, 9), (30, 600)])
@pytest.mark.parametrize(("beta", "tau"), [(1.0, None), (0.2, 0.5), (5.0, 1e-3), (0.5, 1e9)])
def test_a_fit_is_the_closed_form(shape: tuple[int, int], beta: float, tau: float | None) -> None:
    z, labels = problem(0, *shape)
    theta = LogLinearIPO(0.7, tau).theta(z, labels, beta)
    matrix, targets = z / beta, (2 * labels - 1) / (2 * (tau or beta))
    # The least of ‖h − t‖² + ½ λ‖θ‖², by the rows √(λ/2) I below the data's.
    rows = np.concatenate([matrix, np.sqrt(0.7 / 2) * np.eye(shape[1])])
    expected = np.linalg.lstsq(rows, np.concatenate([targets, np.zeros(shape[1])]))[0]
    np.testing.assert_allclose(theta, expected, atol=1e-6 * np.abs(expected).max())


def test_tau_sets_the_scale_of_rewards_and_nothing_else() -> None:
    z, labels = problem(1, 40, 3)
    once = LogLinearIPO(1.0, 1.0).theta(z, labels, 0.5)
    np.testing.assert_allclose(LogLinearIPO(1.0, 0.1).theta(z, labels, 0.5), 10 * once, rtol=1e-9)
    np.testing.assert_array_equal(
        LogLinearIPO(1.0).theta(z, labels, 0.5), LogLinearIPO(1.0, 0.5).theta(z, labels, 0.5)
    )


def test_a_policy_that_can_be_anything_follows_the_chance_to_win() -> None:
    """Azar et al.: π ∝ π_ref exp(p*(y ≻ μ)/τ), here with all completions drawn alike."""
    rng, k, tau = np.random.default_rng(0), 5, 0.3
    reward, log_ref = 2 * rng.normal(size=k), rng.normal(size=(1, k))
    pool = Pool(np.eye(k)[None], log_ref=log_ref)
    wins = expit(reward[:, None] - reward)  # ½ against itself
    pairs = np.argwhere(pool.pair_mask)
    labels = wins[pairs[:, 1], pairs[:, 2]]
    policy = LogLinearIPO(1e-9, tau).fit(pool, 0.8, pairs, labels)
    expected = np.exp(pool.log_ref[0] + wins.mean(axis=1) / tau)
    np.testing.assert_allclose(
        np.exp(policy.log_probs(pool)[0]), expected / expected.sum(), rtol=1e-6
    )


def test_small_rewards_come_out_a_quarter_as_large_unless_tau_says_otherwise() -> None:
    rng = np.random.default_rng(0)
    z, theta = rng.normal(size=(2000, 3)), 0.03 * rng.normal(size=3)
    labels = expit(z @ theta)
    for beta in (0.5, 2.0):
        quarter = LogLinearIPO(1e-9).theta(z, labels, beta)
        np.testing.assert_allclose(quarter, theta / 4, rtol=0.01)
        whole = LogLinearIPO(1e-9, beta / 4).theta(z, labels, beta)
        np.testing.assert_allclose(whole, theta, rtol=0.01)


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_ridge_counts_for_beta_squared_eighths_of_dpos(beta: float) -> None:
    # Where rewards are small, DPO is least squares, too.
    z, _ = problem(2, 60, 3)
    labels = 0.5 + 1e-4 * np.random.default_rng(0).normal(size=60)
    ipo = LogLinearIPO(20.0, beta / 4).theta(z, labels, beta)
    dpo = LogLinearDPO(20.0 * beta**2 / 8).theta(z, labels, beta)
    np.testing.assert_allclose(ipo, dpo, rtol=1e-4)


def test_large_rewards_are_flattened() -> None:
    # One pair, labelled for ever: h tends to s/(2τ) however clear the winner is.
    for label, margin in ((1.0, 1.0), (0.75, 0.5), (0.5, 0.0)):
        theta = LogLinearIPO(1e-6, 0.5).theta(np.ones((1000, 1)), np.full(1000, label), 2.0)
        assert theta[0] / 2.0 == pytest.approx(margin, abs=1e-6)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_tau_is_refused(tau: float) -> None:
    with pytest.raises(InvalidParameter, match=f"tau must be positive and finite.*got {tau}"):
        LogLinearIPO(1.0, tau)
