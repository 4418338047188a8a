"""Greedy exact designs: n pairs, each the one that helps most after those before it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from pairbench.errors import InvalidParameter, unknown
from pairbench.information.candidates import AllPairs, ListedPairs, factor
from pairbench.information.fisher import policy_covariance
from pairbench.information.laplacian import pair_forms
from pairbench.information.optimal import checked_thetas, definite, given_information
from pairbench.information.rank_one import RankOne
from pairbench.pool import Pairs, Pool
from pairbench.training.log_linear import logistic_slope

Array = NDArray[np.float64]

_POOL = 4096  # pairs that are kept up to date between two searches
_LOSS = 1e3  # ω zᵀA⁻¹z of a choice beyond which rank-one updates cancel too many digits
_TILE = 2**19  # bytes of a tile's gains: several of them fit into a core's cache


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
    """n pairs, each the one that improves the criterion of A most; exact.

    A begins as prior + past and grows by ω z zᵀ with each choice:

    - ``d``: log det A rises by log(1 + ω zᵀA⁻¹z);
    - ``i``: tr(C A⁻¹) falls by ω zᵀGz / (1 + ω zᵀA⁻¹z), G = A⁻¹CA⁻¹; ``a`` is the same with C = I.

    For ``d`` only the few thousand best pairs are kept up to date between two searches of all
    pairs, which takes little memory and loses nothing. For the trace criteria the gains of all
    pairs are kept.

    Args:
        pool: the candidates are all its pairs, unless ``candidates`` are given.
        n: how many pairs.
        criterion: ``"d"``, ``"i"`` or ``"a"``.
        theta: θ at which ω and C are taken, ``(d,)``; 0 if not given.
        past: pairs that have labels already, ``(l, 3)``.
        prior: information that is there besides, a number λ for λ I or ``(d, d)``; together with
            ``past`` positive definite. If neither is given, a millionth of the uniform design's,
            and a billionth of that one's trace in all directions.
        beta: β, reward units per nat; it acts on C alone.
        covariance: C, ``(d, d)``; :func:`policy_covariance` of the pool at θ if not given.
        candidates: pairs to choose from, ``(c, 3)``.
        repeats: whether a pair may be chosen more than once, or although it is in ``past``.
        memory: bytes for the search's working memory; what is kept for the trace criteria comes on
            top of it, 16 bytes for each two completions of a prompt.
        threads: of the search; the cores, or OMP_NUM_THREADS where it is set, if not given.
        device: a torch device for the search; numpy if not given.

    Returns:
        ``(n, 3)``, in the order of the choices.

    Raises:
        InvalidParameter: If the criterion is unknown, a shape is wrong, the information is singular
            without new labels, or there are fewer than n pairs and none may be repeated.
    """
    if criterion not in ("d", "i", "a"):
        raise unknown(InvalidParameter, "greedy criterion", criterion, ("d", "i", "a"))
    if n < 0:
        raise InvalidParameter(f"n must be a number of pairs, got {n}.")
    (at,) = checked_thetas(pool, criterion, theta)
    rewards = None if at is None else pool.project(at)
    search: AllPairs | ListedPairs
    if candidates is None:
        search = AllPairs(pool, [rewards], memory=memory, threads=threads, device=device)
    else:
        search = ListedPairs(pool, [rewards], candidates)
    with threadpool_limits(limits=1, user_api="blas"):
        (known,) = given_information(pool, [rewards], past, prior)
        if known is None:
            known = 1e-6 * search.mean_information()[0]
            known += np.eye(pool.dim) * (1e-9 * np.trace(known) or 1.0)
        c: ArrayLike | None = None if criterion == "d" else np.eye(pool.dim)
        if criterion == "i":
            c = policy_covariance(pool, at, beta) if covariance is None else covariance
        traced = None if c is None else definite("covariance", c, pool.dim)
        taken = np.empty((0, 3), dtype=np.int64) if past is None or repeats else past
        if isinstance(search, ListedPairs):
            return _chosen_from_list(search, n, known, traced, repeats, taken)
        kind = _Lazy(search, known) if traced is None else _Table(search, known, traced)
        return kind.run(n, repeats, taken)


def _chosen_from_list(
    listed: ListedPairs,
    n: int,
    information: Array,
    covariance: Array | None,
    repeats: bool,
    taken: Pairs,
) -> Pairs:
    """Greedy choice where the gains of all candidates can be kept."""
    z = listed.atoms(listed.pairs)[0]
    state = RankOne(z, _inverse(information), covariance)
    blocked = {tuple(row) for row in _keys(taken).tolist()}
    free = np.array([tuple(row) not in blocked for row in listed.pairs.tolist()], dtype=np.bool_)
    chosen = np.empty(n, dtype=np.int64)
    for k in range(n):
        if not free.any():
            raise _exhausted(n - k)
        chosen[k] = p = int(np.where(free, state.gains(), -np.inf).argmax())
        information = information + np.outer(z[p], z[p])
        if state.leverage[p] > _LOSS:
            state = RankOne(z, _inverse(information), covariance)
        else:
            state.take(p)
        free[p] = repeats
    return listed.pairs[chosen]


class _Lazy:
    """log det A: only the best few thousand pairs are kept between two searches.

    zᵀA⁻¹z only falls as A grows, so nothing that a search left out can be the best while one of
    those that were kept exceeds it.
    """

    def __init__(self, search: AllPairs, information: Array) -> None:
        self.search, self.information = search, information

    def run(self, n: int, repeats: bool, taken: Pairs) -> Pairs:
        """Choose n."""
        blocked = {tuple(row) for row in _keys(taken).tolist()}
        chosen: list[NDArray[np.int64]] = []
        while len(chosen) < n:
            chosen += self._choose(n - len(chosen), repeats, blocked)
        return np.array(chosen, dtype=np.int64).reshape(n, 3)

    def _choose(
        self, n: int, repeats: bool, blocked: set[tuple[int, ...]]
    ) -> list[NDArray[np.int64]]:
        """Search all pairs once, and choose up to n of the best while that is known to be right."""
        inverse = _inverse(self.information)
        found = self.search.largest([factor(inverse)], _POOL + len(blocked), every=True)
        pairs = found.pairs[[tuple(row) not in blocked for row in found.pairs.tolist()]]
        if not len(pairs):
            raise _exhausted(n)
        state = RankOne(self.search.atoms(pairs)[0], inverse, None)
        free = np.ones(len(pairs), dtype=np.bool_)
        chosen: list[NDArray[np.int64]] = []
        while len(chosen) < n:
            gains = np.where(free, state.gains(), -np.inf)
            p = int(gains.argmax())
            # The first choice after a search is right in any case, but for rounding.
            if chosen and not (free[p] and gains[p] >= found.threshold):
                break
            chosen.append(pairs[p])
            self.information = self.information + np.outer(state.z[p], state.z[p])
            if not repeats:
                free[p] = False
                blocked.add(tuple(pairs[p].tolist()))
            if state.leverage[p] > _LOSS:
                break
            state.take(p)
        return chosen


class _Table:
    """tr(C A⁻¹): the gains of all pairs are kept, 16 bytes for each two completions of a prompt.

    A choice changes A⁻¹ and G by outer products of A⁻¹z and Gz, so that all gains follow from two
    numbers for each completion: O(N K d + N K²), a fraction of a search.
    """

    def __init__(self, search: AllPairs, information: Array, covariance: Array) -> None:
        n, k = search.pool.valid.shape
        self.search, self.information, self.covariance = search, information, covariance
        step = max(1, _TILE // (8 * k * k))
        self.tiles = [slice(a, min(a + step, n)) for a in range(0, n, step)]
        # ω zᵀGz and 1 + ω zᵀA⁻¹z.
        self.fall, self.divisor = np.empty((n, k, k)), np.empty((n, k, k))
        self.omega = None if search.rewards[0] is None else np.empty((n, k, k))
        self.best = np.empty(n)
        self.blocked: list[list[int]] = []
        self._fill()

    def _fill(self) -> None:
        """Compute all gains from A."""
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
            there = pool.valid[tile]
            # What is no pair never gains anything: the changes to come are finite.
            self.fall[tile][~(there[:, :, None] & there[:, None, :])] = -np.inf
        diagonal = np.arange(pool.n_completions)
        self.fall[:, diagonal, diagonal] = -np.inf
        for x, i, j in self.blocked:
            self.fall[x, i, j] = self.fall[x, j, i] = -np.inf

    def run(self, n: int, repeats: bool, taken: Pairs) -> Pairs:
        """Choose n."""
        for row in taken.tolist():
            self._block(row)
        chosen = np.empty((n, 3), dtype=np.int64)
        with ThreadPoolExecutor(self.search.threads) as executor:
            list(executor.map(self._rank, self.tiles))
            for k in range(n):
                x = int(self.best.argmax())
                if self.best[x] == -np.inf:
                    raise _exhausted(n - k)
                gains = self.fall[x] / self.divisor[x]
                # [i, j] and [j, i] are one pair, and rounding decides which of them is larger.
                chosen[k] = x, *sorted(divmod(int(gains.argmax()), len(gains)))
                if not repeats:
                    self._block(chosen[k].tolist())
                change = self._take(chosen[k : k + 1])
                if change is None:
                    self._fill()
                    list(executor.map(self._rank, self.tiles))
                else:
                    list(executor.map(partial(self._update, change), self.tiles))
        return chosen

    def _block(self, row: list[int]) -> None:
        self.blocked.append(row)
        x, i, j = row
        self.fall[x, i, j] = self.fall[x, j, i] = -np.inf

    def _take(self, pair: Pairs) -> Array | None:
        """Count a pair; for each completion two numbers from which all gains change.

        None where the change is so large that the gains must be computed afresh.
        """
        z = self.search.atoms(pair)[0][0]
        self.information = self.information + np.outer(z, z)
        if z @ self.inverse @ z > _LOSS:
            return None
        along, felt = self.inverse @ z, self.effect @ z
        share, own = 1 / (1 + z @ along), z @ felt
        both = np.outer(along, felt)
        self.inverse = self.inverse - share * np.outer(along, along)
        self.effect = self.effect - share * (both + both.T - share * own * np.outer(along, along))
        # The forms change by −κu² and −κu(2t − κ(zᵀGz)u), u and t being differences of these.
        root = np.sqrt(share if self.omega is not None else share / 4)
        return self.search.pool.project(
            np.stack([root * along, root * (2 * felt - share * own * along)], axis=1)
        )

    def _update(self, change: Array, tile: slice) -> None:
        u = change[tile, :, None, 0] - change[tile, None, :, 0]
        t = change[tile, :, None, 1] - change[tile, None, :, 1]
        t *= u
        u *= u
        if self.omega is not None:
            t *= self.omega[tile]
            u *= self.omega[tile]
        self.fall[tile] -= t
        self.divisor[tile] -= u
        self._rank(tile, out=u)

    def _rank(self, tile: slice, out: Array | None = None) -> None:
        gains = np.divide(self.fall[tile], self.divisor[tile], out=out)
        self.best[tile] = gains.reshape(len(gains), -1).max(axis=1)


def _inverse(information: Array) -> Array:
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
    return InvalidParameter(
        f"{n} more pairs are to be chosen, but every candidate is chosen already. Ask for fewer, "
        "or allow repeats."
    )


def _keys(pairs: Pairs) -> Pairs:
    """The pairs with i < j."""
    return np.concatenate([pairs[:, :1], np.sort(pairs[:, 1:], axis=1)], axis=1)
