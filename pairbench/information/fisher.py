"""Information matrix of labels, feature covariance of the policy, and the gap that they predict.

Source: Han, Goyal, Ma, *Which Pairs to Compare for LLM Post-Training?*, arXiv 2606.19607; for the
log-linear policy as in docs/theory.md, section 2.

**Any other policy** is covered by its score vectors g = ∇_θ log π_θ(y|x): use β g as the pool's
features, and pass the policy's implicit rewards, β log π_θ/π_ref, in place of θ. For the log-linear
policy the two agree, as β g is φ less its mean under π_θ.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from pairbench._util.numerics import logistic_slope
from pairbench.information.laplacian import pair_gram
from pairbench.pool.pool import Pairs, Pool

Array = NDArray[np.float64]


def label_information(
    pool: Pool,
    pairs: Pairs,
    weights: Array | None = None,
    theta: Array | None = None,
    *,
    rewards: Array | None = None,
) -> Array:
    """Compute Σ_w(θ) = Σ_p w_p σ'(z_pᵀθ) z_p z_pᵀ, ``(d, d)``, the Fisher information of labels.

    Args:
        pool: the pool that the pairs index.
        pairs: ``(n, 3)``.
        weights: w, ``(n,)``; ones if not given, so that each pair counts as one label.
        theta: θ, ``(d,)``; 0 if not given.
        rewards: ``(N, K)`` reward units, in place of φᵀθ.
    """
    z = pool.differences(pairs)
    slope = pair_slope(pairs, rewards) if theta is None else logistic_slope(z @ theta)
    if weights is not None:
        slope = slope * weights
    return (z * slope[:, None]).T @ z


def uniform_information(
    pool: Pool, theta: Array | None = None, *, rewards: Array | None = None
) -> Array:
    """Compute Σ_w(θ), ``(d, d)``, of the design that draws uniformly from all distinct pairs.

    Rounding errors are relative to the information at θ = 0, not to that at θ.

    Args:
        pool: the pool whose pairs are drawn.
        theta: θ, ``(d,)``; 0 if not given.
        rewards: ``(N, K)`` reward units, in place of φᵀθ.
    """
    if theta is not None:
        rewards = pool.project(theta)
    total = np.zeros((pool.dim, pool.dim))
    for prompts, rows in pool.tiles():
        phi = pool.block(prompts).astype(np.float64)
        valid = pool.valid[prompts]
        size = valid.sum(axis=1)
        phi -= _first_valid(phi, valid)
        phi[~valid] = 0
        phi -= (phi.sum(axis=1) / size[:, None])[:, None]
        if rewards is None:
            if rows.start == 0:  # Σ_{i<j} z zᵀ is m times the scatter of the m completions
                phi *= (valid * np.sqrt(size / 4)[:, None])[:, :, None]
                flat = phi.reshape(-1, pool.dim)
                total += flat.T @ flat
        else:
            r = rewards[prompts]
            slopes = logistic_slope(r[:, rows, None] - r[:, None, :])
            slopes *= valid[:, rows, None] & valid[:, None, :]
            # A completion against itself has z = 0, but at a weight of ¼ its rounding errors would
            # exceed the information where all labels saturate.
            diagonal = np.arange(rows.start, rows.stop)
            slopes[:, diagonal - rows.start, diagonal] = 0
            total += pair_gram(phi, slopes, rows) / 2
    return total / pool.n_pairs


def pair_slope(pairs: Pairs, rewards: Array | None) -> Array:
    """Compute ω_p = σ'(r_i − r_j) of each pair, ``(n,)``; ¼ where no rewards are given."""
    if rewards is None:
        return np.full(len(pairs), 0.25)
    prompt, first, second = pairs.T
    return logistic_slope(rewards[prompt, first] - rewards[prompt, second])


