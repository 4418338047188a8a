"""Optimal weights over pairs, with a certificate.

Column generation: a support of few pairs is weighed to optimality, then one search of all pairs,
which never forms them, both certifies the weights and brings in the most sensitive pairs.
Criterion I: Han, Goyal, Ma, arXiv 2606.19607. The others and the certificate: see
``pairbench.information.criteria`` and docs/theory.md, section 3.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from pairbench.errors import InvalidParameter, unknown
from pairbench.information.candidates import (
    AllPairs,
    Candidates,
    ListedPairs,
    factor,
    given_pairs,
)
from pairbench.information.criteria import (
    Criterion,
    Determinant,
    Eigenvalue,
    Trace,
    WorstVariance,
)
from pairbench.information.fisher import label_information, policy_covariance
from pairbench.pool import Pairs, Pool

Array = NDArray[np.float64]

CRITERIA = ("i", "d", "a", "g", "e", "bayes-i", "minimax-i")

_NEW = 16  # pairs that a search may bring in, per dimension
_SHARE = 0.1  # of the weight that new pairs begin with, together


class OptimalDesign(NamedTuple):
    """Weights over a few pairs, and the proof of how good they are.

    Attributes:
        pairs: the support, ``(n, 3)``.
        weights: ``(n,)``, summing to one.
        value: the criterion at these weights; less is better.
        efficiency_bound: a proven lower bound of (least value) / (this value), in (0, 1].
        iterations: searches of all pairs.
        seconds: what it took.
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
    criterion       what is minimised
    ==============  =======================================================================
    ``i``           tr(C M⁻¹), the predicted gap up to a factor
    ``d``           det(M)^(−1/r): the confidence ellipsoid of θ
    ``a``           tr(M⁻¹): the mean variance of θ
    ``g``           max over the candidates of zᵀM⁻¹z: the worst variance of a difference
    ``e``           the largest eigenvalue of M⁻¹: the worst variance of a direction
    ``bayes-i``     the mean of ``i`` over several θ, such as posterior draws
    ``minimax-i``   the largest of ``i`` over several θ
    ==============  =======================================================================

    Without ``prior`` and ``past`` directions in which no two candidates differ are left out of M,
    which is r × r then, and B is a millionth of the uniform design's information, so that M is
    never singular; that changes no optimum by more than a millionth. In any case B is no less
    than 10⁻¹² of what it and the uniform design tell together.

    Args:
        pool: the candidates are all its pairs, unless ``candidates`` are given.
        criterion: see above.
        theta: θ at which ω and C are taken, ``(d,)``; 0 if not given. For ``bayes-i`` and
            ``minimax-i`` several, ``(m, d)``.
        n: the number of labels to be bought: B is ``(prior + past)/n``.
        past: pairs that have labels already, ``(l, 3)``.
        prior: information that is there besides, a number λ for λ I or ``(d, d)``.
        beta: β, reward units per nat; it acts on C alone.
        covariance: C, ``(d, d)``, for I criteria; :func:`policy_covariance` of the pool at each
            θ if not given.
        candidates: pairs to choose from, ``(c, 3)``.
        tol: stop once the efficiency is proven to be at least 1 − tol.
        max_sweeps: stop then in any case; the bound is true all the same.
        memory: bytes for the search's working memory.
        threads: of the search; the cores, or OMP_NUM_THREADS where it is set, if not given. The
            result does not depend on it.
        device: a torch device for the search, such as ``"cuda"``; numpy if not given.

    Raises:
        InvalidParameter: If the criterion is unknown, a shape is wrong, a number is not finite, a
            matrix is not positive semidefinite, a pair is not proper, ``tol`` is not in (0, 1), or
            ``n``, ``max_sweeps`` or ``candidates`` leave nothing.
    """
    started = time.perf_counter()
    thetas = checked_thetas(pool, criterion, theta)
    _check(tol, max_sweeps, n, beta)
    rewards = [None if t is None else pool.project(t) for t in thetas]
    search: Candidates
    if candidates is None:
        search = AllPairs(pool, rewards, memory=memory, threads=threads, device=device)
    else:
        search = ListedPairs(pool, rewards, candidates)
    # Small matrices are slower on several threads, and the result would depend on how many.
    with threadpool_limits(limits=1, user_api="blas"):
        uniform = search.mean_information()
        given = given_information(pool, rewards, past, prior)
        known = [u * 1e-6 if g is None else g / n for u, g in zip(uniform, given, strict=True)]
        covariances = _covariances(search, criterion, thetas, beta, covariance)
        start = [u + b for u, b in zip(uniform, known, strict=True)]
        basis, spectrum = _whitened(np.mean(start, axis=0))
        if not basis.shape[1] or not sum(np.trace(basis.T @ c @ basis) for c in covariances) > 0:
            # The policy feels nothing that pairs can tell: any of them will do.
            pairs = _any_pair(pool, candidates)
            seconds = time.perf_counter() - started
            return OptimalDesign(pairs, np.ones(1), 0.0, 1.0, 0, seconds)
        whiten = [_positive(basis.T @ m @ basis) for m in start]
        made = _criterion(criterion, search, basis, spectrum, covariances, whiten)
        solver = _Solver(search, made, basis, [_positive(basis.T @ b @ basis) for b in known])
        solver.run(whiten, tol, max_sweeps)
    return OptimalDesign(
        pairs=solver.pairs,
        weights=solver.weights,
        value=float(np.exp(solver.log_value)),
        efficiency_bound=min(1.0, float(np.exp(solver.log_least - solver.log_bound))),
        iterations=solver.sweeps,
        seconds=time.perf_counter() - started,
    )


def given_information(
    pool: Pool,
    rewards: Sequence[Array | None],
    past: Pairs | None,
    prior: ArrayLike | None,
) -> list[Array | None]:
    """What is known before any new label at each of the rewards, ``(d, d)``; None for nothing."""
    if prior is None and past is None:
        return [None] * len(rewards)
    before = definite("prior", 0.0 if prior is None else prior, pool.dim, number=True)
    if past is None:
        return [before] * len(rewards)
    past = given_pairs(pool, past, "past")
    return [before + label_information(pool, past, rewards=r) for r in rewards]


def definite(name: str, value: ArrayLike, dim: int, *, number: bool = False) -> Array:
    """The argument as a symmetric positive semidefinite matrix, or a clear error.

    A number λ stands for λ I where that is allowed.
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
    size = 1e-6 * float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > size or eigh(matrix, eigvals_only=True)[0] < -dim * size:
        raise InvalidParameter(f"{name} must be symmetric and positive semidefinite.")
    return matrix


