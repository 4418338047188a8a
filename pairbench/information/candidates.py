"""The candidate pairs of a design, searched without being formed."""

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from pairbench.errors import InvalidParameter
from pairbench.information.fisher import label_information, pair_slope, uniform_information
from pairbench.pool import Pairs, Pool, what_is_wrong

Array = NDArray[np.float64]

_TILE = 2**22  # bytes of a tile's pairs in float32: what a core's cache holds


def factor(effect: Array) -> Array:
    """L with L Lᵀ = A for a positive semidefinite A, ``(r, rank)``."""
    values, vectors = eigh((effect + effect.T) / 2)
    kept = values > 1e-15 * max(values[-1], 0.0)
    found: Array = vectors[:, kept] * np.sqrt(values[kept])
    return found


class Found(NamedTuple):
    """What a search found.

    Attributes:
        pairs: ``(n, 3)``, i < j, those of largest value first.
        values: their values in float64, ``(n,)``.
        bound: no candidate has a larger value than this, rounding errors included.
        threshold: no candidate outside ``pairs`` has a larger value than this, likewise; no less
            than ``bound`` where not ``every`` one was asked for.
    """

    pairs: Pairs
    values: Array
    bound: float
    threshold: float


class Candidates(ABC):
    """Pairs to choose from, each with one or more atoms ω_k z zᵀ.

    There is an atom for each k of ``rewards``: the information of a label at those rewards.

    Attributes:
        pool: the pool that the pairs are of.
        rewards: for each k the rewards ``(N, K)`` that ω_k is taken at, None for 0 (ω = ¼).
    """

    def __init__(self, pool: Pool, rewards: Sequence[Array | None]) -> None:
        self.pool = pool
        # The reward of a completion that is not there is as good as any, and widens no range.
        there = pool.valid_first[:, :1]
        self.rewards = tuple(
            r if r is None else np.where(pool.valid, r, np.take_along_axis(r, there, axis=1))
            for r in rewards
        )

    def atoms(self, pairs: Pairs) -> list[Array]:
        """√ω_k z for each k, ``(n, d)``."""
        z = self.pool.differences(pairs)
        return [z * np.sqrt(pair_slope(pairs, r))[:, None] for r in self.rewards]

    def values(self, pairs: Pairs, factors: Sequence[Array]) -> Array:
        """What :meth:`largest` compares, of some pairs in float64, ``(n,)``."""
        total = np.zeros(len(pairs))
        for atom, root in zip(self.atoms(pairs), factors, strict=True):
            total += np.square(atom @ root).sum(axis=1)
        return total

    @abstractmethod
    def at_zero(self) -> "Candidates":
        """The same pairs with one atom, ¼ z zᵀ."""

    @abstractmethod
    def mean_information(self) -> list[Array]:
        """The information of a pair drawn uniformly, for each k, ``(d, d)``."""

    @abstractmethod
    def largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        every: bool = False,
    ) -> Found:
        """The pairs of largest Σ_k ω_k ‖L_kᵀ z‖².

        Args:
            factors: L_k, ``(d, r_k)``.
            count: about how many.
            slack: by how much, of the largest value, ``bound`` may exceed it.
            every: find all pairs above ``threshold``; otherwise only the best of each completion,
                because the next best of one completion are often near copies.
        """


class ListedPairs(Candidates):
    """Pairs given one by one; the same pair counts once, whichever way round it is given."""

    def __init__(self, pool: Pool, rewards: Sequence[Array | None], pairs: Pairs) -> None:
        super().__init__(pool, rewards)
        pairs = given_pairs(pool, pairs, "candidates")
        if not len(pairs):
            raise InvalidParameter("candidates must be at least one pair, got none.")
        self.pairs = np.unique(np.column_stack([pairs[:, 0], np.sort(pairs[:, 1:])]), axis=0)

    def at_zero(self) -> "ListedPairs":
        """The same list."""
        return ListedPairs(self.pool, [None], self.pairs)

    def mean_information(self) -> list[Array]:
        """The sum over the list."""
        share = np.full(len(self.pairs), 1 / len(self.pairs))
        return [label_information(self.pool, self.pairs, share, rewards=r) for r in self.rewards]

    def largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        every: bool = False,
    ) -> Found:
        """See :meth:`Candidates.largest`."""
        step = 2**16
        parts = [self.pairs[a : a + step] for a in range(0, len(self.pairs), step)]
        values = np.concatenate([self.values(part, factors) for part in parts])
        order = np.argsort(-values, kind="stable")
        rest = float(values[order[count]]) if count < len(order) else -np.inf
        top = order[:count]
        return Found(self.pairs[top], values[top], float(values[order[0]]), rest)


