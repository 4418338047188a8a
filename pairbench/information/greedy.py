"""Greedy exact designs: n pairs, each with the largest gain given the ones before it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from pairbench._util.checks import check_at_least
from pairbench._util.numerics import logistic_slope
from pairbench.errors import InvalidParameter, unknown_name_error
from pairbench.information.candidates import AllPairs, ListedPairs, factor, make_candidates
from pairbench.information.fisher import policy_covariance
from pairbench.information.laplacian import pair_forms
from pairbench.information.optimal import check_semidefinite, check_thetas, prior_information
from pairbench.information.rank_one import RankOne
from pairbench.pool.pool import Pairs, Pool

Array = NDArray[np.float64]

_ACTIVE_PAIRS = 4096
"""The number of pairs whose gains are updated between two searches."""

_MAX_UPDATE = 1e3
"""ω zᵀA⁻¹z of a choice beyond which a rank-one update loses too many digits to cancellation."""

_TILE_BYTES = 2**19
"""Bytes of a tile's gains, chosen so that several of them fit into the cache of a core."""


def greedy_pairs(
    pool: Pool,
    n: int,
    criterion: str = "d",
    theta: ArrayLike | None = None,
    *,
    past: Pairs | None = None,
    prior: ArrayLike | None = None,
    beta: float = 1.0,
    covariance: ArrayLike | None = None,
    candidates: Pairs | None = None,
    repeats: bool = True,
    memory: int = 2**28,
    threads: int | None = None,
    device: str | None = None,
) -> Pairs:
    """Choose n pairs, each the one that improves the criterion of A most; exact.

    A starts as prior + past, and each choice adds ω z zᵀ to it:

    - ``d``: log det A rises by log(1 + ω zᵀA⁻¹z);
    - ``i``: tr(C A⁻¹) falls by ω zᵀGz / (1 + ω zᵀA⁻¹z), G = A⁻¹CA⁻¹; ``a`` is this with C = I.

    For ``d``, only the best few thousand pairs are updated between two searches of all pairs, which
    takes little memory and is exact. For the trace criteria the gains of all pairs are updated.

    Args:
        pool: the pool, whose pairs are all candidates unless ``candidates`` are given.
        n: the number of pairs.
        criterion: ``"d"``, ``"i"`` or ``"a"``.
        theta: θ at which ω and C are taken, ``(d,)``; 0 if not given.
        past: pairs that are labelled already, ``(l, 3)``.
        prior: information from other sources, a number λ for λ I or ``(d, d)``; together with
            ``past`` positive definite. If neither is given, a millionth of the uniform design's
            information, plus a billionth of the trace of that times I.
        beta: β, reward units per nat; it affects only C.
        covariance: C, ``(d, d)``; :func:`policy_covariance` of the pool at θ if not given.
        candidates: pairs to choose from, ``(c, 3)``.
        repeats: whether a pair may be chosen more than once, or although it is in ``past``.
        memory: bytes for the search's working memory; the gains for the trace criteria take another
            16 bytes for each ordered pair of completions of a prompt.
        threads: the number of threads of the search; the cores, or OMP_NUM_THREADS where it is set,
            if not given.
        device: a torch device for the search; numpy if not given.

    Returns:
        ``(n, 3)``, in the order of the choices.

    Raises:
        InvalidParameter: If the criterion is unknown, a shape is wrong, the information is singular
            without new labels, or there are fewer than n pairs and none may be repeated.
    """
    if criterion not in ("d", "i", "a"):
        raise unknown_name_error(InvalidParameter, "greedy criterion", criterion, ("d", "i", "a"))
    check_at_least(0, n=n)
    (checked_theta,) = check_thetas(pool, criterion, theta)
    rewards = None if checked_theta is None else pool.project(checked_theta)
    search = make_candidates(
        pool, [rewards], candidates, memory=memory, threads=threads, device=device
    )
    with threadpool_limits(limits=1, user_api="blas"):
        (start,) = prior_information(pool, [rewards], past, prior)
        if start is None:
            start = 1e-6 * search.mean_information()[0]
            start += np.eye(pool.dim) * (1e-9 * np.trace(start) or 1.0)
        c: ArrayLike | None = None if criterion == "d" else np.eye(pool.dim)
        if criterion == "i":
            c = policy_covariance(pool, checked_theta, beta) if covariance is None else covariance
        trace_matrix = None if c is None else check_semidefinite("covariance", c, pool.dim)
        excluded = np.empty((0, 3), dtype=np.int64) if past is None or repeats else past
        if isinstance(search, ListedPairs):
            return _choose_from_list(search, n, start, trace_matrix, repeats, excluded)
        if trace_matrix is None:
            return _DeterminantGreedy(search, start).choose(n, repeats, excluded)
        return _TraceGreedy(search, start, trace_matrix).choose(n, repeats, excluded)