def policy_covariance(
    pool: Pool,
    theta: Array | None = None,
    beta: float = 1.0,
    *,
    rewards: Array | None = None,
) -> Array:
    """Compute C(θ) = E_x Cov_{π_θ(·|x)}[φ], ``(d, d)``.

    The matrix weighs the directions of an error in θ by how much they change the policy.

    Args:
        pool: the prompts to average over, by their weights.
        theta: θ, ``(d,)``; 0, which is π_ref, if not given.
        beta: β, reward units per nat.
        rewards: ``(N, K)`` reward units, in place of φᵀθ.
    """
    if theta is not None:
        rewards = pool.project(theta)
    logits = pool.log_ref if rewards is None else pool.log_ref + rewards / beta
    pi = np.exp(log_softmax(logits, axis=1))
    total = np.zeros((pool.dim, pool.dim))
    for prompts, rows in pool.tiles():
        if rows.start:
            continue
        phi, valid, p = pool.block(prompts).astype(np.float64), pool.valid[prompts], pi[prompts]
        phi -= _first_valid(phi, valid)
        phi[~valid] = 0
        phi -= np.einsum("nk,nkd->nd", p, phi)[:, None]
        weighted = phi * (p * pool.prompt_weights[prompts, None])[:, :, None]
        total += weighted.reshape(-1, pool.dim).T @ phi.reshape(-1, pool.dim)
    return (total + total.T) / 2


def _first_valid(phi: Array, valid: NDArray[np.bool_]) -> Array:
    """Return the features of each prompt's first valid completion, ``(n, 1, d)``.

    Relative to this origin, equal completions differ by exactly 0.
    """
    origin: Array = phi[np.arange(len(phi)), valid.argmax(axis=1)][:, None]
    return origin


def predicted_gap(
    covariance: Array,
    information: Array,
    n_labels: float,
    beta: float,
    *,
    prior: Array | float = 0.0,
) -> float:
    """Predict the suboptimality gap, E[G] ≈ tr(C (n Σ_w + λ)⁻¹) / (2 β), reward units.

    Without a prior it is the frequentist prediction at θ*; with the ridge λ of the training it is
    the posterior mean of the gap to second order, which stays meaningful with fewer labels than
    dimensions.

    Args:
        covariance: C(θ), ``(d, d)``, of the prompts that the policy is scored on.
        information: Σ_w(θ), ``(d, d)``, per label.
        n_labels: n, the number of labels.
        beta: β, reward units per nat.
        prior: λ, a number or ``(d, d)``: the precision before the labels.

    Returns:
        The gap, infinite where the labels leave a direction undetermined.
    """
    prior = prior if isinstance(prior, np.ndarray) else prior * np.eye(len(covariance))
    return trace_criterion(covariance, n_labels * information + prior) / (2 * beta)


def robust_gap(
    pool: Pool,
    pairs: Pairs,
    labels: Array,
    covariance: Array,
    theta: Array,
    beta: float,
    ridge: float = 0.0,
) -> float:
    """Predict the gap of a misspecified fit by the sandwich estimator, tr(C H⁻¹ S H⁻¹) / (2 β).

    S = Σ_p (y_p − σ(z_pᵀθ))² z_p z_pᵀ is the empirical covariance of the score vectors, in place of
    the information under the model (Huber 1967, White 1982). The two agree, on average, where the
    model is right. The gap is to the best policy of the class, without the floor.

    Args:
        pool: the pool that the pairs index.
        pairs: the labelled pairs, ``(n, 3)``.
        labels: ``(n,)`` in [0, 1]; NaN for a missing one.
        covariance: C(θ), ``(d, d)``.
        theta: θ̂ fitted to these labels, ``(d,)``.
        beta: β, reward units per nat.
        ridge: λ of the fit.

    Returns:
        The gap, reward units; infinite where H = Σ_p σ'(z_pᵀθ) z_p z_pᵀ + λ I is singular.
    """
    answered = ~np.isnan(labels)
    z = pool.differences(pairs[answered])
    residual = labels[answered] - expit(z @ theta)
    scores = (z * residual[:, None] ** 2).T @ z
    precision = label_information(pool, pairs[answered], theta=theta) + ridge * np.eye(pool.dim)
    try:
        half = np.linalg.solve(precision, scores)
        sandwich = np.linalg.solve(precision, half.T)
    except np.linalg.LinAlgError:
        return np.inf
    return float(np.sum(covariance * sandwich)) / (2 * beta)


def trace_criterion(covariance: Array, information: Array) -> float:
    """Compute ψ = tr(C M⁻¹); infinite for a singular M unless C = 0.

    Args:
        covariance: C, ``(d, d)``.
        information: M, ``(d, d)``.
    """
    if not covariance.any():
        return 0.0
    try:
        factor = np.linalg.cholesky(information)
    except np.linalg.LinAlgError:
        return np.inf
    half = np.linalg.solve(factor, covariance)
    return float(np.trace(np.linalg.solve(factor, half.T)))
