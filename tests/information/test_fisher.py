from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from pairbench import Pool
from pairbench._util.numerics import logistic_slope
from pairbench.information import (
    greedy_pairs,
    label_information,
    optimal_weights,
    policy_covariance,
    predicted_gap,
    robust_gap,
    uniform_information,
)
from pairbench.information.fisher import pair_slope, trace_criterion
from pairbench.training.log_linear import fit_theta

Array = NDArray[np.float64]
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
    np.testing.assert_allclose(pair_slope(pairs, np.zeros((5, 4))), pair_slope(pairs, None))
    np.testing.assert_allclose(uniform_information(pool, zero), uniform_information(pool))
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


@given(SEEDS, st.floats(0.3, 4.0))
def test_rewards_stand_for_theta(make_pool: Callable[..., Pool], seed: int, beta: float) -> None:
    pool = make_pool(seed, ragged=True, weighted=True)
    theta = np.random.default_rng(seed).normal(size=3)
    # Rewards matter up to a constant for each prompt.
    rewards = pool.project(theta) + np.arange(5)[:, None]
    pairs = np.argwhere(pool.pair_mask)
    for one, other in (
        (
            label_information(pool, pairs, theta=theta),
            label_information(pool, pairs, rewards=rewards),
        ),
        (uniform_information(pool, theta), uniform_information(pool, rewards=rewards)),
        (
            policy_covariance(pool, theta, beta),
            policy_covariance(pool, None, beta, rewards=rewards),
        ),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


class Network:
    """π_θ ∝ π_ref exp(f_θ − f_0) with f a network of one hidden layer: no log-linear policy."""

    def __init__(self, inputs: Array, log_ref: Array, hidden: int = 3) -> None:
        self.inputs, self.log_ref, self.hidden = inputs, log_ref, hidden
        self.dim = hidden * (inputs.shape[2] + 1)

    def log_policy(self, theta: Array) -> Array:
        """log π_θ, ``(N, K)``."""
        width = self.inputs.shape[2]
        first = theta[: self.hidden * width].reshape(width, self.hidden)
        logits = self.log_ref + np.tanh(self.inputs @ first) @ theta[self.hidden * width :]
        found: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return found

    def scores(self, theta: Array) -> Array:
        """∇ log π_θ, ``(N, K, dim)``, by central differences."""
        steps = 1e-5 * np.eye(self.dim)
        return np.stack(
            [(self.log_policy(theta + e) - self.log_policy(theta - e)) / 2e-5 for e in steps],
            axis=2,
        )


def test_score_vectors_stand_for_the_features_of_any_policy(make_pool: Callable[..., Pool]) -> None:
    rng, beta = np.random.default_rng(0), 0.7
    base = make_pool(0, 6, 5, 2)
    network = Network(base.phi, base.log_ref)
    theta = rng.normal(size=network.dim)
    log_pi, g = network.log_policy(theta), network.scores(theta)
    implicit = beta * (log_pi - base.log_ref)
    pool = Pool(beta * g, log_ref=base.log_ref)
    # The policy of these implicit rewards is the network's: I = E_x E_π[g gᵀ], and E_π[g] = 0.
    expected = np.zeros((network.dim, network.dim))
    for x in range(6):
        pi = np.exp(log_pi[x])
        np.testing.assert_allclose(pi @ g[x], 0, atol=1e-8)
        expected += (g[x].T * pi) @ g[x] / 6
    found = policy_covariance(pool, None, beta, rewards=implicit)
    np.testing.assert_allclose(found, beta**2 * expected, rtol=1e-4, atol=1e-7)
    # Σ_w = β² Σ_p w_p σ'(·)(g₁−g₂)(g₁−g₂)ᵀ.
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:7]
    weights = rng.random(7)
    information = np.zeros_like(expected)
    for w, (x, i, j) in zip(weights, pairs, strict=True):
        z = beta * (g[x, i] - g[x, j])
        information += w * slope(float(implicit[x, i] - implicit[x, j])) * np.outer(z, z)
    found = label_information(pool, pairs, weights, rewards=implicit)
    np.testing.assert_allclose(found, information, rtol=1e-4, atol=1e-7)
    # To second order the divergence from a policy near by is that of the quadratic form.
    step = 1e-3 * rng.normal(size=network.dim)
    moved = network.log_policy(theta + step)
    gap = beta * np.mean(np.sum(np.exp(moved) * (moved - log_pi), axis=1))
    assert gap == pytest.approx(beta * step @ expected @ step / 2, rel=0.02)