def _choose_from_list(
    listed: ListedPairs,
    n: int,
    information: Array,
    covariance: Array | None,
    repeats: bool,
    excluded: Pairs,
) -> Pairs:
    """Choose greedily from a list, by the gains of all its pairs.

    Args:
        listed: the candidates.
        n: the number of pairs.
        information: A at the start, ``(d, d)``.
        covariance: C of a trace criterion, ``(d, d)``; None for log det A.
        repeats: whether a pair may be chosen more than once.
        excluded: pairs that may not be chosen, ``(l, 3)``.
    """
    z = listed.atoms(listed.pairs)[0]
    state = RankOne(z, _inverse(information), covariance)
    blocked = _pair_set(excluded)
    free = np.array([tuple(row) not in blocked for row in listed.pairs.tolist()], dtype=np.bool_)
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        if not free.any():
            raise _exhausted(n - k)
        chosen[k] = p = int(np.where(free, state.gains(), -np.inf).argmax())
        information = information + np.outer(z[p], z[p])
        if state.leverage[p] > _MAX_UPDATE:
            state = RankOne(z, _inverse(information), covariance)
        else:
            state.take(p)
        free[p] = repeats
    return listed.pairs[chosen]


class _DeterminantGreedy:
    """Greedy choice for log det A, by the gains of an active set from each search.

    zᵀA⁻¹z only falls as A grows, so no pair outside the active set can be the best while the gain
    of an active one exceeds the threshold of the last search.
    """

    def __init__(self, search: AllPairs, information: Array) -> None:
        self.search, self.information = search, information

    def choose(self, n: int, repeats: bool, excluded: Pairs) -> Pairs:
        """Choose n pairs, none of the excluded ones ``(l, 3)``."""
        blocked = _pair_set(excluded)
        chosen: list[NDArray[np.int64]] = []
        while len(chosen) < n:
            chosen += self._choose_by_one_search(n - len(chosen), repeats, blocked)
        return np.array(chosen, dtype=np.int64).reshape(n, 3)

    def _choose_by_one_search(
        self, n: int, repeats: bool, blocked: set[tuple[int, ...]]
    ) -> list[NDArray[np.int64]]:
        """Search all pairs once, and choose up to n as long as each is proven to be the best."""
        inverse = _inverse(self.information)
        count = _ACTIVE_PAIRS + len(blocked)
        result = self.search.find_largest([factor(inverse)], count, exhaustive=True)
        pairs = result.pairs[[tuple(row) not in blocked for row in result.pairs.tolist()]]
        if not len(pairs):
            raise _exhausted(n)
        state = RankOne(self.search.atoms(pairs)[0], inverse, None)
        free = np.ones(len(pairs), dtype=np.bool_)
        chosen: list[NDArray[np.int64]] = []
        while len(chosen) < n:
            gains = np.where(free, state.gains(), -np.inf)
            p = int(gains.argmax())
            # The first choice after a search is always the best, up to rounding.
            if chosen and not (free[p] and gains[p] >= result.threshold):
                break
            chosen.append(pairs[p])
            self.information = self.information + np.outer(state.z[p], state.z[p])
            if not repeats:
                free[p] = False
                blocked.add(tuple(pairs[p].tolist()))
            if state.leverage[p] > _MAX_UPDATE:
                break
            state.take(p)
        return chosen