class _Solver:
    """The support, its weights, and what is proven of them.

    Attributes:
        pairs: the support, ``(s, 3)``.
        weights: ``(s,)``.
        log_value: log of the criterion at the weights.
        log_bound: log of an upper bound of it.
        log_least: log of a proven lower bound of the least value.
        sweeps: searches so far.
    """

    def __init__(
        self, search: Candidates, criterion: Criterion, basis: Array, known: Sequence[Array]
    ) -> None:
        self.search, self.criterion, self.basis, self.known = search, criterion, basis, known
        self.log_value = self.log_bound = np.inf
        self.log_least = -np.inf
        self.sweeps = 0
        self.pairs = np.empty((0, 3), dtype=np.int64)
        self.weights = np.empty(0)
        self.atoms = [np.empty((0, basis.shape[1])) for _ in known]

    def run(self, start: Sequence[Array], tol: float, max_sweeps: int) -> None:
        """From the uniform design's information to a proven efficiency of 1 − tol."""
        found = self._search(self.criterion.smooth(start)[1], tol)[0]
        # All that are sensitive, so that the first support spans what can be told.
        self._admit(found.pairs)
        pairs, weights = self.pairs, self.weights
        gap = 1.0
        for self.sweeps in range(1, max_sweeps + 1):
            self._weigh(max(0.3 * gap, tol / 4))
            informations = self._informations(self.weights)
            log_smooth, effects = self.criterion.smooth(informations)
            found, bound = self._search(effects, tol)
            self.log_least = max(self.log_least, log_smooth - np.log(bound))
            log_value, log_bound = self.criterion.exact(informations)
            if log_value < self.log_value:
                self.log_value, self.log_bound = log_value, log_bound
                pairs, weights = self.pairs, self.weights
            gap = 1 - np.exp(self.log_least - self.log_bound)
            if gap <= tol:
                break
            self.criterion.tighten(informations)
            sensitive = found.values + self._base(effects) > 1
            self._admit(found.pairs[sensitive])
        self.pairs, self.weights = pairs, weights

    def _search(self, effects: Sequence[Array], tol: float) -> tuple[Any, float]:
        """The most sensitive pairs, and an upper bound of max_p Σ_k tr(E_k A_kp)."""
        factors = [self.basis @ factor(effect) for effect in effects]
        found = self.search.largest(factors, _NEW * self.basis.shape[1], slack=tol / 2)
        return found, found.bound + self._base(effects)

    def _base(self, effects: Sequence[Array]) -> float:
        """Σ_k tr(E_k B_k), which every pair has in common."""
        return sum(float(np.sum(e * b)) for e, b in zip(effects, self.known, strict=True))

    def _admit(self, found: Pairs) -> None:
        """Take new pairs into the support."""
        pool = self.search.pool
        shape = (pool.n_prompts, pool.n_completions, pool.n_completions)
        known = np.ravel_multi_index(tuple(self.pairs.T), shape)
        new = found[~np.isin(np.ravel_multi_index(tuple(found.T), shape), known)]
        if not len(new):
            return
        atoms = [atom @ self.basis for atom in self.search.atoms(new)]
        self.atoms = [np.concatenate(both) for both in zip(self.atoms, atoms, strict=True)]
        share = _SHARE if len(self.pairs) else 1.0
        added = np.full(len(new), share / len(new))
        self.weights = np.concatenate([(1 - share) * self.weights, added])
        self.pairs = np.concatenate([self.pairs, new])

    def _informations(self, weights: Array) -> list[Array]:
        return [
            b + (z * weights[:, None]).T @ z for b, z in zip(self.known, self.atoms, strict=True)
        ]

    def _weigh(self, gap: float) -> None:
        """Optimal weights on the support, to a relative gap; what gets no weight leaves it.

        A bounded quasi-Newton method on log f(x / Σx), x ≥ 0: it comes to rest after tens of steps
        where multiplicative ones take thousands, and sets weights to zero.
        """
        size = len(self.weights)
        worst = np.inf

        def objective(x: Array) -> tuple[float, Array]:
            nonlocal worst
            # A step may set all to zero, where B alone is left.
            total = max(float(x.sum()), 1e-9 * size)
            log_value, effects = self.criterion.smooth(self._informations(x / total))
            sensitivity = np.full(size, self._base(effects))
            for z, effect in zip(self.atoms, effects, strict=True):
                sensitivity += np.einsum("pd,pd->p", z @ effect, z)
            worst = float(sensitivity.max())
            # Scaled by the size, so that x and the gradient are of order one.
            return size * log_value, size / total * (x @ sensitivity / total - sensitivity)

        def done(_: Array) -> None:
            if worst <= 1 + gap:
                raise StopIteration

        fit = minimize(
            objective,
            size * self.weights,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * size,
            callback=done,
            options={"maxfun": 300, "maxiter": 300, "gtol": 1e-10, "ftol": 1e-15},
        )
        kept = fit.x > 0
        self.pairs, self.weights = self.pairs[kept], fit.x[kept] / fit.x[kept].sum()
        self.atoms = [z[kept] for z in self.atoms]