class AllPairs(Candidates):
    """All pairs of a pool.

    For g_i = L_kᵀ φ_i, ‖g_i − g_j‖² comes from the Gram matrix of each prompt's completions: about
    K/2 times less work than from the differences, and no memory for them. The search runs tile by
    tile, in float32 where its rounding errors are proven to be small enough, on several threads,
    or in torch on a device. What it finds does not depend on the number of threads.
    """

    def __init__(
        self,
        pool: Pool,
        rewards: Sequence[Array | None],
        *,
        memory: int = 2**28,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """Prepare the search.

        Args:
            pool: the pool.
            rewards: see :class:`Candidates`.
            memory: bytes that all threads together may take for their tiles.
            threads: how many; the cores, or OMP_NUM_THREADS where that is set, if not given.
            device: a torch device, such as ``"cuda"``; numpy if not given.
        """
        super().__init__(pool, rewards)
        if threads is not None and threads < 1:
            raise InvalidParameter(f"threads must be 1 or more, got {threads}.")
        if device is not None:
            check_device(device)
        self.threads = 1 if device else threads or usual_threads()
        # A tile's features and a few arrays of its pairs are counted in float64, and taken thrice.
        share = memory // (3 * self.threads)
        self.tiles = list(pool.tiles(min(share, 2**26 if device else 4 * _TILE)))
        self.device, self.memory = device, memory
        mapped = isinstance(pool.features, np.memmap)
        self._keeps = not mapped and (device is not None or pool.features.nbytes <= memory)
        self._kept: dict[int, Any] = {}
        self._radii: dict[int, float] = {}

    def at_zero(self) -> "AllPairs":
        """The same pool."""
        return AllPairs(
            self.pool, [None], memory=self.memory, threads=self.threads, device=self.device
        )

    def mean_information(self) -> list[Array]:
        """From each prompt's Laplacian."""
        return [uniform_information(self.pool, rewards=r) for r in self.rewards]

    def largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        every: bool = False,
    ) -> Found:
        """See :meth:`Candidates.largest`."""
        found, error = self._search(np.float32, factors, count, every)
        # Numbers out of float32's range make the error infinite or NaN.
        if not error < slack * found.bound:
            found, _ = self._search(np.float64, factors, count, every)
        return found

    def _search(
        self, dtype: type, factors: Sequence[Array], count: int, every: bool
    ) -> tuple[Found, float]:
        """What :meth:`largest` finds in this precision, and by how much its bound may exceed."""
        running, shared = _Running(count), _Shared(self.threads + 1)
        # ω ‖g_i − g_j‖² = ½ ‖g_i‖² + ½ ‖g_j‖² − g_iᵀg_j, but for what of ω differs between pairs.
        scaled = [
            root * np.sqrt(0.5 if r is None else 2.0)
            for root, r in zip(factors, self.rewards, strict=True)
        ]

        def one(tile: tuple[slice, slice]) -> _Tile:
            with np.errstate(over="ignore", invalid="ignore"):
                return self._tile(tile, cast, dtype, running, every, shared)

        with np.errstate(over="ignore"):
            cast: list[NDArray[Any]] = [np.ascontiguousarray(m, dtype=dtype) for m in scaled]
        if self.threads == 1 or len(self.tiles) == 1:
            parts = [one(tile) for tile in self.tiles]
        else:
            with ThreadPoolExecutor(self.threads) as executor:
                parts = list(executor.map(one, self.tiles))
        spread = np.max([part.spread for part in parts], axis=0)
        relative, absolute = self._error(dtype, scaled, spread)
        # In the order of the tiles, so that ties do not depend on which thread was first.
        computed = np.concatenate([part.computed for part in parts])
        top = np.argsort(-computed, kind="stable")[:count]
        # The same pair is met from either end.
        pairs = np.unique(np.concatenate([part.pairs for part in parts])[top], axis=0)
        values = self.values(pairs, factors)
        order = np.argsort(-values, kind="stable")
        largest = max(float(computed[top[0]]), 0.0) if len(top) else 0.0
        error = relative * largest + absolute
        bound = largest + error
        rest = (1 + relative) * max(running.least, 0.0) + absolute
        if not every:
            rest = bound
        elif running.least == -np.inf:
            rest = -np.inf
        return Found(pairs[order], values[order], bound, rest), error

    def _tile(
        self,
        tile: tuple[slice, slice],
        factors: Sequence[NDArray[Any]],
        dtype: type,
        running: "_Running",
        every: bool,
        shared: "_Shared",
    ) -> "_Tile":
        prompts, rows = tile
        size = self.pool.n_completions
        if rows == slice(0, size):
            xp, projected = self._project(prompts, factors, dtype)
        else:
            # A prompt's other tiles need the same.
            xp, projected = shared.get(prompts, lambda: self._project(prompts, factors, dtype))
        # A pair that is met in one tile from either end, or in two, need be met only once.
        k = rows.stop if every else size
        total: Any = None
        # What is the same for all pairs of a completion is added to their largest only.
        shift: Any = 0
        for m, (g, half) in enumerate(projected):
            rewards = self.rewards[m]
            form = g[:, :k] @ g[:, rows].swapaxes(1, 2)
            xp.subtract(half[:, :k, None], form, out=form)
            if rewards is None and len(factors) == 1:
                shift = half[:, rows]
            else:
                form += half[:, None, rows]
            if rewards is not None:
                self._weigh(xp, form, rewards[prompts], rows, dtype)
            if m:
                total += form
            else:
                total = form
        tops = _here(xp.amax(total, 1) + shift)
        # Also those that equal the least, so that ties do not depend on which thread was first.
        prompt, row = np.nonzero(tops >= running.least) if every else running.offer(tops)
        found = self._there(prompt), self._there(row)
        columns = _here(total[found[0], :, found[1]])
        if not isinstance(shift, int):
            columns = columns + _here(shift[found])[:, None]
        row = row + rows.start
        if every:
            # Of the two times that a pair is met, the one.
            columns[np.arange(k) >= row[:, None]] = -np.inf
            line, partner = running.offer(columns)
        else:
            columns[np.arange(len(row)), row] = -np.inf
            line, partner = np.arange(len(row)), columns.argmax(axis=1)
        computed = columns[line, partner]
        pairs = np.column_stack([prompt[line] + prompts.start, partner, row[line]])
        pairs[:, 1:].sort(axis=1)
        real = computed > -np.inf
        spread = [2 * float(half.max()) for _, half in projected]
        return _Tile(pairs[real], computed[real], np.array(spread))

    def _project(
        self, prompts: slice, factors: Sequence[NDArray[Any]], dtype: type
    ) -> tuple[ModuleType, list[tuple[Any, Any]]]:
        """g of some prompts and ½ ‖g‖², −∞ for completions that are not there, for each factor."""
        xp, x = self._features(prompts, dtype)
        n, k, d = x.shape
        there = self.pool.valid[prompts]
        found: list[tuple[Any, Any]] = []
        for root in factors:
            g = (x.reshape(n * k, d) @ self._there(root)).reshape(n, k, -1)
            half = xp.einsum("nkr,nkr->nk", g, g) / 2
            if not found and not there.all():
                half[self._there(~there)] = -np.inf
            found.append((g, half))
        return xp, found

    def _weigh(self, xp: ModuleType, form: Any, rewards: Array, rows: slice, dtype: type) -> None:
        """Multiply by ω of the tile's pairs, in place."""
        least, most = rewards.min(axis=1, keepdims=True), rewards.max(axis=1, keepdims=True)
        r = rewards - (least + most) / 2
        limit = 80 if dtype == np.float32 else 700
        if (most - least).max() <= limit:
            # 1/ω = 2 + e^Δ + e^−Δ: exponentials of completions, not of pairs.
            e = np.exp(r)
            left = self._there(np.stack([e, 1 / e], axis=2).astype(dtype)[:, : form.shape[1]])
            right = self._there(np.stack([1 / e, e], axis=1).astype(dtype)[:, :, rows])
            inverse = left @ right
            inverse += 2
            form /= inverse
        else:
            r = self._there(r.astype(dtype))
            # The limit keeps ω above zero; a pair beyond it counts for too much, as a bound may.
            small = xp.exp(
                -xp.clip(abs(r[:, : form.shape[1], None] - r[:, None, rows]), None, limit)
            )
            form *= small
            form /= (1 + small) ** 2

    def _features(self, prompts: slice, dtype: type) -> tuple[ModuleType, Any]:
        """The tile's features less their prompt's mean, so that float32 errors are relative."""
        xp = np if self.device is None else importlib.import_module("torch")
        if prompts.start in self._kept and dtype == np.float32:
            return xp, self._kept[prompts.start]
        there = self.pool.valid[prompts]
        x: NDArray[Any] = self.pool.block(prompts).astype(dtype)
        mean = x.sum(axis=1, dtype=np.float64) / there.sum(axis=1)[:, None]
        x -= mean.astype(dtype)[:, None]
        if not there.all():
            x[~there] = 0
        if prompts.start not in self._radii:
            squares = np.einsum("nkd,nkd->nk", x, x, dtype=np.float64)
            self._radii[prompts.start] = float(squares.max()) ** 0.5
        placed = self._there(x)
        if dtype == np.float32 and self._keeps:
            self._kept[prompts.start] = placed
        return xp, placed

    def _there(self, array: NDArray[Any]) -> Any:
        """The array on the device."""
        if self.device is None:
            return array
        import torch

        return torch.from_numpy(array).to(self.device)

    def _error(self, dtype: type, factors: Sequence[Array], spread: Array) -> tuple[float, float]:
        """How far a computed value may lie below the true one: relative, and absolute besides.

        The usual bounds of inner products, γ_n = n u / (1 − n u) (Higham 2002, section 3.1), of
        g = Lᵀx, of ½ ‖g_i − g_j‖² and of ω, each with a few operations to spare, and with the least
        normal number for each product that may have been lost below it.
        """
        kind = np.finfo(dtype)
        u, tiny = float(kind.eps) / 2, float(kind.tiny)
        radius = max(self._radii.values())
        relative, absolute = 8 * u, 0.0
        for root, at, largest in zip(factors, self.rewards, spread, strict=True):
            d, r = root.shape
            of_g = (d + 4) * (u * radius * float(np.linalg.norm(root)) + np.sqrt(r) * tiny)
            size = np.sqrt(largest) + of_g
            of_form = 4 * (r + 8) * (u * size**2 + tiny)
            error = float(of_form + 8 * of_g * size + 4 * of_g**2) / 2
            if at is not None:
                error /= 4
                relative = max(relative, u * (32 + 8 * float(np.ptp(at, axis=1).max())))
            absolute += 1.01 * error
        return relative, absolute