# Why: docs/decisions/025-greedy-trace-keeps-all-gains.md
class _TraceGreedy:
    """Greedy choice for tr(C A⁻¹), by a table of the gains of all pairs.

    A choice changes A⁻¹ and G by outer products of A⁻¹z and Gz, so that all gains are updated from
    two numbers for each completion: O(N K d + N K²), a fraction of a search. The table takes 16
    bytes for each ordered pair of completions of a prompt.
    """

    def __init__(self, search: AllPairs, information: Array, covariance: Array) -> None:
        n, k = search.pool.valid.shape
        self.search, self.information, self.covariance = search, information, covariance
        step = max(1, _TILE_BYTES // (8 * k * k))
        self.tiles = [slice(a, min(a + step, n)) for a in range(0, n, step)]
        # The gain is ω zᵀGz over 1 + ω zᵀA⁻¹z.
        self.fall, self.divisor = np.empty((n, k, k)), np.empty((n, k, k))
        self.omega = None if search.rewards[0] is None else np.empty((n, k, k))
        self.best = np.empty(n)
        self.blocked: list[list[int]] = []
        self._fill()

    def _fill(self) -> None:
        """Compute the table from A."""
        pool, rewards = self.search.pool, self.search.rewards[0]
        self.inverse = _inverse(self.information)
        self.effect = self.inverse @ self.covariance @ self.inverse
        for tile in self.tiles:
            phi = pool.block(tile).astype(np.float64)
            slope: Array | float = 0.25
            if rewards is not None and self.omega is not None:
                r = rewards[tile]
                slope = self.omega[tile] = logistic_slope(r[:, :, None] - r[:, None, :])
            self.fall[tile] = slope * pair_forms(phi, self.effect)
            self.divisor[tile] = 1 + slope * pair_forms(phi, self.inverse)
            valid = pool.valid[tile]
            # Updates are finite, so that the gain of an improper pair stays −∞.
            self.fall[tile][~(valid[:, :, None] & valid[:, None, :])] = -np.inf
        diagonal = np.arange(pool.n_completions)
        self.fall[:, diagonal, diagonal] = -np.inf
        for x, i, j in self.blocked:
            self.fall[x, i, j] = self.fall[x, j, i] = -np.inf

    def choose(self, n: int, repeats: bool, excluded: Pairs) -> Pairs:
        """Choose n pairs, none of the excluded ones ``(l, 3)``."""
        for row in excluded.tolist():
            self._block(row)
        chosen = np.empty((n, 3), dtype=np.int64)
        with ThreadPoolExecutor(self.search.threads) as executor:
            list(executor.map(self._update_best, self.tiles))
            for k in range(n):
                x = int(self.best.argmax())
                if self.best[x] == -np.inf:
                    raise _exhausted(n - k)
                gains = self.fall[x] / self.divisor[x]
                # Entries [i, j] and [j, i] are one pair, and rounding decides which is larger.
                chosen[k] = x, *sorted(divmod(int(gains.argmax()), len(gains)))
                if not repeats:
                    self._block(chosen[k].tolist())
                change = self._add(chosen[k : k + 1])
                if change is None:
                    self._fill()
                    list(executor.map(self._update_best, self.tiles))
                else:
                    list(executor.map(partial(self._update, change), self.tiles))
        return chosen

    def _block(self, row: list[int]) -> None:
        """Exclude a pair from all further choices."""
        self.blocked.append(row)
        x, i, j = row
        self.fall[x, i, j] = self.fall[x, j, i] = -np.inf

    def _add(self, pair: Pairs) -> Array | None:
        """Add a pair ``(1, 3)`` to A, and update A⁻¹ and G.

        Returns:
            Two numbers for each completion, ``(N, K, 2)``, that determine the change of the table;
            None where the change is so large that the table must be computed afresh.
        """
        z = self.search.atoms(pair)[0][0]
        self.information = self.information + np.outer(z, z)
        if z @ self.inverse @ z > _MAX_UPDATE:
            return None
        inverse_z, effect_z = self.inverse @ z, self.effect @ z
        share, fall = 1 / (1 + z @ inverse_z), z @ effect_z
        cross = np.outer(inverse_z, effect_z)
        square = np.outer(inverse_z, inverse_z)
        self.inverse = self.inverse - share * square
        self.effect = self.effect - share * (cross + cross.T - share * fall * square)
        # With κ the share, the forms change by −κu² and −κu(2t − κ(zᵀGz)u), where u and t are
        # differences, between completions, of φᵀA⁻¹z and φᵀGz.
        root = np.sqrt(share if self.omega is not None else share / 4)
        return self.search.pool.project(
            np.stack([root * inverse_z, root * (2 * effect_z - share * fall * inverse_z)], axis=1)
        )

    def _update(self, change: Array, tile: slice) -> None:
        """Update one tile of the table by what :meth:`_add` returned."""
        u = change[tile, :, None, 0] - change[tile, None, :, 0]
        t = change[tile, :, None, 1] - change[tile, None, :, 1]
        t *= u
        u *= u
        if self.omega is not None:
            t *= self.omega[tile]
            u *= self.omega[tile]
        self.fall[tile] -= t
        self.divisor[tile] -= u
        self._update_best(tile, out=u)

    def _update_best(self, tile: slice, out: Array | None = None) -> None:
        """Compute the largest gain of each prompt of one tile; ``out`` is working memory."""
        gains = np.divide(self.fall[tile], self.divisor[tile], out=out)
        self.best[tile] = gains.reshape(len(gains), -1).max(axis=1)


def _inverse(information: Array) -> Array:
    """Invert a matrix, or raise InvalidParameter unless it is positive definite."""
    try:
        np.linalg.cholesky(information)
    except np.linalg.LinAlgError:
        raise InvalidParameter(
            "prior and past together must be positive definite, so that one label's gain is "
            "finite; add a prior such as the ridge of the training."
        ) from None
    inverse = np.linalg.inv(information)
    symmetric: Array = (inverse + inverse.T) / 2
    return symmetric


def _exhausted(n: int) -> InvalidParameter:
    """Build the error for n pairs too many."""
    return InvalidParameter(
        f"{n} more pairs are to be chosen, but every candidate is chosen already. Ask for fewer, "
        "or allow repeats."
    )


def _pair_set(pairs: Pairs) -> set[tuple[int, ...]]:
    """Return the set of pairs as tuples with i < j."""
    ordered = np.concatenate([pairs[:, :1], np.sort(pairs[:, 1:], axis=1)], axis=1)
    return {tuple(row) for row in ordered.tolist()}
