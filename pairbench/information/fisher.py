"""The two matrices of the theory, and the gap that they predict.

Source: Han, Goyal, Ma, *Which Pairs to Compare for LLM Post-Training?*, arXiv 2606.19607; for the
log-linear policy as in docs/theory.md, section 2.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pairbench.information.laplacian import pair_gram
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool import Pairs, Pool

Array = NDArray[np.float64]


def label_information(
    pool: Pool, pairs: Pairs, weights: Array | None = None, theta: Array | None = None
) -> Array:
    """Σ_w(θ) = Σ_p w_p σ'(z_pᵀθ) z_p z_pᵀ, ``(d, d)``.

    Args:
        pool: the pool that the pairs point into.
        pairs: ``(n, 3)``.
        weights: w, ``(n,)``; ones if not given, so that the sum counts labels.
        theta: θ, ``(d,)``; 0 if not given.
    """
    z = pool.differences(pairs)
    slope = np.full(len(z), 0.25) if theta is None else logistic_slope(z @ theta)
    if weights is not None:
        slope = slope * weights
    return (z * slope[:, None]).T @ z


def uniform_information(pool: Pool, theta: Array | None = None) -> Array:
    """Σ_w(θ), ``(d, d)``, of the design that draws uniformly from all distinct pairs."""
    return pair_gram(pool.phi, pool.pair_mask * pair_slopes(pool, theta)) / pool.n_pairs


def pair_slopes(pool: Pool, theta: Array | None) -> Array:
    """ω_p = σ'(z_pᵀθ) of all pairs, ``(n_prompts, K, K)``; ¼ everywhere at θ = 0."""
    if theta is None:
        return np.full((pool.n_prompts, pool.n_completions, pool.n_completions), 0.25)
    reward = pool.phi @ theta
    return logistic_slope(reward[:, :, None] - reward[:, None, :])


def logistic_slope(logit: Array) -> Array:
    """σ'(x) = σ(x) σ(−x), accurate in both tails."""
    slope: Array = expit(logit) * expit(-logit)
    return slope


def policy_covariance(pool: Pool, theta: Array | None = None, beta: float = 1.0) -> Array:
    """C(θ) = E_x Cov_{π_θ(·|x)}[φ], ``(d, d)``: which directions of θ the policy feels.

    Args:
        pool: the prompts to average over, by their weights.
        theta: θ, ``(d,)``; 0, which is π_ref, if not given.
        beta: β, reward units per nat.
    """
    theta = np.zeros(pool.dim) if theta is None else theta
    pi = np.exp(LogLinearPolicy(theta, beta).log_probs(pool))
    # Seen from one of the prompt's own completions, so that equal ones have no covariance at all.
    origin = pool.phi[np.arange(pool.n_prompts), pool.valid.argmax(axis=1)]
    shifted = np.where(pool.valid[:, :, None], pool.phi - origin[:, None], 0.0)
    centred = shifted - np.einsum("nk,nkd->nd", pi, shifted)[:, None]
    weighted = centred * (pi * pool.prompt_weights[:, None])[:, :, None]
    covariance: Array = np.tensordot(weighted, centred, axes=([0, 1], [0, 1]))
    return (covariance + covariance.T) / 2


def predicted_gap(covariance: Array, information: Array, n_labels: float, beta: float) -> float:
    """E[G] ≈ tr(C(θ*) Σ_w(θ*)⁻¹) / (2 β n), reward units.

    Args:
        covariance: C(θ*), ``(d, d)``, of the prompts that the policy is scored on.
        information: Σ_w(θ*), ``(d, d)``, of one label.
        n_labels: n.
        beta: β, reward units per nat.

    Returns:
        The gap, infinite where the labels leave a direction undetermined.
    """
    return trace_criterion(covariance, information) / (2 * beta * n_labels)


def trace_criterion(covariance: Array, information: Array) -> float:
    """ψ = tr(C M⁻¹), infinite for a singular M unless C = 0."""
    if not covariance.any():
        return 0.0
    try:
        factor = np.linalg.cholesky(information)
    except np.linalg.LinAlgError:
        return np.inf
    half = np.linalg.solve(factor, covariance)
    return float(np.trace(np.linalg.solve(factor, half.T)))
