"""The figures of merit, exact on a finite pool (docs/theory.md, sections 1 and 4)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from pairbench.errors import TrainingFailed
from pairbench.pool import Pool
from pairbench.stats import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sampled:
    """What a score was estimated by, where completions are too many to enumerate.

    Intervals are of chance in the completions drawn; the held-out prompts are as they are. See
    :mod:`pairbench.language.sampled`.

    Attributes:
        gap: J(π*) − J(π), reward units; the score's own is no less than 0, this one may be.
        value: J(π) = E_π[r* − β log π/π_ref], reward units.
        best: J(π*) = β E_x log E_π_ref exp(r*/β), reward units.
        reward: E_π r*, reward units; with ``kl`` the policy's place on the frontier of both.
        kl: E_x KL(π ‖ π_ref), nats.
        win_rate: P(a draw from π has the greater reward than one from π_ref), ties half.
        judged: the share of draws from π that the evaluator prefers to one from π_ref, ties half;
            None where the environment names no evaluator.
        effective: of a prompt's reference draws, how many ``best`` rests on: Kish's effective
            number under the weights exp(r*/β), averaged over prompts. Where it is small, ``best``
            is too low, and its interval too narrow.
    """

    gap: Estimate
    value: Estimate
    best: Estimate
    reward: Estimate
    kl: Estimate
    win_rate: Estimate
    judged: Estimate | None
    effective: float


@dataclass(frozen=True)
class Score:
    """How good a policy is.

    Attributes:
        gap: G = J(π*) − J(π) on the held-out prompts, reward units. The primary figure.
        pool_gap: the same on the pool's own prompts.
        floor: the least gap that the policy class can reach on the held-out prompts; 0 where the
            reward is linear in the features.
        estimation: ``gap − floor``, what more labels could still win.
        win_rate: P(a draw from π has the greater reward than one from π_ref), held-out, ties half.
        estimation_error: (θ̂−θ*)ᵀ C(θ*) (θ̂−θ*) on the held-out prompts, reward units²; None
            where there is no θ*.
        design_efficiency: ψ(best design at θ*) / ψ(the labelled pairs), in (0, 1] up to sampling
            and the 5 % to which the best is known. Where the reward is not linear in the features,
            θ* is the best policy's, and ψ leaves out what misspecification adds.
        sampled: what ``gap`` and ``win_rate`` were estimated by, where they are not exact.
    """

    gap: float
    pool_gap: float
    floor: float
    estimation: float
    win_rate: float
    estimation_error: float | None
    design_efficiency: float
    sampled: Sampled | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields; without ``sampled`` where there is nothing, as in scores from before it."""
        fields = asdict(self)
        if self.sampled is None:
            del fields["sampled"]
        return fields


def optimal_log_probs(pool: Pool, rewards: Array, beta: float) -> Array:
    """log π*, π* ∝ π_ref exp(r*/β), ``(n_prompts, n_completions)`` nats."""
    result: Array = log_softmax(pool.log_ref + rewards / beta, axis=1)
    return result


def gap(log_probs: Array, pool: Pool, rewards: Array, beta: float) -> float:
    """G(π) = β E_x KL(π(·|x) ‖ π*(·|x)), which is J(π*) − J(π) exactly; reward units.

    Args:
        log_probs: log π, ``(n_prompts, n_completions)`` nats.
        pool: the prompts to average over, by their weights.
        rewards: r*, ``(n_prompts, n_completions)`` reward units.
        beta: β, reward units per nat.
    """
    optimal = _finite(optimal_log_probs(pool, rewards, beta), pool)
    kl = _expectation(log_probs, _finite(log_probs, pool) - optimal, pool)
    value = beta * float(pool.prompt_weights @ kl)
    if not np.isfinite(value):  # max(0, NaN) would be a perfect score
        raise TrainingFailed(f"the policy has no gap: its log-probabilities give {value}.")
    return max(0.0, value)


def objective(log_probs: Array, pool: Pool, rewards: Array, beta: float) -> float:
    """J(π) = E_x [E_π r* − β KL(π ‖ π_ref)], reward units."""
    log_ratio = _finite(log_probs, pool) - _finite(pool.log_ref, pool)
    value = _expectation(log_probs, rewards - beta * log_ratio, pool)
    return float(pool.prompt_weights @ value)


def win_rate(log_probs: Array, pool: Pool, rewards: Array) -> float:
    """P(r*(y) > r*(y')) for y ~ π and y' ~ π_ref of one prompt, ties counted half.

    So π_ref itself scores ½, and the figure is exact: no draw is made.
    """
    # Sorted by reward, what lies below a completion is a cumulative sum; equal rewards share it.
    order = np.argsort(np.where(pool.valid, rewards, -np.inf), axis=1, kind="stable")
    r = np.take_along_axis(np.where(pool.valid, rewards, -np.inf), order, axis=1)
    policy = np.exp(np.take_along_axis(log_probs, order, axis=1))
    reference = np.exp(np.take_along_axis(pool.log_ref, order, axis=1))
    up_to = np.cumsum(reference, axis=1)
    column = np.arange(r.shape[1])
    changes = r[:, 1:] != r[:, :-1]
    edge = np.ones((len(r), 1), dtype=np.bool_)
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), column, 0), axis=1)
    last = np.where(np.hstack([changes, edge]), column, len(column))[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    below = np.take_along_axis(up_to - reference, first, axis=1)
    share = (below + np.take_along_axis(up_to, last, axis=1)) / 2
    return float(pool.prompt_weights @ (policy * share).sum(axis=1))


def best_in_class(pool: Pool, rewards: Array, beta: float) -> tuple[Array, float]:
    """The log-linear policy of least gap: its θ, ``(dim,)``, and that gap, the floor.

    G(π_θ) is not convex in θ: the result is the best local minimum from two starts, θ = 0 and the
    least-squares fit of the reward, so the floor is an upper bound of the true one.
    """
    from scipy.optimize import minimize  # loads slowly, and few worlds need it

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

    weight = np.sqrt(rho[:, None] * np.exp(pool.log_ref))
    centre = np.exp(pool.log_ref)
    x = phi - np.einsum("nk,nkd->nd", centre, phi)[:, None]
    y = r - (centre * r).sum(axis=1, keepdims=True)
    linear = np.linalg.lstsq(
        (x * weight[:, :, None]).reshape(-1, pool.dim), (y * weight).reshape(-1), rcond=None
    )[0]
    fits = [
        minimize(gap_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
        for start in (np.zeros(pool.dim), linear)
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return best.x, max(0.0, float(best.fun))


def _expectation(log_probs: Array, values: Array, pool: Pool) -> Array:
    """E_π[values | x], ``(n_prompts,)``."""
    expectation: Array = np.sum(np.exp(log_probs) * np.where(pool.valid, values, 0.0), axis=1)
    return expectation


def _finite(log_probs: Array, pool: Pool) -> Array:
    """The same with 0 for −inf: what has no probability counts nothing in an expectation."""
    return np.where(pool.valid & (log_probs > -np.inf), log_probs, 0.0)
