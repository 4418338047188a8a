"""Search over the candidate pairs of a design, without forming the pairs."""

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

from pairbench._util.checks import check_at_least
from pairbench.errors import InvalidParameter
from pairbench.information.fisher import label_information, pair_slope, uniform_information
from pairbench.pool.pairs import explain_improper_pair
from pairbench.pool.pool import Pairs, Pool

Array = NDArray[np.float64]

_TILE_BYTES = 2**22
"""Bytes of one tile's pairs in float32, chosen to fit into the cache of a core."""


def factor(matrix: Array) -> Array:
    """Compute L with L Lᵀ = A for a positive semidefinite matrix A.

    Args:
        matrix: A, ``(r, r)``.

    Returns:
        L, ``(r, rank)``.
    """
    values, vectors = eigh((matrix + matrix.T) / 2)
    positive = values > 1e-15 * max(values[-1], 0.0)
    root: Array = vectors[:, positive] * np.sqrt(values[positive])
    return root


class SearchResult(NamedTuple):
    """The pairs of largest value, with bounds on the values of all candidates.

    Attributes:
        pairs: ``(n, 3)``, i < j, in decreasing order of value.
        values: their values in float64, ``(n,)``.
        bound: upper bound on the value of any candidate, rounding errors included.
        threshold: upper bound on the value of any candidate outside ``pairs``, rounding errors
            included; at least ``bound`` unless the search was exhaustive.
    """

    pairs: Pairs
    values: Array
    bound: float
    threshold: float


class Candidates(ABC):
    """Candidate pairs, each with one or more atoms ω_k z zᵀ.

    There is an atom for each k of ``rewards``: the information of a label at those rewards.

    Attributes:
        pool: the pool that the pairs belong to.
        rewards: for each k the rewards ``(N, K)`` at which ω_k is taken; None stands for 0, where
            ω = ¼.
    """

    def __init__(self, pool: Pool, rewards: Sequence[Array | None]) -> None:
        self.pool = pool
        # Invalid completions get the reward of a valid one, so that they widen no range.
        first_valid = pool.valid_first[:, :1]
        self.rewards = tuple(
            r if r is None else np.where(pool.valid, r, np.take_along_axis(r, first_valid, axis=1))
            for r in rewards
        )

    def atoms(self, pairs: Pairs) -> list[Array]:
        """Compute √ω_k z of some pairs for each k, ``(n, d)``."""
        z = self.pool.differences(pairs)
        return [z * np.sqrt(pair_slope(pairs, r))[:, None] for r in self.rewards]

    def values(self, pairs: Pairs, factors: Sequence[Array]) -> Array:
        """Compute Σ_k ω_k ‖L_kᵀ z‖² of some pairs in float64, ``(n,)``.

        Args:
            pairs: ``(n, 3)``.
            factors: L_k, ``(d, r_k)``.
        """
        total = np.zeros(len(pairs))
        for atom, root in zip(self.atoms(pairs), factors, strict=True):
            total += np.square(atom @ root).sum(axis=1)
        return total

    @abstractmethod
    def at_zero(self) -> "Candidates":
        """Return the candidates at rewards of 0, with one atom, ¼ z zᵀ, each."""

    @abstractmethod
    def mean_information(self) -> list[Array]:
        """Compute the expected information of a uniformly drawn pair for each k, ``(d, d)``."""

    @abstractmethod
    def find_largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        exhaustive: bool = False,
    ) -> SearchResult:
        """Find the pairs with the largest values Σ_k ω_k ‖L_kᵀ z‖².

        Args:
            factors: L_k, ``(d, r_k)``.
            count: the approximate number of pairs to return.
            slack: the tolerated excess of ``bound`` over the largest value, relative to it.
            exhaustive: return all pairs above ``threshold``. By default only the best pair of each
                completion is returned, because its next best ones are often near copies.
        """


