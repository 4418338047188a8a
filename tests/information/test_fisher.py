from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairbench import Pool
from pairbench.information import label_information, policy_covariance, predicted_gap
from pairbench.information.fisher import (
    logistic_slope,
    pair_slopes,
    trace_criterion,
    uniform_information,
)

SEEDS = st.integers(0, 2**32 - 1)


def slope(logit: float) -> float:
    p = 1 / (1 + np.exp(-logit))
    return float(p * (1 - p))


@given(SEEDS, st.booleans(), st.booleans())
def test_label_information_is_the_sum_over_pairs(
    make_pool: Callable[..., Pool], seed: int, weighted: bool, at_zero: bool
) -> None:
    pool, rng = make_pool(seed, ragged=True), np.random.default_rng(seed)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:6]
    weights = rng.random(len(pairs)) if weighted else None
    theta = None if at_zero else rng.normal(size=3)
    expected = np.zeros((3, 3))
    for p, (x, i, j) in enumerate(pairs):
        z = pool.phi[x, i] - pool.phi[x, j]
        omega = 0.25 if theta is None else slope(float(z @ theta))
        expected += (1.0 if weights is None else weights[p]) * omega * np.outer(z, z)
    found = label_information(pool, pairs, weights, theta)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_theta_zero_is_the_default(make_pool: Callable[..., Pool]) -> None:
    pool, zero = make_pool(ragged=True), np.zeros(3)
    pairs = np.argwhere(pool.pair_mask)
    np.testing.assert_allclose(
        label_information(pool, pairs, theta=zero), label_information(pool, pairs)
    )
    np.testing.assert_allclose(pair_slopes(pool, zero), pair_slopes(pool, None))
    np.testing.assert_allclose(policy_covariance(pool, zero), policy_covariance(pool))


@given(SEEDS, st.booleans())
def test_uniform_information_is_the_mean_over_distinct_pairs(
    make_pool: Callable[..., Pool], seed: int, at_zero: bool
) -> None:
    pool = make_pool(seed, ragged=True)
    theta = None if at_zero else np.random.default_rng(seed).normal(size=3)
    pairs = np.argwhere(pool.pair_mask)
    np.testing.assert_allclose(
        uniform_information(pool, theta),
        label_information(pool, pairs, theta=theta) / len(pairs),
        rtol=1e-10,
        atol=1e-12,
    )


@given(SEEDS, st.floats(0.3, 4.0), st.booleans())
def test_policy_covariance_is_the_mean_covariance_of_the_policy(
    make_pool: Callable[..., Pool], seed: int, beta: float, at_zero: bool
) -> None:
    pool = make_pool(seed, ragged=True, weighted=True)
    theta = None if at_zero else np.random.default_rng(seed).normal(size=3)
    expected = np.zeros((3, 3))
    for x in range(pool.n_prompts):
        there = np.flatnonzero(pool.valid[x])
        phi = pool.phi[x, there]
        mass = np.exp(pool.log_ref[x, there])
        mass *= 1 if theta is None else np.exp(phi @ theta / beta)
        mass /= mass.sum()
        mean = mass @ phi
        for p, row in zip(mass, phi, strict=True):
            expected += pool.prompt_weights[x] * p * np.outer(row - mean, row - mean)
    found = policy_covariance(pool, theta, beta)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found, found.T)


def test_the_slope_is_accurate_in_both_tails() -> None:
    logit = np.array([-700.0, -50.0, 0.0, 50.0, 700.0])
    np.testing.assert_allclose(
        logistic_slope(logit),
        np.exp(-np.abs(logit)) / (1 + np.exp(-np.abs(logit))) ** 2,
        rtol=1e-12,
    )


@given(SEEDS)
def test_the_prediction_is_trace_over_two_beta_n(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 4, 6))
    covariance, information = a @ a.T, b @ b.T + 0.01 * np.eye(4)
    trace = np.trace(covariance @ np.linalg.inv(information))
    assert trace_criterion(covariance, information) == pytest.approx(trace, rel=1e-8)
    expected = trace / (2 * 0.7 * 300)
    assert predicted_gap(covariance, information, 300, 0.7) == pytest.approx(expected, rel=1e-8)


def test_the_prediction_is_infinite_where_a_direction_is_undetermined() -> None:
    assert predicted_gap(np.eye(2), np.diag([1.0, 0.0]), 10, 1.0) == np.inf
