"""Optimal weights over pairs, with a certificate.

Column generation: the weights of a small support are optimised, then one search of all pairs,
which never forms them, both certifies the weights and adds the most sensitive pairs to the support.
Criterion I: Han, Goyal, Ma, arXiv 2606.19607. For the others and the certificate, see
``pairbench.information.criteria`` and docs/theory.md, section 3.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from pairbench._util.checks import check_at_least, check_positive
from pairbench.errors import InvalidParameter, unknown_name_error
from pairbench.information.candidates import (
    Candidates,
    SearchResult,
    check_pairs,
    factor,
    make_candidates,
)
from pairbench.information.criteria import (
    Criterion,
    Determinant,
    Eigenvalue,
    Trace,
    WorstVariance,
)
from pairbench.information.fisher import label_information, policy_covariance
from pairbench.pool.pool import Pairs, Pool

Array = NDArray[np.float64]

CRITERIA = ("i", "d", "a", "g", "e", "bayes-i", "minimax-i")

_NEW_PAIRS = 16
"""The largest number of pairs that one search adds to the support, per dimension."""

_NEW_SHARE = 0.1
"""The share of the weight that new pairs start with, together."""


class OptimalDesign(NamedTuple):
    """Weights over a few pairs, with a certificate of their efficiency.

    Attributes:
        pairs: the support, ``(n, 3)``.
        weights: ``(n,)``, summing to one.
        value: the criterion at these weights; less is better.
        efficiency_bound: a proven lower bound of (least value) / (this value), in (0, 1].
        iterations: the number of searches of all pairs.
        seconds: the wall time.
    """

    pairs: Pairs
    weights: Array
    value: float
    efficiency_bound: float
    iterations: int
    seconds: float


def optimal_weights(
    pool: Pool,
    criterion: str = "i",
    theta: ArrayLike | None = None,
    *,
    n: float = 1.0,
    past: Pairs | None = None,
    prior: ArrayLike | None = None,
    beta: float = 1.0,
    covariance: ArrayLike | None = None,
    candidates: Pairs | None = None,
    tol: float = 0.01,
    max_sweeps: int = 100,
    memory: int = 2**28,
    threads: int | None = None,
    device: str | None = None,
) -> OptimalDesign:
    """Minimise a criterion of M(w) = B + Σ_p w_p ω_p z_p z_pᵀ over weights that sum to one.

    ==============  =======================================================================
    criterion       objective
    ==============  =======================================================================
    ``i``           tr(C M⁻¹), the predicted gap up to a factor
    ``d``           det(M)^(−1/r): the confidence ellipsoid of θ
    ``a``           tr(M⁻¹): the mean variance of θ
    ``g``           max over the candidates of zᵀM⁻¹z: the worst variance of a difference
    ``e``           the largest eigenvalue of M⁻¹: the worst variance of a direction
    ``bayes-i``     the mean of ``i`` over several θ, such as posterior draws
    ``minimax-i``   the largest of ``i`` over several θ
    ==============  =======================================================================

    Without ``prior`` and ``past``, M is restricted to the r directions in which candidates differ,
    and B is a millionth of the uniform design's information, so that M is never singular; that
    changes no optimum by more than a millionth. In any case B is at least 10⁻¹² of the sum of B and
    the uniform design's information.

    Args:
        pool: the pool, whose pairs are all candidates unless ``candidates`` are given.
        criterion: one of the names above.
        theta: θ at which ω and C are taken, ``(d,)``; 0 if not given. For ``bayes-i`` and
            ``minimax-i`` several, ``(m, d)``.
        n: the number of labels to be bought: B is ``(prior + past)/n``.
        past: pairs that are labelled already, ``(l, 3)``.
        prior: information from other sources, a number λ for λ I or ``(d, d)``.
        beta: β, reward units per nat; it affects only C.
        covariance: C, ``(d, d)``, for I criteria; :func:`policy_covariance` of the pool at each
            θ if not given.
        candidates: pairs to choose from, ``(c, 3)``.
        tol: stop once the efficiency is proven to be at least 1 − tol.
        max_sweeps: stop after this number of searches; the bound is valid in any case.
        memory: bytes for the search's working memory.
        threads: the number of threads of the search; the cores, or OMP_NUM_THREADS where it is set,
            if not given. The result does not depend on it.
        device: a torch device for the search, such as ``"cuda"``; numpy if not given.

    Raises:
        InvalidParameter: If the criterion is unknown, a shape is wrong, a number is not finite, a
            matrix is not positive semidefinite, a pair is not proper, there is no candidate,
            ``tol`` is not in (0, 1), or ``n``, ``beta``, ``max_sweeps`` or ``threads`` is not
            positive.
    """
    started = time.perf_counter()
    thetas = check_thetas(pool, criterion, theta)
    check_tolerance(tol)
    check_at_least(1, max_sweeps=max_sweeps)
    check_positive(n=n, beta=beta)
    rewards = [None if t is None else pool.project(t) for t in thetas]
    search = make_candidates(
        pool, rewards, candidates, memory=memory, threads=threads, device=device
    )
    # Small matrices are slower on several threads, and the result would depend on their number.
    with threadpool_limits(limits=1, user_api="blas"):
        uniform = search.mean_information()
        before = prior_information(pool, rewards, past, prior)
        base = [u * 1e-6 if b is None else b / n for u, b in zip(uniform, before, strict=True)]
        covariances = _covariances(search, criterion, thetas, beta, covariance)
        start = [u + b for u, b in zip(uniform, base, strict=True)]
        basis, spectrum = _whitening_basis(np.mean(start, axis=0))
        if not basis.shape[1] or not sum(np.trace(basis.T @ c @ basis) for c in covariances) > 0:
            # No direction that labels inform about affects the policy: every pair is optimal.
            pairs = _any_pair(pool, candidates)
            seconds = time.perf_counter() - started
            return OptimalDesign(pairs, np.ones(1), 0.0, 1.0, 0, seconds)
        whitened_start = [_make_definite(basis.T @ m @ basis) for m in start]
        whitened_base = [_make_definite(basis.T @ b @ basis) for b in base]
        objective = _make_criterion(
            criterion, search, basis, spectrum, covariances, whitened_start[0]
        )
        solver = _Solver(search, objective, basis, whitened_base)
        solver.run(whitened_start, tol, max_sweeps)
    return OptimalDesign(
        pairs=solver.pairs,
        weights=solver.weights,
        value=float(np.exp(solver.log_value)),
        efficiency_bound=min(1.0, float(np.exp(solver.log_least - solver.log_bound))),
        iterations=solver.sweeps,
        seconds=time.perf_counter() - started,
    )


def prior_information(
    pool: Pool,
    rewards: Sequence[Array | None],
    past: Pairs | None,
    prior: ArrayLike | None,
) -> list[Array | None]:
    """Compute the information before any new label, prior + past, at each of the rewards.

    Args:
        pool: the pool that the pairs index.
        rewards: the rewards ``(N, K)``, None for 0.
        past: pairs that are labelled already, ``(l, 3)``.
        prior: information from other sources, a number λ for λ I or ``(d, d)``.

    Returns:
        ``(d, d)`` for each of the rewards; None for each where neither argument is given.

    Raises:
        InvalidParameter: If a pair is not proper or the prior is not positive semidefinite.
    """
    if prior is None and past is None:
        return [None] * len(rewards)
    before = check_semidefinite("prior", 0.0 if prior is None else prior, pool.dim, number=True)
    if past is None:
        return [before] * len(rewards)
    past = check_pairs(pool, past, "past")
    return [before + label_information(pool, past, rewards=r) for r in rewards]


def check_semidefinite(name: str, value: ArrayLike, dim: int, *, number: bool = False) -> Array:
    """Convert an argument to a symmetric positive semidefinite matrix.

    Args:
        name: its name, for the message.
        value: the argument.
        dim: d.
        number: whether a number λ is allowed, for λ I.

    Returns:
        ``(d, d)``.

    Raises:
        InvalidParameter: If it has another shape, is not finite, or is not positive semidefinite.
    """
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"{name} must be numbers: {error}.") from error
    if number and not matrix.ndim:
        matrix = np.diag(np.full(dim, matrix))
    if matrix.shape != (dim, dim) or not np.isfinite(matrix).all():
        raise InvalidParameter(
            f"{name} must be a finite matrix ({dim}, {dim}), got shape {matrix.shape}"
            f"{'' if np.isfinite(matrix).all() else ' with NaN or infinite entries'}."
        )
    tol = 1e-6 * float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > tol or eigh(matrix, eigvals_only=True)[0] < -dim * tol:
        raise InvalidParameter(f"{name} must be symmetric and positive semidefinite.")
    return matrix


class _Solver:
    """Column generation for the weights, with bounds of the criterion.

    Attributes:
        pairs: the support, ``(s, 3)``.
        weights: ``(s,)``.
        log_value: log of the criterion at the weights.
        log_bound: log of an upper bound of the criterion at the weights.
        log_least: log of a proven lower bound of the criterion's least value.
        sweeps: the number of searches so far.
    """

    def __init__(
        self, search: Candidates, criterion: Criterion, basis: Array, base: Sequence[Array]
    ) -> None:
        """Start from an empty support.

        Args:
            search: the candidates.
            criterion: the criterion in the whitened basis.
            basis: T, ``(d, r)``.
            base: B_k in the whitened basis, ``(r, r)`` each.
        """
        self.search, self.criterion, self.basis, self.base = search, criterion, basis, base
        self.log_value = self.log_bound = np.inf
        self.log_least = -np.inf
        self.sweeps = 0
        self.pairs = np.empty((0, 3), dtype=np.int64)
        self.weights = np.empty(0)
        self.atoms = [np.empty((0, basis.shape[1])) for _ in base]

    def run(self, start: Sequence[Array], tol: float, max_sweeps: int) -> None:
        """Improve the weights until their efficiency is proven to be 1 − tol.

        Args:
            start: the uniform design's information, ``(r, r)`` for each k.
            tol: the tolerance.
            max_sweeps: the largest number of searches.
        """
        result, _ = self._search(self.criterion.smooth(start).gradients, tol)
        # The first support takes all pairs that the search returned, so that it spans all
        # directions in which candidates differ.
        self._extend_support(result.pairs)
        pairs, weights = self.pairs, self.weights
        gap = 1.0
        for self.sweeps in range(1, max_sweeps + 1):
            self._optimise_weights(max(0.3 * gap, tol / 4))
            informations = self._informations(self.weights)
            log_smooth, gradients = self.criterion.smooth(informations)
            result, bound = self._search(gradients, tol)
            self.log_least = max(self.log_least, log_smooth - np.log(bound))
            log_value, log_bound = self.criterion.exact(informations)
            if log_value < self.log_value:
                self.log_value, self.log_bound = log_value, log_bound
                pairs, weights = self.pairs, self.weights
            gap = 1 - np.exp(self.log_least - self.log_bound)
            if gap <= tol:
                break
            self.criterion.tighten(informations)
            sensitive = result.values + self._base_sensitivity(gradients) > 1
            self._extend_support(result.pairs[sensitive])
        self.pairs, self.weights = pairs, weights

    # Why: docs/decisions/024-no-pairs-are-screened-out.md
    def _search(self, gradients: Sequence[Array], tol: float) -> tuple[SearchResult, float]:
        """Search for the most sensitive pairs, and bound max_p Σ_k tr(E_k A_kp) from above."""
        factors = [self.basis @ factor(gradient) for gradient in gradients]
        count = _NEW_PAIRS * self.basis.shape[1]
        result = self.search.find_largest(factors, count, slack=tol / 2)
        return result, result.bound + self._base_sensitivity(gradients)

    def _base_sensitivity(self, gradients: Sequence[Array]) -> float:
        """Compute Σ_k tr(E_k B_k), the part of the sensitivity that all pairs share."""
        return sum(float(np.sum(e * b)) for e, b in zip(gradients, self.base, strict=True))

    def _extend_support(self, pairs: Pairs) -> None:
        """Add pairs to the support with a share of the weight, unless they are in it."""
        pool = self.search.pool
        shape = (pool.n_prompts, pool.n_completions, pool.n_completions)
        support = np.ravel_multi_index(tuple(self.pairs.T), shape)
        new = pairs[~np.isin(np.ravel_multi_index(tuple(pairs.T), shape), support)]
        if not len(new):
            return
        new_atoms = [atom @ self.basis for atom in self.search.atoms(new)]
        self.atoms = [np.concatenate(parts) for parts in zip(self.atoms, new_atoms, strict=True)]
        share = _NEW_SHARE if len(self.pairs) else 1.0
        new_weights = np.full(len(new), share / len(new))
        self.weights = np.concatenate([(1 - share) * self.weights, new_weights])
        self.pairs = np.concatenate([self.pairs, new])

    def _informations(self, weights: Array) -> list[Array]:
        """Compute M_k of weights on the support, ``(r, r)`` each."""
        return [
            b + (z * weights[:, None]).T @ z for b, z in zip(self.base, self.atoms, strict=True)
        ]

    # Why: docs/decisions/023-l-bfgs-b-solves-for-weights.md
    def _optimise_weights(self, gap: float) -> None:
        """Optimise the weights on the support to a relative gap, and drop pairs without weight.

        L-BFGS-B on log f(x / Σx), x ≥ 0, converges in tens of steps where multiplicative updates
        take thousands, and sets weights to exactly zero.
        """
        size = len(self.weights)
        largest = np.inf

        def objective(x: Array) -> tuple[float, Array]:
            nonlocal largest
            # A step may set all weights to zero, which leaves B alone.
            total = max(float(x.sum()), 1e-9 * size)
            log_value, gradients = self.criterion.smooth(self._informations(x / total))
            sensitivity = np.full(size, self._base_sensitivity(gradients))
            for z, gradient in zip(self.atoms, gradients, strict=True):
                sensitivity += np.einsum("pd,pd->p", z @ gradient, z)
            largest = float(sensitivity.max())
            # Scaled by the size, so that x and the gradient are of order one.
            return size * log_value, size / total * (x @ sensitivity / total - sensitivity)

        def stop_at_gap(_: Array) -> None:
            if largest <= 1 + gap:
                raise StopIteration

        fit = minimize(
            objective,
            size * self.weights,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * size,
            callback=stop_at_gap,
            options={"maxfun": 300, "maxiter": 300, "gtol": 1e-10, "ftol": 1e-15},
        )
        positive = fit.x > 0
        self.pairs, self.weights = self.pairs[positive], fit.x[positive] / fit.x[positive].sum()
        self.atoms = [z[positive] for z in self.atoms]


def _make_criterion(
    name: str,
    search: Candidates,
    basis: Array,
    spectrum: Array,
    covariances: Sequence[Array],
    start: Array,
) -> Criterion:
    """Build the criterion in the whitened basis T = V Λ^{−½}, in which M is Tᵀ M T."""
    if name == "d":
        return Determinant(float(np.log(spectrum).sum()))
    if name == "e":
        return Eigenvalue(np.diag(spectrum**-0.5))
    if name == "g":
        # The variance of a difference does not depend on ω.
        return WorstVariance(search.at_zero(), basis, start)
    roots = [factor(basis.T @ c @ basis) for c in covariances]
    return Trace(roots, worst=name == "minimax-i")


def _covariances(
    search: Candidates,
    criterion: str,
    thetas: Sequence[Array | None],
    beta: float,
    covariance: ArrayLike | None,
) -> list[Array]:
    """Compute C_k for each θ, ``(d, d)`` each."""
    pool = search.pool
    if criterion == "g":
        return search.at_zero().mean_information()
    if not criterion.endswith("i"):
        return [np.eye(pool.dim)]
    if covariance is None:
        return [policy_covariance(pool, theta, beta) for theta in thetas]
    return [check_semidefinite("covariance", covariance, pool.dim)] * len(thetas)


def _whitening_basis(information: Array) -> tuple[Array, Array]:
    """Compute T with Tᵀ W T = I, ``(d, r)``, and W's positive eigenvalues, ``(r,)``."""
    values, vectors = eigh(information)
    # Features are float32: differences below 10⁻⁷ of the largest are rounding errors.
    positive = values > 1e-14 * max(values[-1], 0.0)
    return vectors[:, positive] / np.sqrt(values[positive]), values[positive]