class _Tile(NamedTuple):
    """A tile's best pairs, their computed values, and the largest ‖g‖² for each k."""

    pairs: Pairs
    computed: NDArray[Any]
    spread: Array


class _Shared:
    """What the last few prompts' tiles have in common, made by the first that asks."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._made: dict[int, Any] = {}
        self._lock = Lock()

    def get(self, prompts: slice, make: Callable[[], Any]) -> Any:
        """What was made for these prompts."""
        with self._lock:
            if prompts.start not in self._made:
                while len(self._made) >= self.size:
                    self._made.pop(next(iter(self._made)))
                self._made[prompts.start] = make()
            return self._made[prompts.start]


class _Running:
    """The largest numbers met so far, by any thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._largest = np.empty(0, dtype=np.float32)
        self._lock = Lock()

    @property
    def least(self) -> float:
        """The count-th largest, −inf while there are fewer."""
        return float(self._largest[0]) if len(self._largest) == self.count else -np.inf

    def offer(self, values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Take in a matrix; row and column of what in it can be among the largest of all.

        Of equal ones the first are taken, so that what is among them at the end does not depend on
        the order of the offers.
        """
        flat = values.reshape(-1)
        chosen = np.flatnonzero((flat >= self.least) & (flat > -np.inf))
        if len(chosen) > self.count:
            there = flat[chosen]
            cut = np.partition(there, len(there) - self.count)[len(there) - self.count]
            above = there > cut
            equal = np.flatnonzero(there == cut)[: self.count - int(above.sum())]
            above[equal] = True
            chosen = chosen[above]
        with self._lock:
            merged = np.sort(np.concatenate([self._largest, flat[chosen]]))
            self._largest = merged[-self.count :]
        row, column = np.divmod(chosen, values.shape[1])
        return row, column


def given_pairs(pool: Pool, pairs: Pairs, what: str) -> Pairs:
    """The argument as ``(n, 3)`` proper pairs, or a clear error."""
    array = np.asarray(pairs)
    if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
        raise InvalidParameter(
            f"{what} must be an integer array (n, 3) of rows (prompt, first, second), got shape "
            f"{array.shape} of dtype {array.dtype}."
        )
    if (bad := np.flatnonzero(~pool.proper(array))).size:
        raise InvalidParameter(
            f"{what} must be proper pairs; {len(bad)} of {len(array)} are not, the first at row "
            f"{bad[0]}: {what_is_wrong(array[bad[0]], pool)}"
        )
    return array.astype(np.int64)


def _here(array: Any) -> NDArray[Any]:
    """An array of numpy's, wherever it was."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use."""
    import torch

    try:
        torch.zeros(1, device=device).cpu().numpy()  # "meta" makes tensors and no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidParameter(
            f"cannot search on device {device!r}: {reason}. Take one that torch has, or leave "
            "it out."
        ) from error


def usual_threads() -> int:
    """OMP_NUM_THREADS where it is set, so that a worker process takes one core; else the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))