def _criterion(
    name: str,
    search: Candidates,
    basis: Array,
    spectrum: Array,
    covariances: Sequence[Array],
    start: Sequence[Array],
) -> Criterion:
    """The criterion in the whitened basis T = V Λ^{−½}, in which M is Tᵀ M T."""
    if name == "d":
        return Determinant(float(np.log(spectrum).sum()))
    if name == "e":
        return Eigenvalue(np.diag(spectrum**-0.5))
    if name == "g":
        # Its pairs count alike, whatever their labels tell.
        return WorstVariance(search.at_zero(), basis, start[0])
    roots = [factor(basis.T @ c @ basis) for c in covariances]
    return Trace(roots, worst=name == "minimax-i")


def _covariances(
    search: Candidates,
    criterion: str,
    thetas: Sequence[Array | None],
    beta: float,
    covariance: ArrayLike | None,
) -> list[Array]:
    """C_k for each θ, ``(d, d)``: which directions count."""
    pool = search.pool
    if criterion == "g":
        return search.at_zero().mean_information()
    if not criterion.endswith("i"):
        return [np.eye(pool.dim)]
    if covariance is None:
        return [policy_covariance(pool, theta, beta) for theta in thetas]
    return [definite("covariance", covariance, pool.dim)] * len(thetas)


def _whitened(information: Array) -> tuple[Array, Array]:
    """T with Tᵀ W T = I on what W spans, ``(d, r)``, and W's eigenvalues there, ``(r,)``."""
    values, vectors = eigh(information)
    # Features are float32: differences below 10⁻⁷ of the largest are its rounding.
    kept = values > 1e-14 * max(values[-1], 0.0)
    return vectors[:, kept] / np.sqrt(values[kept]), values[kept]


def _positive(information: Array) -> Array:
    """What rounding left of a semidefinite matrix in the whitened basis, made definite.

    Labels may saturate at one of several θ, and past ones leave directions out.
    """
    values, vectors = eigh(information)
    positive: Array = (vectors * np.maximum(values, 1e-12)) @ vectors.T
    return positive


def _any_pair(pool: Pool, candidates: Pairs | None) -> Pairs:
    if candidates is not None:
        return np.asarray(candidates[:1], dtype=np.int64)
    first, second = pool.valid_first[0, :2]
    return np.array([[0, first, second]], dtype=np.int64)


def checked_thetas(pool: Pool, criterion: str, theta: ArrayLike | None) -> list[Array | None]:
    """θ for each of the criterion's cases, or a clear error."""
    if criterion not in CRITERIA:
        raise unknown(InvalidParameter, "criterion", criterion, CRITERIA)
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
    """Raise unless it is one."""
    if not 0 < tol < 1:
        raise InvalidParameter(f"tol must lie between 0 and 1, got {tol}.")


def _check(tol: float, max_sweeps: int, n: float, beta: float) -> None:
    check_tolerance(tol)
    if max_sweeps < 1:
        raise InvalidParameter(f"max_sweeps must be 1 or more, got {max_sweeps}.")
    if not (np.isfinite(n) and n > 0):
        raise InvalidParameter(f"n must be a positive number of labels, got {n}.")
    if not (np.isfinite(beta) and beta > 0):
        raise InvalidParameter(f"beta must be positive and finite, got {beta}.")