def _make_definite(information: Array) -> Array:
    """Raise the eigenvalues of a matrix in the whitened basis to 10⁻¹² at least.

    They can be 0 or a negative rounding error where labels saturate at one of several θ, or where
    past labels leave a direction out.
    """
    values, vectors = eigh(information)
    positive: Array = (vectors * np.maximum(values, 1e-12)) @ vectors.T
    return positive


def _any_pair(pool: Pool, candidates: Pairs | None) -> Pairs:
    """Return the first candidate, ``(1, 3)``."""
    if candidates is not None:
        return np.asarray(candidates[:1], dtype=np.int64)
    first, second = pool.valid_first[0, :2]
    return np.array([[0, first, second]], dtype=np.int64)


def check_thetas(pool: Pool, criterion: str, theta: ArrayLike | None) -> list[Array | None]:
    """Convert an argument ``theta`` to one θ ``(d,)`` for each of the criterion's cases.

    Args:
        pool: the pool, for its dimension.
        criterion: a name out of :data:`CRITERIA`.
        theta: ``(d,)`` or None; ``(m, d)`` for criteria over several θ.

    Raises:
        InvalidParameter: If the criterion is unknown, or θ has the wrong shape or is not finite.
    """
    if criterion not in CRITERIA:
        raise unknown_name_error(InvalidParameter, "criterion", criterion, CRITERIA)
    several = criterion in ("bayes-i", "minimax-i")
    if theta is None:
        if several:
            raise InvalidParameter(
                f"criterion {criterion!r} is over several θ: give theta as (m, {pool.dim})."
            )
        return [None]
    try:
        thetas = np.asarray(theta, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"theta must be numbers: {error}.") from error
    expected = f"(m, {pool.dim})" if several else f"({pool.dim},)"
    shape = thetas.shape[1:] if several and thetas.ndim == 2 and len(thetas) else thetas.shape
    if shape != (pool.dim,) or (several and thetas.ndim != 2) or not np.isfinite(thetas).all():
        raise InvalidParameter(
            f"theta must be a finite array {expected} for criterion {criterion!r}, got shape "
            f"{thetas.shape}."
        )
    return list(thetas) if several else [thetas]


def check_tolerance(tol: float) -> None:
    """Raise unless 0 < tol < 1.

    Raises:
        InvalidParameter: If it is not.
    """
    if not 0 < tol < 1:
        raise InvalidParameter(f"tol must lie between 0 and 1, got {tol}.")