class ListedPairs(Candidates):
    """Candidates given as a list; a repeated or reversed pair counts once."""

    def __init__(self, pool: Pool, rewards: Sequence[Array | None], pairs: Pairs) -> None:
        super().__init__(pool, rewards)
        pairs = check_pairs(pool, pairs, "candidates")
        if not len(pairs):
            raise InvalidParameter("candidates must be at least one pair, got none.")
        self.pairs = np.unique(np.column_stack([pairs[:, 0], np.sort(pairs[:, 1:])]), axis=0)

    def at_zero(self) -> "ListedPairs":
        """Return the same pairs with label variances of ¼; see :meth:`Candidates.at_zero`."""
        return ListedPairs(self.pool, [None], self.pairs)

    def mean_information(self) -> list[Array]:
        """Average the information over the list; see :meth:`Candidates.mean_information`."""
        share = np.full(len(self.pairs), 1 / len(self.pairs))
        return [label_information(self.pool, self.pairs, share, rewards=r) for r in self.rewards]

    def find_largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        exhaustive: bool = False,
    ) -> SearchResult:
        """Evaluate and sort the whole list; see :meth:`Candidates.find_largest`."""
        step = 2**16
        parts = [self.pairs[a : a + step] for a in range(0, len(self.pairs), step)]
        values = np.concatenate([self.values(part, factors) for part in parts])
        order = np.argsort(-values, kind="stable")
        threshold = float(values[order[count]]) if count < len(order) else -np.inf
        top = order[:count]
        return SearchResult(self.pairs[top], values[top], float(values[order[0]]), threshold)


