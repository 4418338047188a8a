"""Optimal weights over pairs for the trace criterion, with a certificate.

Criterion: Han, Goyal, Ma, arXiv 2606.19607. Certificate: general equivalence theorem (Kiefer 1974);
see docs/theory.md, section 3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.information.fisher import (
    pair_slopes,
    policy_covariance,
    uniform_information,
)
from pairbench.information.laplacian import pair_forms
from pairbench.pool import Pairs, Pool

Array = NDArray[np.float64]

_STEPS = 60  # multiplicative steps between two sweeps
_NEW = 8  # pairs that a sweep may bring in, per dimension
_CUT = 1e-2  # pairs below this share of the mean weight leave the support


class OptimalDesign(NamedTuple):
    """Weights over a few pairs, and the proof of how good they are.

    Attributes:
        pairs: the support, ``(n, 3)``.
        weights: ``(n,)``, summing to one.
        value: ψ, the criterion at these weights.
        efficiency_bound: a proven lower bound of ψ(best weights)/ψ(these weights), in (0, 1].
        iterations: sweeps over all pairs.
    """

    pairs: Pairs
    weights: Array
    value: float
    efficiency_bound: float
    iterations: int


def optimal_weights(
    pool: Pool,
    theta: Array | None = None,
    *,
    beta: float = 1.0,
    covariance: Array | None = None,
    prior: Array | None = None,
    tol: float = 0.01,
    max_sweeps: int = 100,
) -> OptimalDesign:
    """Minimise ψ(w) = tr(C M(w)⁻¹), M(w) = B + Σ_p w_p ω_p z_p z_pᵀ, over weights that sum to one.

    Column generation: keep a support, weigh it by multiplicative steps, and let one sweep over all
    pairs, on per-prompt Gram matrices, both certify the weights and bring in the most sensitive
    pairs.

    As Σ w_p = 1, B can be counted to every pair: M(w) = Σ w_p (B + ω_p z_p z_pᵀ). So the
    equivalence theorem and its bound hold with B as they do without.

    Args:
        pool: the candidates are all its pairs.
        theta: θ at which ω and C are taken, ``(d,)``; 0 if not given.
        beta: β, reward units per nat.
        covariance: C, ``(d, d)``; :func:`policy_covariance` at ``theta`` if not given.
        prior: B, ``(d, d)`` positive semidefinite, information that is there already, per label to
            be bought; 10⁻⁹ of the uniform design's mean eigenvalue if not given.
        tol: stop once the efficiency is proven to be at least 1 − tol.
        max_sweeps: stop then in any case; the bound is true all the same.

    Raises:
        InvalidParameter: If ``tol`` is not in (0, 1), or ``max_sweeps`` is not 1 or more.
    """
    if not 0 < tol < 1:
        raise InvalidParameter(f"tol must lie between 0 and 1, got {tol}.")
    if max_sweeps < 1:
        raise InvalidParameter(f"max_sweeps must be 1 or more, got {max_sweeps}.")
    slopes = pair_slopes(pool, theta)
    c = policy_covariance(pool, theta, beta) if covariance is None else covariance
    uniform = uniform_information(pool, theta)
    if prior is None:
        prior = np.eye(pool.dim) * max(1e-9 * np.trace(uniform) / pool.dim, 1e-300)
    inverse = np.linalg.inv(uniform + prior)
    pairs, _ = _most_sensitive(pool, slopes, inverse @ c @ inverse)
    weights = np.full(len(pairs), 1 / len(pairs))
    least = 0.0
    for sweep in range(1, max_sweeps + 1):
        pairs, weights, inverse = _reweigh(pool, pairs, weights, slopes, c, prior)
        value = float(np.trace(c @ inverse))
        effect = inverse @ c @ inverse
        found, sensitivity = _most_sensitive(pool, slopes, effect)
        sensitivity += np.sum(effect * prior)
        if value <= 0:  # C = 0: the policy feels no direction, and any design is optimal
            return OptimalDesign(pairs, weights, 0.0, 1.0, sweep)
        # What one sweep has proven of the best value stays true when the weights move on.
        least = max(least, value * min(1.0, value / float(sensitivity.max())))
        if least >= (1 - tol) * value or sweep == max_sweeps:
            break
        pairs, weights = _grown(pool, pairs, weights, found[sensitivity > value])
    return OptimalDesign(pairs, weights, value, least / value, sweep)


def _most_sensitive(pool: Pool, slopes: Array, effect: Array) -> tuple[Pairs, Array]:
    """The pairs of largest ω zᵀ M⁻¹CM⁻¹ z, one for each completion, ``(n, 3)``; the values.

    One for each completion, because the next best pairs of one completion are often near copies.
    """
    forms = np.where(pool.pair_mask, pair_forms(pool.phi, effect) * slopes, -1.0)
    second = forms.argmax(axis=2)
    value = np.take_along_axis(forms, second[:, :, None], axis=2)[:, :, 0]
    top = np.argsort(-value, axis=None, kind="stable")[: _NEW * pool.dim]
    top = top[value.reshape(-1)[top] >= 0]
    prompt, first = np.divmod(top, pool.n_completions)
    return np.stack([prompt, first, second[prompt, first]], axis=1), value[prompt, first]


def _grown(pool: Pool, pairs: Pairs, weights: Array, found: Pairs) -> tuple[Pairs, Array]:
    """The support with the pairs found, which together get a tenth of the weight."""
    shape = (pool.n_prompts, pool.n_completions, pool.n_completions)
    known = np.ravel_multi_index(tuple(pairs.T), shape)
    new = found[~np.isin(np.ravel_multi_index(tuple(found.T), shape), known)]
    if not len(new):
        return pairs, weights
    added = np.full(len(new), 0.1 / len(new))
    return np.concatenate([pairs, new]), np.concatenate([0.9 * weights, added])


def _reweigh(
    pool: Pool, pairs: Pairs, weights: Array, slopes: Array, c: Array, prior: Array
) -> tuple[Pairs, Array, Array]:
    """Multiplicative steps on the support until it is nearly optimal; support, weights, M⁻¹."""
    z = pool.differences(pairs) * np.sqrt(slopes[tuple(pairs.T)])[:, None]
    for _ in range(_STEPS):
        inverse = np.linalg.inv(prior + (z * weights[:, None]).T @ z)
        effect = inverse @ c @ inverse
        value = float(np.trace(c @ inverse))
        sensitivity = np.einsum("pd,pd->p", z @ effect, z) + np.sum(effect * prior)
        if sensitivity.max() <= 1.001 * value:
            break
        # Exponent ½ instead of 1: monotone for trace criteria.
        weights = weights * np.sqrt(sensitivity / value)
        weights /= weights.sum()
    kept = weights > _CUT / len(weights)
    pairs, weights, z = pairs[kept], weights[kept] / weights[kept].sum(), z[kept]
    return pairs, weights, np.linalg.inv(prior + (z * weights[:, None]).T @ z)
