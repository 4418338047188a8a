"""The pool: prompts, their completions, and what anyone may know about them."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pairbench.errors import BudgetExceeded, InvalidPairs, InvalidPool

Scalar = TypeVar("Scalar", bound=np.generic)
Pairs = NDArray[np.int64]
"""Questions, ``(n, 3)`` rows ``(prompt, first, second)``: is ``first`` better than ``second``?"""


class Rows(NamedTuple):
    """Completions of one pool, put together as the prompts of another.

    Attributes:
        prompts: the prompt of each row, ``(n,)``; it may have several rows.
        completions: the completions of each row, ``(n, K)``, −1 in places that stay empty.
        weights: the prompt weight of each row, ``(n,)``, positive; they need not sum to one.
    """

    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]
    weights: NDArray[np.float64]

    def of(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Those completions' values, ``(n, K, ...)``, of all values ``(N, K', ...)``.

        In empty places stands the value of another completion.
        """
        taken: NDArray[Scalar] = values[self.prompts[:, None], np.maximum(self.completions, 0)]
        return taken


@dataclass(frozen=True, eq=False, init=False)
class Pool:
    """A finite pool of completions for each of N prompts.

    Arrays are copied and cannot be written to afterwards, not even by setting their flags, so a
    pool can be handed to foreign code (what pickle or deepcopy make of one is ordinary). Entries
    that are not ``valid`` are zeroed (``log_ref``: −inf).

    Features that are a float32 ``numpy.memmap`` stay in their file, and are not zeroed: pools may
    be larger than memory. What is swept in blocks (:meth:`block`, ``pairbench.information``) then
    runs in little memory; ``phi`` does not.

    Attributes:
        features: φ, ``(n_prompts, n_completions, dim)`` float32.
        log_ref: log π_ref, ``(n_prompts, n_completions)`` nats, normalised over each prompt's pool.
        lengths: ``(n_prompts, n_completions)`` tokens.
        valid: ``(n_prompts, n_completions)`` bool; a prompt may have fewer completions than others.
        prompt_weights: ρ, ``(n_prompts,)``, summing to one.
        texts: the completions' texts, one tuple for each prompt, where they are known.
        scores: what somebody else thinks of the completions, such as a reward model, where that is
            known, ``(n_prompts, n_completions)`` reward units; 0 where not valid.
        prompts: the prompts' texts, where they are known.
    """

    features: NDArray[np.float32]
    log_ref: NDArray[np.float64]
    lengths: NDArray[np.int64]
    valid: NDArray[np.bool_]
    prompt_weights: NDArray[np.float64]
    texts: tuple[tuple[str, ...], ...] | None
    scores: NDArray[np.float64] | None
    prompts: tuple[str, ...] | None

    def __init__(
        self,
        features: ArrayLike,
        *,
        log_ref: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        valid: ArrayLike | None = None,
        prompt_weights: ArrayLike | None = None,
        texts: Sequence[Sequence[str]] | None = None,
        scores: ArrayLike | None = None,
        prompts: Sequence[str] | None = None,
    ) -> None:
        """Check the arrays, fill in what is missing, and freeze them.

        Args:
            features: φ, ``(N, K, d)``.
            log_ref: log-probabilities under π_ref up to a constant for each prompt, ``(N, K)``
                nats; the same for all completions if not given.
            lengths: ``(N, K)`` tokens; ones if not given.
            valid: ``(N, K)`` bool; all if not given.
            prompt_weights: ``(N,)``, positive; equal if not given.
            texts: N sequences of K texts.
            scores: ``(N, K)`` reward units, finite where valid.
            prompts: N texts.

        Raises:
            InvalidPool: If shapes disagree, numbers are not finite, or a prompt has fewer than two
                completions.
        """
        phi: NDArray[np.float32]
        mapped = isinstance(features, np.memmap) and features.dtype == np.float32
        try:
            phi = cast(Any, features) if mapped else np.asarray(features, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidPool(f"features are no array of numbers: {error}.") from error
        if phi.ndim != 3 or 0 in phi.shape:
            raise InvalidPool(
                "features must be a non-empty array (prompts, completions, dim), "
                f"got shape {phi.shape}."
            )
        n, k, _ = phi.shape
        mask = _shaped("valid", np.ones((n, k)) if valid is None else valid, (n, k), np.bool_)
        if (few := np.flatnonzero(mask.sum(axis=1) < 2)).size:
            raise InvalidPool(
                "every prompt needs at least two valid completions to compare; "
                f"{_those('prompt', few)} of {n} have fewer. Leave them out of the pool."
            )
        if (bad := np.flatnonzero((~_finite(phi) & mask).any(axis=1))).size:
            raise InvalidPool(
                f"features must be finite; {_those('prompt', bad)} of {n} hold NaN or infinite "
                "values. Mend them, or mark those completions as not valid."
            )
        ref = _shaped("log_ref", np.zeros((n, k)) if log_ref is None else log_ref, (n, k))
        if (bad := np.flatnonzero((~np.isfinite(ref) & mask).any(axis=1))).size:
            raise InvalidPool(
                f"log_ref must be finite where valid; {_those('prompt', bad)} of {n} hold other "
                "values. A completion that π_ref cannot produce is not part of the pool."
            )
        ref = np.where(mask, ref, -np.inf)
        ref = ref - ref.max(axis=1, keepdims=True)
        ref = ref - np.log(np.exp(ref).sum(axis=1, keepdims=True))
        tokens = _shaped("lengths", np.ones((n, k)) if lengths is None else lengths, (n, k))
        tokens = np.where(mask, tokens, 0)
        if not ((tokens == np.floor(tokens)) & (tokens >= 0) & (tokens < 2**53)).all():
            raise InvalidPool("lengths must be whole numbers of tokens, zero or more.")
        rho = np.ones(n) if prompt_weights is None else prompt_weights
        rho = _shaped("prompt_weights", rho, (n,))
        if not (np.isfinite(rho).all() and (rho > 0).all()):
            raise InvalidPool("prompt_weights must be positive and finite.")
        if texts is not None and (
            len(texts) != n or any(isinstance(row, str) or len(row) != k for row in texts)
        ):
            raise InvalidPool(f"texts must be {n} sequences of {k} texts, as features has them.")
        if prompts is not None and (isinstance(prompts, str) or len(prompts) != n):
            raise InvalidPool(f"prompts must be {n} texts, one for each prompt of features.")
        if scores is not None:
            scores = _shaped("scores", scores, (n, k))
            if (bad := np.flatnonzero((~np.isfinite(scores) & mask).any(axis=1))).size:
                raise InvalidPool(
                    f"scores must be finite where valid; {_those('prompt', bad)} of {n} hold other "
                    "values. Mend them, or mark those completions as not valid."
                )
            scores = frozen_array(np.where(mask, scores, 0.0))
        object.__setattr__(self, "scores", scores)
        for name, array in (
            ("log_ref", ref),
            ("lengths", tokens.astype(np.int64)),
            ("valid", mask),
            ("prompt_weights", rho / rho.sum()),
        ):
            object.__setattr__(self, name, frozen_array(array))
        if mapped:
            kept = phi.view()
            kept.flags.writeable = False
        else:
            kept = frozen_array(np.where(mask[:, :, None], phi, np.float32(0)))
        object.__setattr__(self, "features", kept)
        frozen_texts = None if texts is None else tuple(tuple(row) for row in texts)
        object.__setattr__(self, "texts", frozen_texts)
        object.__setattr__(self, "prompts", None if prompts is None else tuple(prompts))

    @property
    def n_prompts(self) -> int:
        """N, the number of prompts."""
        return int(self.features.shape[0])

    @property
    def n_completions(self) -> int:
        """K, the largest number of completions that a prompt has."""
        return int(self.features.shape[1])

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return int(self.features.shape[2])

    @cached_property
    def phi(self) -> NDArray[np.float64]:
        """The features in float64, ``(N, K, d)``, for whatever ends in a score."""
        return frozen_array(self.block(slice(None)).astype(np.float64))

    @cached_property
    def pair_mask(self) -> NDArray[np.bool_]:
        """``(N, K, K)``, true once for each proper pair: at ``[prompt, i, j]`` with ``i < j``."""
        upper = np.triu(np.ones((self.n_completions, self.n_completions), dtype=np.bool_), 1)
        return frozen_array(self.valid[:, :, None] & self.valid[:, None, :] & upper)

    @cached_property
    def n_pairs(self) -> int:
        """The number of distinct pairs."""
        sizes = self.valid.sum(axis=1, dtype=np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    @cached_property
    def valid_first(self) -> NDArray[np.int64]:
        """Each prompt's completions, ``(N, K)``, the valid ones first and in their order."""
        return frozen_array(np.argsort(~self.valid, axis=1, kind="stable"))

    def tiles(self, memory: int = 2**26) -> Iterator[tuple[slice, slice]]:
        """Parts of the pool whose pairs fit into memory: prompts, and completions of them.

        A tile stands for the pairs of its completions with all of their prompts'; together the
        tiles hold every pair twice. They take all completions, except where the pairs of a single
        prompt are too many.

        Args:
            memory: bytes that a float64 copy of a tile's features and two numbers for each of its
                pairs may take; a tile has one completion at least.
        """
        yield from _tiles(self.features.shape, memory)

    def block(self, prompts: slice) -> NDArray[np.float32]:
        """φ of some prompts, ``(n, K, d)`` float32 in memory, zero where not valid."""
        if not isinstance(self.features, np.memmap):
            return self.features[prompts]
        block = np.array(self.features[prompts])
        _release(self.features)
        block[~self.valid[prompts]] = 0
        return block

    def project(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """φ A in float64, ``(N, K)`` for a vector A ``(d,)``, ``(N, K, m)`` for ``(d, m)``."""
        if not isinstance(self.features, np.memmap):
            return self.phi @ matrix
        blocks = [prompts for prompts, rows in self.tiles() if rows.start == 0]
        parts = [self.block(prompts) @ matrix for prompts in blocks]
        return np.concatenate(parts)

    def subset(self, prompts: ArrayLike) -> "Pool":
        """The pool of some of the prompts, their weights renormalised.

        Args:
            prompts: indices or a mask, as numpy takes them.
        """
        index = np.arange(self.n_prompts)[np.asarray(prompts)]
        completions = np.tile(np.arange(self.n_completions), (len(index), 1))
        return self.rows(Rows(index, completions, self.prompt_weights[index]))

    def rows(self, rows: Rows) -> "Pool":
        """The pool of some of the completions, log π_ref and weights renormalised.

        Args:
            rows: which.
        """
        texts, there = self.texts, rows.completions >= 0
        if texts is not None:
            chosen = zip(rows.prompts.tolist(), rows.completions.tolist(), strict=True)
            texts = tuple(tuple(texts[x][k] if k >= 0 else "" for k in row) for x, row in chosen)
        return Pool(
            rows.of(self.features),
            log_ref=rows.of(np.where(self.valid, self.log_ref, 0.0)),
            lengths=rows.of(self.lengths),
            valid=rows.of(self.valid) & there,
            prompt_weights=rows.weights,
            texts=texts,
            scores=None if self.scores is None else rows.of(self.scores),
            prompts=None
            if self.prompts is None
            else [self.prompts[x] for x in rows.prompts.tolist()],
        )

    def with_scores(self, scores: ArrayLike) -> "Pool":
        """The same pool with these external scores, ``(N, K)`` reward units, finite where valid."""
        return self._changed(scores=scores)

    def only(self, there: NDArray[np.bool_]) -> "Pool":
        """The pool of some of the completions, π_ref renormalised over them; nothing else is told.

        Args:
            there: ``(N, K)``, two or more of each prompt's valid completions.
        """
        texts = self.texts
        if texts is not None:
            texts = tuple(
                tuple(text if here else "" for text, here in zip(row, mask, strict=True))
                for row, mask in zip(texts, there.tolist(), strict=True)
            )
        return self._changed(valid=self.valid & there, texts=texts)

    def _changed(self, **changes: Any) -> "Pool":
        kept = {
            "log_ref": np.where(self.valid, self.log_ref, 0.0),
            "lengths": self.lengths,
            "valid": self.valid,
            "prompt_weights": self.prompt_weights,
            "texts": self.texts,
            "scores": self.scores,
            "prompts": self.prompts,
        }
        return Pool(self.features, **(kept | changes))

    def differences(self, pairs: Pairs) -> NDArray[np.float64]:
        """z = φ(first) − φ(second), ``(n_pairs, d)``."""
        if not isinstance(self.features, np.memmap):
            prompt, first, second = pairs.T
            z: NDArray[np.float64] = self.features[prompt, first].astype(np.float64)
            z -= self.features[prompt, second]
            return z
        z = np.empty((len(pairs), self.dim))
        # A row that is read brings its neighbours' pages into memory.
        for start in range(0, len(pairs), 256):
            prompt, first, second = pairs[start : start + 256].T
            z[start : start + 256] = self.features[prompt, first]
            z[start : start + 256] -= self.features[prompt, second]
            _release(self.features)
        return z

    def proper(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which rows are a question: two different valid completions of one prompt, ``(n,)``."""
        prompt, first, second = pairs.T
        size = np.array([self.n_prompts, self.n_completions, self.n_completions])
        inside = ((pairs >= 0) & (pairs < size)).all(axis=1)
        prompt, first, second = (np.where(inside, x, 0) for x in (prompt, first, second))
        there = self.valid[prompt, first] & self.valid[prompt, second]
        proper: NDArray[np.bool_] = inside & (first != second) & there
        return proper


def pair_numbers(pool: Pool, pairs: Pairs) -> NDArray[np.int64]:
    """Each pair's place in ``np.argwhere(pool.pair_mask)``, ``(m,)``, whichever way round it is.

    Args:
        pool: the pool that the pairs point into.
        pairs: ``(m, 3)``.
    """
    prompt, first, second = pairs.T
    before, place = _pair_places(pool)
    i, j = np.sort([place[prompt, first], place[prompt, second]], axis=0)
    size = pool.valid.sum(axis=1)[prompt]
    numbers: NDArray[np.int64] = before[prompt] + i * (2 * size - i - 1) // 2 + j - i - 1
    return numbers


def numbered_pairs(pool: Pool, numbers: NDArray[np.int64]) -> Pairs:
    """The pairs of these numbers, ``(m, 3)`` with ``first < second``; see :func:`pair_numbers`.

    No list of all pairs is made.

    Args:
        pool: the pool.
        numbers: ``(m,)``, 0 to ``pool.n_pairs`` − 1.
    """
    before, _ = _pair_places(pool)
    prompt = np.searchsorted(before, numbers, side="right") - 1
    size = pool.valid.sum(axis=1)
    # Counted from the last pair, the rows of the triangle hold 1, 2, 3 … pairs.
    left = size[prompt] * (size[prompt] - 1) // 2 - 1 - (numbers - before[prompt])
    row = (np.sqrt(8 * left + 1).astype(np.int64) - 1) // 2
    i = size[prompt] - 2 - row
    j = size[prompt] - 1 - (left - row * (row + 1) // 2)
    return np.stack([prompt, pool.valid_first[prompt, i], pool.valid_first[prompt, j]], axis=1)


def _pair_places(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many pairs come before each prompt's, and each completion's place among the valid."""
    size = pool.valid.sum(axis=1)
    before = np.concatenate([[0], np.cumsum(size * (size - 1) // 2)[:-1]])
    return before, np.cumsum(pool.valid, axis=1) - 1


def integer_rows(answer: object, asker: str = "the design") -> NDArray[np.integer[Any]]:
    """A design's answer as an ``(n, 3)`` array of integers, or a clear error.

    Args:
        answer: what the design returned.
        asker: its name, for the message.

    Raises:
        InvalidPairs: If the answer is something else.
    """
    try:
        array = np.asarray(answer)
    except ValueError as error:
        raise InvalidPairs(f"{asker} returned something that is no array: {error}.") from error
    if array.shape == (0,):  # an empty list buys nothing
        array = np.empty((0, 3), dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise InvalidPairs(
            f"{asker} returned shape {array.shape} of dtype {array.dtype}; "
            "expected (n, 3) rows (prompt, first, second)."
        )
    if np.issubdtype(array.dtype, np.floating) and (bad := (~np.isfinite(array)).any(axis=1)).any():
        raise InvalidPairs(
            f"{asker} returned NaN or infinite indices in {bad.sum()} of {len(array)} rows; "
            "expected prompt and completion indices."
        )
    if not array.size:
        return np.empty((0, 3), dtype=np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidPairs(
            f"{asker} returned dtype {array.dtype}; expected integers: "
            "prompt and completion indices. Convert with .astype(np.int64)."
        )
    return array


def checked_pairs(answer: object, pool: Pool, limit: int, asker: str = "the design") -> Pairs:
    """A design's answer as an ``(n, 3)`` int64 array of proper pairs, or a clear error.

    Args:
        answer: what the design returned.
        pool: the pool that it was to choose from.
        limit: the number of labels that it may buy.
        asker: its name, for the message.

    Raises:
        InvalidPairs: If the answer is no integer array ``(n, 3)``, or a row is no proper pair.
        BudgetExceeded: If it has more than ``limit`` rows.
    """
    array = integer_rows(answer, asker)
    if len(array) > limit:
        raise BudgetExceeded(
            f"{asker} asked for {len(array)} pairs, where {limit} labels are left. "
            "Return at most view.budget_left pairs."
        )
    if array.size and (array > np.iinfo(np.int64).max).any():
        raise InvalidPairs(f"{asker} returned an index that no int64 can hold.")
    pairs: Pairs = array.astype(np.int64)
    if (bad := np.flatnonzero(~pool.proper(pairs))).size:
        raise InvalidPairs(
            f"{asker} returned {len(bad)} improper of {len(pairs)} pairs, the first at row "
            f"{bad[0]}: {what_is_wrong(pairs[bad[0]], pool)}"
        )
    return pairs


def checked_prompts(
    answer: object, hidden: NDArray[np.int64], most: int | None, asker: str = "the design"
) -> NDArray[np.int64]:
    """A design's wish for new completions as an ``(m,)`` int64 array of prompts, or a clear error.

    Args:
        answer: what the design returned.
        hidden: how many completions of each prompt can still be generated, ``(n_prompts,)``.
        most: how many the budget buys, None for any number.
        asker: its name, for the message.

    Raises:
        InvalidPairs: If it is no integer array ``(m,)`` of prompts that completions are left for.
        BudgetExceeded: If it has more than ``most`` entries.
    """
    prompts = np.asarray(answer)
    if prompts.shape == (0,):
        return np.empty(0, dtype=np.int64)
    if prompts.ndim != 1 or not np.issubdtype(prompts.dtype, np.integer):
        raise InvalidPairs(
            f"{asker} wants completions for shape {prompts.shape} of dtype {prompts.dtype}; "
            "expected (m,) integers: a prompt for each completion to be generated."
        )
    if most is not None and len(prompts) > most:
        raise BudgetExceeded(
            f"{asker} wants {len(prompts)} completions generated, where the money buys {most}. "
            "See view.money_left and view.ledger.prices."
        )
    if (outside := (prompts < 0) | (prompts >= len(hidden))).any():
        raise InvalidPairs(
            f"{asker} wants a completion for prompt {prompts[outside][0]}, which is outside the "
            f"pool: it has prompts 0 to {len(hidden) - 1}."
        )
    wanted = np.bincount(prompts, minlength=len(hidden))
    if (over := np.flatnonzero(wanted > hidden)).size:
        raise InvalidPairs(
            f"{asker} wants {wanted[over[0]]} completions for prompt {over[0]}, where "
            f"{hidden[over[0]]} can be generated. See view.hidden."
        )
    return prompts.astype(np.int64)


def what_is_wrong(row: NDArray[np.int64], pool: Pool) -> str:
    """Why a row of indices is no proper pair."""
    prompt, first, second = (int(x) for x in row)
    if not 0 <= prompt < pool.n_prompts:
        return f"prompt {prompt} is outside the pool, which has prompts 0 to {pool.n_prompts - 1}."
    last = pool.n_completions - 1
    for index in (first, second):
        if not 0 <= index <= last:
            return f"completion {index} is outside the pool, which has completions 0 to {last}."
        if not pool.valid[prompt, index]:
            return f"completion {index} of prompt {prompt} is not valid (see view.pool.valid)."
    return f"prompt {prompt} compares completion {first} with itself."


def repeats(pairs: Pairs, past: Pairs) -> NDArray[np.int64]:
    """How often each question was asked before, in ``past`` or earlier in ``pairs``, ``(n,)``.

    The order within a pair does not count: (x, i, j) and (x, j, i) are one question.
    """
    both = np.concatenate([past, pairs])
    both = np.stack([both[:, 0], both[:, 1:].min(axis=1), both[:, 1:].max(axis=1)], axis=1)
    _, group = np.unique(both, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order], side="left")
    count = np.empty(len(both), dtype=np.int64)
    count[order] = np.arange(len(both)) - starts
    return count[len(past) :]


def frozen_array(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A copy that nobody can write to: its memory is an immutable ``bytes``."""
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)


def _tiles(shape: tuple[int, ...], memory: int) -> Iterator[tuple[slice, slice]]:
    n, k, d = shape
    size = max(1, memory // (8 * (k * d + 2 * k * k)))
    rows = min(k, max(1, memory // (16 * k)))
    for start in range(0, n, size):
        for row in range(0, k, rows):
            yield slice(start, min(start + size, n)), slice(row, min(row + rows, k))


def _finite(phi: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which completions have finite features, ``(N, K)``; large arrays are not copied."""
    parts = []
    for start in range(0, len(phi), 4096):
        parts.append(np.isfinite(phi[start : start + 4096]).all(axis=2))
        if isinstance(phi, np.memmap):
            _release(phi)
    return np.concatenate(parts)


def _release(mapped: "np.memmap[Any, Any]") -> None:
    """Let go of the pages that were read, which count as this process's memory otherwise."""
    base: Any = mapped
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def _shaped(
    name: str, values: ArrayLike, shape: tuple[int, ...], dtype: type = np.float64
) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != shape:
        raise InvalidPool(f"{name} must have shape {shape} to match features, got {array.shape}.")
    return array


def _those(what: str, index: NDArray[np.intp]) -> str:
    shown = ", ".join(str(i) for i in index[:5])
    return f"{len(index)} {what}s ({shown}{', …' if len(index) > 5 else ''})"
