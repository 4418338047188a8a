from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pairbench import InvalidParameter, LogLinearDPO, Pool
from pairbench.errors import TrainingFailed
from pairbench.training.log_linear import LogisticLoss, fit_theta
from pairbench.training.minimise import TOLERANCE, lbfgs, newton, newton_cg

Array = NDArray[np.float64]
NONE = np.empty((0, 3), dtype=np.int64)


def problem(seed: int, n: int, dim: int, scale: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, dim)) * scale
    labels = (rng.random(n) < expit(z @ rng.normal(size=dim))).astype(np.float64)
    return z, labels


def gradient_per_label(z: Array, labels: Array, ridge: float, theta: Array) -> float:
    gradient = ridge * theta - z.T @ (labels - expit(z @ theta))
    return float(np.linalg.norm(gradient)) / len(z)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_fit_equals_scikit_learns(seed: int, ridge: float) -> None:
    z, labels = problem(seed, 200, 5)
    reference = LogisticRegression(
        fit_intercept=False, C=1 / ridge, solver="newton-cholesky", tol=1e-13, max_iter=1000
    ).fit(z, labels)
    np.testing.assert_allclose(fit_theta(z, labels, ridge), reference.coef_[0], atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_soft_labels_weigh_both_answers(share: float) -> None:
    z, labels = problem(0, 60, 3)
    labels[::3] = share
    weights = np.concatenate([labels, 1 - labels])
    reference = LogisticRegression(
        fit_intercept=False, C=1.0, solver="newton-cholesky", tol=1e-13, max_iter=1000
    ).fit(np.tile(z, (2, 1)), np.repeat([1, 0], 60), sample_weight=weights)
    np.testing.assert_allclose(fit_theta(z, labels, 1.0), reference.coef_[0], atol=1e-6)


def test_ties_alone_leave_the_reference_policy() -> None:
    z, _ = problem(0, 40, 3)
    np.testing.assert_allclose(fit_theta(z, np.full(40, 0.5), 1.0), 0, atol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    dim=st.integers(1, 8),
    decades=st.lists(st.floats(-3, 3), min_size=8, max_size=8),
    log_ridge=st.floats(-4, 3),
    kind=st.sampled_from(["drawn", "separable", "equal", "soft", "alike"]),
)
def test_every_fit_reaches_the_promised_gradient(
    seed: int, n: int, dim: int, decades: list[float], log_ridge: float, kind: str
) -> None:
    z, labels = problem(seed, n, dim)
    rng = np.random.default_rng(seed)
    z = z * 10 ** np.array(decades[:dim])
    if kind == "separable":
        labels = (z @ rng.normal(size=dim) > 0).astype(np.float64)
    elif kind == "equal":
        labels = np.ones(n)
    elif kind == "soft":
        labels = rng.random(n)
    elif kind == "alike":
        z[:] = z[0]
    ridge = 10**log_ridge
    theta = fit_theta(z, labels, ridge)
    assert gradient_per_label(z, labels, ridge, theta) <= 1e-8


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_separable_labels_do_not_diverge_under_a_tiny_ridge(scale: float) -> None:
    z, _ = problem(1, 50, 4, scale)
    labels = (z @ np.array([1.0, -2.0, 0.5, 0.0]) > 0).astype(np.float64)
    theta = fit_theta(z, labels, 1e-6)
    assert gradient_per_label(z, labels, 1e-6, theta) <= 1e-8
    assert ((z @ theta > 0) == (labels == 1)).all()
    # No worse than θ = 0, whose loss is n log 2: so ½λ‖θ‖² ≤ n log 2.
    assert 1e-6 / 2 * theta @ theta <= 50 * np.log(2)


def test_one_label_has_the_closed_form_of_one_dimension() -> None:
    # λθ = z σ(−zθ), by bisection.
    z, ridge = 2.0, 0.3
    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if ridge * middle < z * expit(-z * middle) else (low, middle)
    theta = fit_theta(np.array([[z]]), np.array([1.0]), ridge)
    assert theta[0] == pytest.approx(low, abs=1e-8)


def test_labels_all_equal_point_along_the_mean_difference() -> None:
    z = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    theta = fit_theta(z, np.ones(3), 1.0)
    assert theta[0] == pytest.approx(theta[1])
    assert theta[0] > 0


def test_turning_all_pairs_and_labels_changes_nothing() -> None:
    z, labels = problem(4, 80, 4)
    np.testing.assert_allclose(fit_theta(-z, 1 - labels, 1.0), fit_theta(z, labels, 1.0), atol=1e-8)


def test_no_labels_give_the_reference_policy(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    policy = LogLinearDPO().fit(pool, 1.0, NONE, np.empty(0))
    np.testing.assert_array_equal(policy.theta, 0)
    np.testing.assert_allclose(policy.log_probs(pool), pool.log_ref, atol=1e-14)


def test_unanswered_questions_are_left_out(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    pairs = np.argwhere(pool.pair_mask)
    labels = np.random.default_rng(0).integers(2, size=len(pairs)).astype(np.float64)
    labels[::2] = np.nan
    some = LogLinearDPO().fit(pool, 1.0, pairs, labels)
    answered = LogLinearDPO().fit(pool, 1.0, pairs[1::2], labels[1::2])
    np.testing.assert_array_equal(some.theta, answered.theta)
    skipped = LogLinearDPO().fit(pool, 1.0, pairs, np.full(len(pairs), np.nan))
    np.testing.assert_array_equal(skipped.theta, 0)


def test_the_policy_is_the_minimum_of_the_dpo_loss(make_pool: Callable[..., Pool]) -> None:
    pool, beta, ridge = make_pool(3), 0.5, 0.7
    pairs = np.argwhere(pool.pair_mask)
    labels = np.random.default_rng(1).choice([0.0, 0.25, 0.5, 1.0], size=len(pairs))
    policy = LogLinearDPO(ridge).fit(pool, beta, pairs, labels)

    def loss(theta: Array) -> float:
        # −log σ(β log π/π_ref(winner) − β log π/π_ref(loser)), from the definition.
        logits = pool.log_ref + pool.phi @ theta / beta
        log_pi = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        ratio = beta * (log_pi - pool.log_ref)
        margin = ratio[pairs[:, 0], pairs[:, 1]] - ratio[pairs[:, 0], pairs[:, 2]]
        losses = labels * np.logaddexp(0, -margin) + (1 - labels) * np.logaddexp(0, margin)
        return float(losses.sum() + ridge / 2 * theta @ theta)

    best = loss(policy.theta)
    rng = np.random.default_rng(2)
    for _ in range(50):
        assert loss(policy.theta + 1e-3 * rng.normal(size=pool.dim)) > best


@pytest.mark.parametrize(("n", "dim"), [(300, 600), (100_001, 3)])
def test_both_optimisers_find_the_same_optimum(n: int, dim: int) -> None:
    z, labels = problem(0, n, dim, 1 / np.sqrt(dim))
    offset = np.random.default_rng(1).normal(size=n)
    fit, start = LogisticLoss(z, labels, 1.0, offset), np.zeros(dim)
    first, second = newton(fit, start), lbfgs(fit, start)
    np.testing.assert_allclose(second, first, atol=1e-6)
    np.testing.assert_allclose(fit_theta(z, labels, 1.0, offset), first, atol=1e-6)


def test_a_fit_converges_where_the_line_search_of_l_bfgs_ends_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Rounding ends the line search, sooner on some processors than on others.
    z, labels = problem(0, 300, 600, 1 / np.sqrt(600))
    fit = LogisticLoss(z, labels, 0.3, 0.0)
    optimum = newton(fit, np.zeros(600))
    early = optimum + 1e-5 * np.random.default_rng(1).normal(size=600)
    assert np.linalg.norm(fit.gradient(early)) > TOLERANCE * 300
    monkeypatch.setattr("pairbench.training.minimise.lbfgs", lambda objective, start: early)
    theta = fit_theta(z, labels, 0.3, 0.0)
    assert np.linalg.norm(fit.gradient(theta)) <= TOLERANCE / 10 * 300
    np.testing.assert_allclose(theta, optimum, atol=1e-7)
    np.testing.assert_array_equal(newton_cg(fit, theta), theta)


@pytest.mark.parametrize("ridge", [0.05, 2.0])
@pytest.mark.parametrize("scalar", [False, True])
def test_an_offset_is_added_to_the_logits(ridge: float, scalar: bool) -> None:
    z, labels = problem(2, 80, 4)
    offset = 0.7 if scalar else np.random.default_rng(1).normal(size=80) * 2

    def loss(theta: Array) -> float:
        p = 1 / (1 + np.exp(-(offset + z @ theta)))
        fit = np.sum(-labels * np.log(p) - (1 - labels) * np.log(1 - p))
        return float(fit + ridge / 2 * theta @ theta)

    expected = minimize(loss, np.zeros(4), tol=1e-12).x
    np.testing.assert_allclose(fit_theta(z, labels, ridge, offset), expected, atol=1e-4)
    assert np.abs(expected - fit_theta(z, labels, ridge)).max() > 0.01


def test_an_offset_that_explains_the_labels_leaves_nothing_to_fit() -> None:
    z, _ = problem(0, 50, 3)
    offset = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(fit_theta(z, expit(offset), 1.0, offset), 0, atol=1e-10)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_ridge_that_is_not_positive_is_refused(ridge: float) -> None:
    with pytest.raises(InvalidParameter, match="ridge must be positive and finite"):
        LogLinearDPO(ridge)


def test_a_fit_that_misses_its_promise_says_so() -> None:
    with (
        pytest.raises(TrainingFailed, match=f"{TOLERANCE:.0e} is required"),
        np.errstate(all="ignore"),
    ):
        fit_theta(np.array([[np.nan]]), np.array([1.0]), 1.0)


def test_a_fit_whose_hessian_is_singular_says_so_too() -> None:
    # Two equal columns whose curvature drowns the ridge.
    with pytest.raises(TrainingFailed, match="A larger ridge than 1e-09"):
        fit_theta(np.array([[1e5, 1e5], [3e5, 3e5]]), np.array([1.0, 0.0]), 1e-9)
