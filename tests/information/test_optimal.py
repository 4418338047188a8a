from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from pairbench import InvalidParameter, Pool
from pairbench.information import OptimalDesign, label_information, optimal_weights
from pairbench.information import policy_covariance as covariance_of
from pairbench.information.fisher import uniform_information

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def default_prior(pool: Pool, theta: Array | None) -> Array:
    """What `optimal_weights` says it takes where no prior is given."""
    scale = 1e-9 * np.trace(uniform_information(pool, theta)) / pool.dim
    prior: Array = np.eye(pool.dim) * scale
    return prior


def criterion(
    pool: Pool, design: OptimalDesign, theta: Array | None, covariance: Array, prior: Array
) -> float:
    """ψ of the returned pairs and weights, from the definition."""
    information = prior.copy()
    for (x, i, j), weight in zip(design.pairs, design.weights, strict=True):
        z = pool.phi[x, i] - pool.phi[x, j]
        logit = 0.0 if theta is None else float(z @ theta)
        omega = 1 / (1 + np.exp(-logit)) / (1 + np.exp(logit))
        information += weight * omega * np.outer(z, z)
    return float(np.trace(covariance @ np.linalg.inv(information)))


def independent_optimum(
    pool: Pool, theta: Array | None, covariance: Array, prior: Array
) -> tuple[float, float]:
    """ψ by SLSQP over all pairs, and a lower bound of the least ψ from convexity alone."""
    z = pool.differences(np.argwhere(pool.pair_mask))
    logit = np.zeros(len(z)) if theta is None else z @ theta
    z = z * np.sqrt(1 / (1 + np.exp(-logit)) / (1 + np.exp(logit)))[:, None]

    def value_and_gradient(weights: Array) -> tuple[float, Array]:
        inverse = np.linalg.inv(prior + (z * weights[:, None]).T @ z)
        gradient = -np.einsum("pi,ij,pj->p", z, inverse @ covariance @ inverse, z)
        return float(np.trace(covariance @ inverse)), gradient

    start = np.full(len(z), 1 / len(z))
    unit = value_and_gradient(start)[0]
    fit = minimize(
        lambda w: tuple(part / unit for part in value_and_gradient(w)),
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(z),
        constraints={
            "type": "eq",
            "fun": lambda w: w.sum() - 1,
            "jac": lambda w: np.ones_like(w),
        },
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.maximum(fit.x, 0)
    value, gradient = value_and_gradient(weights / weights.sum())
    # ψ(v) ≥ ψ(w) + ∇ψ(w)·(v − w), least at a vertex.
    return value, value + float(gradient.min() - gradient @ weights / weights.sum())


@pytest.mark.parametrize("with_prior", [False, True], ids=["no-prior", "prior"])
@pytest.mark.parametrize("at_zero", [True, False], ids=["zero", "theta"])
@pytest.mark.parametrize("seed", range(15))
def test_weights_agree_with_an_independent_solver(
    make_pool: Callable[..., Pool], seed: int, at_zero: bool, with_prior: bool
) -> None:
    pool = make_pool(seed, 4, 4, 3, ragged=seed % 3 == 1, weighted=True, duplicates=seed % 3 == 2)
    rng = np.random.default_rng(seed)
    theta = None if at_zero else 2 * rng.normal(size=3)
    root = rng.normal(size=(3, 3))
    prior = 0.02 * root @ root.T if with_prior else None
    design = optimal_weights(pool, theta, beta=0.8, prior=prior, tol=1e-3)
    covariance = covariance_of(pool, theta, 0.8)
    known = default_prior(pool, theta) if prior is None else prior
    best, least = independent_optimum(pool, theta, covariance, known)
    assert least > 0.995 * best, "the reference itself is not solved"
    assert design.weights.sum() == pytest.approx(1, abs=1e-12)
    assert (design.weights > 0).all()
    assert pool.proper(design.pairs).all()
    assert len(np.unique(design.pairs, axis=0)) == len(design.pairs)
    assert design.value == pytest.approx(
        criterion(pool, design, theta, covariance, known), rel=1e-6
    )
    assert least * (1 - 1e-9) <= design.value <= best * 1.002
    assert 0.999 <= design.efficiency_bound <= 1


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 4)),
    scale=st.sampled_from([None, 1.0, 4.0]),
    prior_scale=st.sampled_from([1e-6, 1e-3, 0.1]),
    max_sweeps=st.sampled_from([1, 2, 3, 100]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_efficiency_bound_is_never_above_the_efficiency(
    make_pool: Callable[..., Pool],
    seed: int,
    shape: tuple[int, int, int],
    scale: float | None,
    prior_scale: float,
    max_sweeps: int,
    flags: tuple[bool, bool, bool],
) -> None:
    duplicates, constant, ragged = flags
    pool = make_pool(seed, *shape, duplicates=duplicates, constant=constant, ragged=ragged)
    rng = np.random.default_rng(seed)
    theta = None if scale is None else scale * rng.normal(size=pool.dim)
    covariance = covariance_of(pool, theta)
    prior = prior_scale * np.eye(pool.dim)
    design = optimal_weights(pool, theta, prior=prior, tol=1e-3, max_sweeps=max_sweeps)
    value = criterion(pool, design, theta, covariance, prior)
    assert design.value == pytest.approx(value, rel=1e-6, abs=1e-12)
    assert 1 <= design.iterations <= max_sweeps
    assert 0 < design.efficiency_bound <= 1
    best, _ = independent_optimum(pool, theta, covariance, prior) if value else (0.0, 0.0)
    # The reference is no better than the best: its ratio is an upper bound of the efficiency.
    assert design.efficiency_bound <= (best / value if value else 1.0) * (1 + 1e-6)


@pytest.mark.parametrize("kind", ["duplicates", "constant", "one-pair", "one-prompt"])
def test_the_bound_holds_where_pairs_leave_directions_out(
    make_pool: Callable[..., Pool], kind: str
) -> None:
    pool = {
        "duplicates": lambda: make_pool(0, 2, 4, 5, duplicates=True),
        "constant": lambda: make_pool(1, 4, 4, 3, constant=True),
        "one-pair": lambda: make_pool(2, 1, 2, 4),
        "one-prompt": lambda: make_pool(3, 1, 5, 3),
    }[kind]()
    design = optimal_weights(pool, tol=0.01)
    covariance, prior = covariance_of(pool), default_prior(pool, None)
    assert design.value == pytest.approx(criterion(pool, design, None, covariance, prior), rel=1e-4)
    best, _ = independent_optimum(pool, None, covariance, prior)
    assert 0.99 <= design.efficiency_bound <= best / design.value * (1 + 1e-4)


@pytest.mark.parametrize("max_sweeps", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_design_stopped_early_is_what_it_says(
    make_pool: Callable[..., Pool], seed: int, max_sweeps: int
) -> None:
    pool = make_pool(seed, 10, 6, 5)
    theta = 2 * np.random.default_rng(seed).normal(size=5)
    prior, covariance = 1e-3 * np.eye(5), covariance_of(pool, theta)
    design = optimal_weights(pool, theta, prior=prior, tol=1e-6, max_sweeps=max_sweeps)
    value = criterion(pool, design, theta, covariance, prior)
    assert design.iterations == max_sweeps
    assert design.value == pytest.approx(value, rel=1e-8)
    best = optimal_weights(pool, theta, prior=prior, tol=1e-4).value
    assert 0 < design.efficiency_bound <= best / value


@pytest.mark.parametrize("theta", [None, np.array([0.3, -0.2])], ids=["zero", "theta"])
@pytest.mark.parametrize("value", [1.0, 0.1, 1000.1])
def test_a_pool_of_equal_completions_has_a_design_too(value: float, theta: Array | None) -> None:
    # Nothing can be learned of it; where 1000.1 less its mean is not quite 0, nothing either.
    pool = Pool(np.full((2, 3, 2), value), log_ref=[[0.3, -1.2, 0.7], [0.1, 0.2, -0.4]])
    design = optimal_weights(pool, theta)
    assert design.weights.sum() == pytest.approx(1)
    assert pool.proper(design.pairs).all()
    assert np.isfinite(design.value)
    assert 0 < design.efficiency_bound <= 1


def test_a_covariance_of_other_prompts_is_what_counts(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(5, 6, 4, 3)
    covariance = np.diag([1.0, 0.0, 0.0])
    design = optimal_weights(pool, covariance=covariance, prior=1e-4 * np.eye(3), tol=1e-3)
    best, least = independent_optimum(pool, None, covariance, 1e-4 * np.eye(3))
    assert least * (1 - 1e-9) <= design.value <= best * 1.002
    uniform = label_information(pool, np.argwhere(pool.pair_mask)) / pool.n_pairs
    assert design.value < np.trace(covariance @ np.linalg.inv(uniform))


@pytest.mark.parametrize("tol", [0.0, 1.0, -0.1, np.nan])
def test_a_tolerance_outside_its_range_is_refused(
    make_pool: Callable[..., Pool], tol: float
) -> None:
    with pytest.raises(InvalidParameter, match="tol must lie between 0 and 1"):
        optimal_weights(make_pool(), tol=tol)
