"""Figures of merit, exact on a finite pool (docs/theory.md, sections 1 and 4)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from pairbench.errors import TrainingFailed
from pairbench.pool.pool import Pool

Array = NDArray[np.float64]


def optimal_log_probs(pool: Pool, rewards: Array, beta: float) -> Array:
    """Compute log π*, π* ∝ π_ref exp(r*/β), ``(n_prompts, n_completions)`` nats.

    Args:
        pool: the pool, with log π_ref.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        beta: β, reward units per nat.
    """
    result: Array = log_softmax(pool.log_ref + rewards / beta, axis=1)
    return result


def gap(log_probs: Array, pool: Pool, rewards: Array, beta: float) -> float:
    """Compute the gap G(π) = β E_x KL(π(·|x) ‖ π*(·|x)) = J(π*) − J(π), reward units.

    Args:
        log_probs: log π, ``(n_prompts, n_completions)`` nats.
        pool: the prompts to average over, by their weights.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        beta: β, reward units per nat.

    Raises:
        TrainingFailed: If the gap is not finite.
    """
    optimal = _zero_if_impossible(optimal_log_probs(pool, rewards, beta), pool)
    kl = _expectation(log_probs, _zero_if_impossible(log_probs, pool) - optimal, pool)
    value = beta * float(pool.prompt_weights @ kl)
    if not np.isfinite(value):  # max(0, NaN) would be a perfect score
        raise TrainingFailed(f"the policy has no gap: its log-probabilities give {value}.")
    return max(0.0, value)


def objective(log_probs: Array, pool: Pool, rewards: Array, beta: float) -> float:
    """Compute the objective J(π) = E_x [E_π r* − β KL(π ‖ π_ref)], reward units.

    Args:
        log_probs: log π, ``(n_prompts, n_completions)`` nats.
        pool: the prompts to average over, by their weights.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        beta: β, reward units per nat.
    """
    log_ratio = _zero_if_impossible(log_probs, pool) - _zero_if_impossible(pool.log_ref, pool)
    value = _expectation(log_probs, rewards - beta * log_ratio, pool)
    return float(pool.prompt_weights @ value)


# Why: docs/decisions/009-win-rate-counts-ties-half.md
def win_rate(log_probs: Array, pool: Pool, rewards: Array) -> float:
    """Compute P(r*(y) > r*(y')) for y ~ π and y' ~ π_ref of one prompt, ties counted half.

    So π_ref itself scores ½. The figure is exact; nothing is sampled.

    Args:
        log_probs: log π, ``(n_prompts, n_completions)`` nats.
        pool: the prompts to average over, by their weights.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
    """
    # Sorted by reward, π_ref's mass below a completion is a cumulative sum; ties share theirs.
    order = np.argsort(np.where(pool.valid, rewards, -np.inf), axis=1, kind="stable")
    r = np.take_along_axis(np.where(pool.valid, rewards, -np.inf), order, axis=1)
    policy = np.exp(np.take_along_axis(log_probs, order, axis=1))
    reference = np.exp(np.take_along_axis(pool.log_ref, order, axis=1))
    cumulative = np.cumsum(reference, axis=1)
    column = np.arange(r.shape[1])
    differs = r[:, 1:] != r[:, :-1]
    edge = np.ones((len(r), 1), dtype=np.bool_)
    # The first and the last column of each completion's ties.
    first = np.maximum.accumulate(np.where(np.hstack([edge, differs]), column, 0), axis=1)
    last = np.where(np.hstack([differs, edge]), column, len(column))[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    below = np.take_along_axis(cumulative - reference, first, axis=1)
    wins = (below + np.take_along_axis(cumulative, last, axis=1)) / 2
    return float(pool.prompt_weights @ (policy * wins).sum(axis=1))


def best_in_class(pool: Pool, rewards: Array, beta: float) -> tuple[Array, float]:
    """Find the log-linear policy of least gap.

    G(π_θ) is not convex in θ: the result is the best local minimum from two starts, θ = 0 and the
    least-squares fit of the reward, so the gap is an upper bound of the least.

    Args:
        pool: the prompts to average over, by their weights.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        beta: β, reward units per nat.

    Returns:
        θ, ``(dim,)``, and its gap, the floor of the policy class, reward units.
    """
    from scipy.optimize import minimize  # slow to import, and rarely needed

    phi, rho = pool.phi, pool.prompt_weights
    r = np.where(pool.valid, rewards, 0.0)
    log_z = float(rho @ logsumexp(pool.log_ref + r / beta, axis=1))

    def gap_and_gradient(theta: Array) -> tuple[float, Array]:
        f = phi @ theta
        logits = pool.log_ref + f / beta
        pi = np.exp(log_softmax(logits, axis=1))
        excess = f - r
        mean = (pi * excess).sum(axis=1, keepdims=True)
        value = rho @ (mean[:, 0] - beta * logsumexp(logits, axis=1)) + beta * log_z
        # ∇G = E_x Cov_π(φ, φᵀθ − r) / β.
        weight = rho[:, None] * pi * (excess - mean) / beta
        return float(value), np.einsum("nk,nkd->d", weight, phi)

    fits = [
        minimize(gap_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
        for start in (np.zeros(pool.dim), _least_squares(pool, r))
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return best.x, max(0.0, float(best.fun))


def _least_squares(pool: Pool, rewards: Array) -> Array:
    """Fit rewards by features, both centred under π_ref, by least squares weighted by ρ π_ref.

    Args:
        pool: the pool.
        rewards: ``(n_prompts, n_completions)``, 0 where not valid.

    Returns:
        θ, ``(dim,)``.
    """
    weight = np.sqrt(pool.prompt_weights[:, None] * np.exp(pool.log_ref))
    reference = np.exp(pool.log_ref)
    x = pool.phi - np.einsum("nk,nkd->nd", reference, pool.phi)[:, None]
    y = rewards - (reference * rewards).sum(axis=1, keepdims=True)
    theta: Array = np.linalg.lstsq(
        (x * weight[:, :, None]).reshape(-1, pool.dim), (y * weight).reshape(-1), rcond=None
    )[0]
    return theta


def _expectation(log_probs: Array, values: Array, pool: Pool) -> Array:
    """Compute E_π[values | x], ``(n_prompts,)``."""
    expectation: Array = np.sum(np.exp(log_probs) * np.where(pool.valid, values, 0.0), axis=1)
    return expectation


def _zero_if_impossible(log_probs: Array, pool: Pool) -> Array:
    """Replace −inf by 0: a completion without probability adds nothing to an expectation."""
    return np.where(pool.valid & (log_probs > -np.inf), log_probs, 0.0)