class AllPairs(Candidates):
    """All pairs of a pool as candidates.

    For g_i = L_kᵀ φ_i, ‖g_i − g_j‖² comes from the Gram matrix of each prompt's completions: about
    K/2 times less work than from the differences, and no memory for them. The search runs tile by
    tile, in float32 where its rounding errors are proven to be small enough, on several threads,
    or in torch on a device. Its result does not depend on the number of threads.
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
        """Split the pool into tiles that fit into memory.

        Args:
            pool: the pool.
            rewards: see :class:`Candidates`.
            memory: bytes that the tiles of all threads may take together.
            threads: the number of threads; :func:`default_threads` if not given.
            device: a torch device, such as ``"cuda"``; numpy if not given.

        Raises:
            InvalidParameter: If ``threads`` is below 1 or torch cannot use the device.
        """
        super().__init__(pool, rewards)
        if threads is not None:
            check_at_least(1, threads=threads)
        if device is not None:
            check_device(device)
        self.threads = 1 if device else threads or default_threads()
        # Pool.tiles counts a tile's features and two arrays of its pairs in float64; a search holds
        # up to three times as much.
        share = memory // (3 * self.threads)
        self.tiles = list(pool.tiles(min(share, 2**26 if device else 4 * _TILE_BYTES)))
        self.device, self.memory = device, memory
        on_disk = isinstance(pool.features, np.memmap)
        self._caches_features = not on_disk and (
            device is not None or pool.features.nbytes <= memory
        )
        self._feature_cache: dict[int, Any] = {}
        self._radii: dict[int, float] = {}

    def at_zero(self) -> "AllPairs":
        """Return all pairs at rewards of 0; see :meth:`Candidates.at_zero`."""
        return AllPairs(
            self.pool, [None], memory=self.memory, threads=self.threads, device=self.device
        )

    def mean_information(self) -> list[Array]:
        """Compute the mean information from the Laplacian of each prompt's graph of pairs.

        See :meth:`Candidates.mean_information`.
        """
        return [uniform_information(self.pool, rewards=r) for r in self.rewards]

    def find_largest(
        self,
        factors: Sequence[Array],
        count: int,
        *,
        slack: float = 1e-3,
        exhaustive: bool = False,
    ) -> SearchResult:
        """Search tile by tile, in float32 if possible; see :meth:`Candidates.find_largest`."""
        result, error = self._search(np.float32, factors, count, exhaustive)
        # Numbers outside float32's range make the error infinite or NaN.
        if not error < slack * result.bound:
            result, _ = self._search(np.float64, factors, count, exhaustive)
        return result

    def _search(
        self, dtype: type, factors: Sequence[Array], count: int, exhaustive: bool
    ) -> tuple[SearchResult, float]:
        """Search in the given precision; return the result and the rounding error in its bound."""
        running, shared = _RunningTop(count), _ProjectionCache(self.threads + 1)
        # A tile computes ½ ‖g_i‖² + ½ ‖g_j‖² − g_iᵀg_j = ½ ‖g_i − g_j‖². Scaled factors make it
        # ¼ ‖g_i − g_j‖² where every ω is ¼, else ‖g_i − g_j‖², which is multiplied by ω later.
        scaled = [
            root * np.sqrt(0.5 if r is None else 2.0)
            for root, r in zip(factors, self.rewards, strict=True)
        ]

        def search_tile(tile: tuple[slice, slice]) -> _TileResult:
            with np.errstate(over="ignore", invalid="ignore"):
                return self._search_tile(tile, cast, dtype, running, exhaustive, shared)

        with np.errstate(over="ignore"):
            cast: list[NDArray[Any]] = [np.ascontiguousarray(m, dtype=dtype) for m in scaled]
        if self.threads == 1 or len(self.tiles) == 1:
            parts = [search_tile(tile) for tile in self.tiles]
        else:
            with ThreadPoolExecutor(self.threads) as executor:
                parts = list(executor.map(search_tile, self.tiles))
        largest_squares = np.max([part.largest_squares for part in parts], axis=0)
        relative, absolute = self._error(dtype, scaled, largest_squares)
        # Joined in the order of the tiles, so that ties do not depend on which thread was first.
        computed = np.concatenate([part.computed for part in parts])
        top = np.argsort(-computed, kind="stable")[:count]
        # A pair can occur twice, once from either completion.
        pairs = np.unique(np.concatenate([part.pairs for part in parts])[top], axis=0)
        values = self.values(pairs, factors)
        order = np.argsort(-values, kind="stable")
        largest = max(float(computed[top[0]]), 0.0) if len(top) else 0.0
        error = relative * largest + absolute
        bound = largest + error
        threshold = (1 + relative) * max(running.least, 0.0) + absolute
        if not exhaustive:
            threshold = bound
        elif running.least == -np.inf:
            threshold = -np.inf
        return SearchResult(pairs[order], values[order], bound, threshold), error

    def _search_tile(
        self,
        tile: tuple[slice, slice],
        factors: Sequence[NDArray[Any]],
        dtype: type,
        running: "_RunningTop",
        exhaustive: bool,
        shared: "_ProjectionCache",
    ) -> "_TileResult":
        """Select the pairs of one tile that can be among the largest of all."""
        prompts, rows = tile
        forms = self._forms(tile, factors, dtype, exhaustive, shared)
        row_maxima = _to_numpy(forms.xp.amax(forms.values, 1) + forms.shift)
        # Rows that equal the least are included, so that ties do not depend on which thread was
        # first.
        if exhaustive:
            prompt, row = np.nonzero(row_maxima >= running.least)
        else:
            prompt, row = running.offer(row_maxima)
        selected = self._to_device(prompt), self._to_device(row)
        columns = _to_numpy(forms.values[selected[0], :, selected[1]])
        if not isinstance(forms.shift, int):
            columns = columns + _to_numpy(forms.shift[selected])[:, None]
        row = row + rows.start
        if exhaustive:
            # A pair occurs from either completion; only i < j is counted.
            columns[np.arange(columns.shape[1]) >= row[:, None]] = -np.inf
            line, partner = running.offer(columns)
        else:
            columns[np.arange(len(row)), row] = -np.inf
            line, partner = np.arange(len(row)), columns.argmax(axis=1)
        computed = columns[line, partner]
        pairs = np.column_stack([prompt[line] + prompts.start, partner, row[line]])
        pairs[:, 1:].sort(axis=1)
        proper = computed > -np.inf
        return _TileResult(pairs[proper], computed[proper], forms.largest_squares)

    def _forms(
        self,
        tile: tuple[slice, slice],
        factors: Sequence[NDArray[Any]],
        dtype: type,
        exhaustive: bool,
        shared: "_ProjectionCache",
    ) -> "_TileForms":
        """Compute the values of one tile's pairs from the Gram matrices of its completions."""
        prompts, rows = tile
        size = self.pool.n_completions
        if rows == slice(0, size):
            xp, projected = self._project(prompts, factors, dtype)
        else:
            # The other tiles of the prompt need the same projection.
            xp, projected = shared.get(prompts, lambda: self._project(prompts, factors, dtype))
        # An exhaustive search needs only i < j, so no partners beyond the tile's last completion.
        k = rows.stop if exhaustive else size
        total: Any = None
        # A term that all pairs of a completion share is added to their maximum only.
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
                self._multiply_by_slopes(xp, form, rewards[prompts], rows, dtype)
            if m:
                total += form
            else:
                total = form
        largest_squares = np.array([2 * float(half.max()) for _, half in projected])
        return _TileForms(total, shift, largest_squares, xp)

    def _project(
        self, prompts: slice, factors: Sequence[NDArray[Any]], dtype: type
    ) -> tuple[ModuleType, list[tuple[Any, Any]]]:
        """Compute g and ½ ‖g‖² (−∞ for invalid completions) of some prompts for each factor.

        Returns:
            The array module, numpy or torch, and a pair ``(n, K, r)``, ``(n, K)`` for each factor.
        """
        xp, x = self._centred_features(prompts, dtype)
        n, k, d = x.shape
        valid = self.pool.valid[prompts]
        projected: list[tuple[Any, Any]] = []
        for root in factors:
            g = (x.reshape(n * k, d) @ self._to_device(root)).reshape(n, k, -1)
            half = xp.einsum("nkr,nkr->nk", g, g) / 2
            if not projected and not valid.all():
                half[self._to_device(~valid)] = -np.inf
            projected.append((g, half))
        return xp, projected

    def _multiply_by_slopes(
        self, xp: ModuleType, form: Any, rewards: Array, rows: slice, dtype: type
    ) -> None:
        """Multiply the forms of a tile by ω of its pairs, in place."""
        least, most = rewards.min(axis=1, keepdims=True), rewards.max(axis=1, keepdims=True)
        r = rewards - (least + most) / 2
        limit = 80 if dtype == np.float32 else 700
        if (most - least).max() <= limit:
            # 1/ω = 2 + e^Δ + e^−Δ needs one exponential per completion instead of one per pair.
            e = np.exp(r)
            left = self._to_device(np.stack([e, 1 / e], axis=2).astype(dtype)[:, : form.shape[1]])
            right = self._to_device(np.stack([1 / e, e], axis=1).astype(dtype)[:, :, rows])
            inverse = left @ right
            inverse += 2
            form /= inverse
        else:
            r = self._to_device(r.astype(dtype))
            # The limit keeps ω above zero. It overrates pairs beyond it, which a bound may do.
            odds = xp.exp(
                -xp.clip(abs(r[:, : form.shape[1], None] - r[:, None, rows]), None, limit)
            )
            form *= odds
            form /= (1 + odds) ** 2

    def _centred_features(self, prompts: slice, dtype: type) -> tuple[ModuleType, Any]:
        """Subtract each prompt's mean from its features, so that float32 errors are relative.

        Returns:
            The array module, numpy or torch, and the features ``(n, K, d)``, 0 where invalid.
        """
        xp = np if self.device is None else importlib.import_module("torch")
        if prompts.start in self._feature_cache and dtype == np.float32:
            return xp, self._feature_cache[prompts.start]
        valid = self.pool.valid[prompts]
        x: NDArray[Any] = self.pool.block(prompts).astype(dtype)
        mean = x.sum(axis=1, dtype=np.float64) / valid.sum(axis=1)[:, None]
        x -= mean.astype(dtype)[:, None]
        if not valid.all():
            x[~valid] = 0
        if prompts.start not in self._radii:
            squares = np.einsum("nkd,nkd->nk", x, x, dtype=np.float64)
            self._radii[prompts.start] = float(squares.max()) ** 0.5
        features = self._to_device(x)
        if dtype == np.float32 and self._caches_features:
            self._feature_cache[prompts.start] = features
        return xp, features

    def _to_device(self, array: NDArray[Any]) -> Any:
        """Return the array as a tensor on the device, or unchanged without a device."""
        if self.device is None:
            return array
        import torch

        return torch.from_numpy(array).to(self.device)

    def _error(
        self, dtype: type, factors: Sequence[Array], largest_squares: Array
    ) -> tuple[float, float]:
        """Bound how far a computed value may lie below the true one.

        The standard bounds of inner products, γ_n = n u / (1 − n u) (Higham 2002, section 3.1), of
        g = Lᵀx, of ½ ‖g_i − g_j‖² and of ω, each with a few operations to spare, and with the least
        normal number for each product that may have underflowed.

        Args:
            dtype: the precision of the search.
            factors: the scaled L_k, ``(d, r_k)``.
            largest_squares: the largest ‖g‖² for each k.

        Returns:
            The error relative to the value, and the absolute error besides.
        """
        precision = np.finfo(dtype)
        u, tiny = float(precision.eps) / 2, float(precision.tiny)
        radius = max(self._radii.values())
        relative, absolute = 8 * u, 0.0
        for root, rewards, largest in zip(factors, self.rewards, largest_squares, strict=True):
            d, r = root.shape
            projection_error = (d + 4) * (
                u * radius * float(np.linalg.norm(root)) + np.sqrt(r) * tiny
            )
            size = np.sqrt(largest) + projection_error
            form_error = 4 * (r + 8) * (u * size**2 + tiny)
            error = float(form_error + 8 * projection_error * size + 4 * projection_error**2) / 2
            if rewards is not None:
                error /= 4
                relative = max(relative, u * (32 + 8 * float(np.ptp(rewards, axis=1).max())))
            absolute += 1.01 * error
        return relative, absolute