@given(SEEDS)
def test_a_prior_is_information_that_n_does_not_multiply(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 4, 3))
    covariance, information = a @ a.T, b @ b.T
    for prior in (0.3, 0.3 * np.eye(4)):
        found = predicted_gap(covariance, information, 20, 0.7, prior=prior)
        inverse = np.linalg.inv(20 * information + 0.3 * np.eye(4))
        assert found == pytest.approx(np.trace(covariance @ inverse) / 1.4, rel=1e-8)
    assert predicted_gap(covariance, information, 0, 1.0, prior=0.5) == pytest.approx(
        np.trace(covariance)
    )


def test_the_robust_gap_is_the_sandwich(make_pool: Callable[..., Pool]) -> None:
    rng, pool = np.random.default_rng(0), make_pool(0, ragged=True)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:9]
    labels = rng.choice([0.0, 0.5, 1.0], size=9)
    labels[3] = np.nan
    theta, covariance = rng.normal(size=3), np.diag([1.0, 2.0, 0.5])
    bread, meat = 0.4 * np.eye(3), np.zeros((3, 3))
    for (x, i, j), label in zip(pairs, labels, strict=True):
        if not np.isnan(label):
            z = pool.phi[x, i] - pool.phi[x, j]
            p = 1 / (1 + np.exp(-z @ theta))
            bread += p * (1 - p) * np.outer(z, z)
            meat += (label - p) ** 2 * np.outer(z, z)
    inverse = np.linalg.inv(bread)
    expected = np.trace(covariance @ inverse @ meat @ inverse) / 1.4
    found = robust_gap(pool, pairs, labels, covariance, theta, 0.7, 0.4)
    assert found == pytest.approx(expected, rel=1e-9)
    assert robust_gap(pool, pairs[:0], labels[:0], covariance, theta, 0.7) == np.inf


def test_the_robust_gap_is_the_plain_one_where_the_model_is_right() -> None:
    rng, n = np.random.default_rng(0), 1500
    pool, theta = Pool(rng.normal(size=(50, 6, 3))), np.array([1.0, -0.5, 0.3])
    covariance = policy_covariance(pool, theta)
    candidates, robust, plain = np.argwhere(pool.pair_mask), [], []
    for _ in range(40):
        pairs = rng.choice(candidates, size=n)
        z = pool.differences(pairs)
        labels = (rng.random(n) < 1 / (1 + np.exp(-z @ theta))).astype(np.float64)
        fitted = fit_theta(z, labels, 1e-3)
        robust.append(robust_gap(pool, pairs, labels, covariance, fitted, 1.0))
        information = label_information(pool, pairs, theta=fitted)
        plain.append(predicted_gap(covariance, information, 1, 1.0))
    assert np.mean(robust) == pytest.approx(np.mean(plain), rel=0.03)


def test_a_pool_on_disk_gives_what_one_in_memory_gives(
    make_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    memory = make_pool(1, 40, 6, 4, ragged=True, weighted=True)
    mapped_features = np.memmap(tmp_path / "phi", np.float32, "w+", shape=(40, 6, 4))
    mapped_features[:] = np.where(memory.valid[:, :, None], memory.features, np.nan)
    log_ref = np.where(memory.valid, memory.log_ref, 0)
    mapped = Pool(
        mapped_features,
        log_ref=log_ref,
        valid=memory.valid,
        prompt_weights=memory.prompt_weights,
    )
    assert isinstance(mapped.features, np.memmap)
    theta, pairs = np.array([1.0, -0.5, 0.3, 0.0]), np.argwhere(memory.pair_mask)[::3]
    for at in (None, theta):
        for one, other in (
            (
                label_information(memory, pairs, theta=at),
                label_information(mapped, pairs, theta=at),
            ),
            (uniform_information(memory, at), uniform_information(mapped, at)),
            (policy_covariance(memory, at), policy_covariance(mapped, at)),
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
        designs = [
            optimal_weights(pool, theta=at, tol=1e-3, memory=20_000) for pool in (memory, mapped)
        ]
        assert designs[0].value == pytest.approx(designs[1].value, rel=1e-9)
        np.testing.assert_array_equal(designs[0].pairs, designs[1].pairs)
        chosen = [greedy_pairs(pool, 9, "i", at, prior=1.0) for pool in (memory, mapped)]
        np.testing.assert_array_equal(chosen[0], chosen[1])