def make_candidates(
    pool: Pool,
    rewards: Sequence[Array | None],
    pairs: Pairs | None,
    *,
    memory: int,
    threads: int | None,
    device: str | None,
) -> AllPairs | ListedPairs:
    """Build the candidates of a design: the listed pairs, or all pairs of the pool.

    Args:
        pool: the pool.
        rewards: see :class:`Candidates`.
        pairs: the list, ``(c, 3)``; None for all pairs.
        memory: see :class:`AllPairs`, as are ``threads`` and ``device``; unused with a list.
        threads: the number of threads.
        device: a torch device.

    Raises:
        InvalidParameter: If the list is empty or has improper pairs, ``threads`` is below 1, or
            torch cannot use the device.
    """
    if pairs is not None:
        return ListedPairs(pool, rewards, pairs)
    return AllPairs(pool, rewards, memory=memory, threads=threads, device=device)


class _TileForms(NamedTuple):
    """The values of one tile's pairs.

    Attributes:
        values: ``(n, partners, completions)``, without ``shift``.
        shift: a term of each completion's pairs, ``(n, completions)``, or the number 0.
        largest_squares: the largest ‖g‖² for each k.
        xp: the module of the arrays, numpy or torch.
    """

    values: Any
    shift: Any
    largest_squares: Array
    xp: ModuleType


class _TileResult(NamedTuple):
    """The best pairs of one tile.

    Attributes:
        pairs: ``(n, 3)``, i < j.
        computed: their values in the precision of the search, ``(n,)``.
        largest_squares: the largest ‖g‖² for each k.
    """

    pairs: Pairs
    computed: NDArray[Any]
    largest_squares: Array


class _ProjectionCache:
    """Projections of the most recent prompts, shared by the threads that search their tiles."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._projections: dict[int, Any] = {}
        self._lock = Lock()

    def get(self, prompts: slice, compute: Callable[[], Any]) -> Any:
        """Return the projection of these prompts; the first thread to ask computes it."""
        with self._lock:
            if prompts.start not in self._projections:
                while len(self._projections) >= self.size:
                    self._projections.pop(next(iter(self._projections)))
                self._projections[prompts.start] = compute()
            return self._projections[prompts.start]


class _RunningTop:
    """The largest ``count`` numbers that any thread has offered so far."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._largest = np.empty(0, dtype=np.float32)
        self._lock = Lock()

    @property
    def least(self) -> float:
        """The count-th largest number, −inf while there are fewer."""
        return float(self._largest[0]) if len(self._largest) == self.count else -np.inf

    def offer(self, values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Merge a matrix; return rows and columns of its entries that can be among the largest.

        The first of equal entries are selected, so that the final selection does not depend on the
        order of the offers.
        """
        flat = values.reshape(-1)
        selected = np.flatnonzero((flat >= self.least) & (flat > -np.inf))
        if len(selected) > self.count:
            candidates = flat[selected]
            cut = np.partition(candidates, len(candidates) - self.count)[
                len(candidates) - self.count
            ]
            above = candidates > cut
            equal = np.flatnonzero(candidates == cut)[: self.count - int(above.sum())]
            above[equal] = True
            selected = selected[above]
        with self._lock:
            merged = np.sort(np.concatenate([self._largest, flat[selected]]))
            self._largest = merged[-self.count :]
        row, column = np.divmod(selected, values.shape[1])
        return row, column


def check_pairs(pool: Pool, pairs: Pairs, name: str) -> Pairs:
    """Convert an argument to ``(n, 3)`` int64 proper pairs.

    Args:
        pool: the pool that the pairs index.
        pairs: the argument.
        name: its name, for the message.

    Raises:
        InvalidParameter: If it is not an integer array ``(n, 3)`` or a row is not a proper pair.
    """
    array = np.asarray(pairs)
    if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
        raise InvalidParameter(
            f"{name} must be an integer array (n, 3) of rows (prompt, first, second), got shape "
            f"{array.shape} of dtype {array.dtype}."
        )
    if (bad := np.flatnonzero(~pool.proper(array))).size:
        raise InvalidParameter(
            f"{name} must be proper pairs; {len(bad)} of {len(array)} are not, the first at row "
            f"{bad[0]}: {explain_improper_pair(array[bad[0]], pool)}"
        )
    return array.astype(np.int64)


def _to_numpy(array: Any) -> NDArray[Any]:
    """Return a numpy array, or copy a torch tensor into one."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def check_device(device: str) -> None:
    """Raise unless torch can compute on a device.

    Raises:
        InvalidParameter: If it cannot.
    """
    import torch

    try:
        torch.zeros(1, device=device).cpu().numpy()  # device "meta" makes tensors without numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidParameter(
            f"cannot search on device {device!r}: {reason}. Name a device that torch has, or leave "
            "it out."
        ) from error


def default_threads() -> int:
    """Return OMP_NUM_THREADS if it is a positive integer, else the number of usable cores.

    Worker processes set the variable so that each of them takes one core.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdigit() and int(setting) else len(os.sched_getaffinity(0))
