"""Pool of prompts with their completions and everything about them that is public."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pairbench.errors import InvalidPool

Scalar = TypeVar("Scalar", bound=np.generic)
Pairs = NDArray[np.int64]
"""Pairs to compare, ``(n, 3)`` index triples ``(prompt, first, second)``."""


class CompletionIndex(NamedTuple):
    """Index that selects completions of a pool and regroups them into the prompts of a new one.

    Attributes:
        prompts: the old prompt behind each new one, ``(n,)``; an old prompt may occur repeatedly.
        completions: the old completions of each new prompt, ``(n, K)``, padded with −1.
        weights: the new prompts' weights, ``(n,)``, positive; they need not sum to one.
    """

    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]
    weights: NDArray[np.float64]

    def take(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Gather the indexed completions' values, ``(n, K, ...)``, from ``(N, K', ...)``.

        Padding is filled with the value of the prompt's completion 0.

        Args:
            values: of the old pool's completions, ``(N, K', ...)``.
        """
        gathered: NDArray[Scalar] = values[self.prompts[:, None], np.maximum(self.completions, 0)]
        return gathered


@dataclass(frozen=True, eq=False, init=False)
class Pool:
    """A finite pool of completions for each of N prompts.

    Arrays are copied and read-only, and their flags cannot be set back, so a pool can be handed to
    untrusted code (a pickled or deep-copied pool is writable again). Entries that are not ``valid``
    are zeroed (``log_ref``: −inf).

    Features that are a float32 ``numpy.memmap`` stay in their file and are not zeroed, so that a
    pool may be larger than memory. Code that reads them block by block (:meth:`block`,
    ``pairbench.information``) then needs little memory; ``phi`` loads them all.

    Attributes:
        features: φ, ``(n_prompts, n_completions, dim)`` float32.
        log_ref: log π_ref, ``(n_prompts, n_completions)`` nats, normalised over each prompt's pool.
        lengths: ``(n_prompts, n_completions)`` tokens.
        valid: ``(n_prompts, n_completions)`` bool, false where a prompt has no such completion.
        prompt_weights: ρ, ``(n_prompts,)``, summing to one.
        texts: the completions' texts, one tuple for each prompt, or None.
        scores: external scores of the completions, such as a reward model's, ``(n_prompts,
            n_completions)`` reward units, 0 where not valid; or None.
        prompts: the prompts' texts, or None.
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
        """Check the arrays, fill in defaults, and make read-only copies.

        Args:
            features: φ, ``(N, K, d)``.
            log_ref: log-probabilities under π_ref up to a constant for each prompt, ``(N, K)``
                nats; uniform by default.
            lengths: ``(N, K)`` tokens; ones by default.
            valid: ``(N, K)`` bool; all by default.
            prompt_weights: ``(N,)``, positive; equal by default.
            texts: N sequences of K texts.
            scores: reward units, ``(n_prompts, n_completions)``, finite for valid completions.
            prompts: N texts.

        Raises:
            InvalidPool: If shapes disagree, numbers are not finite, or a prompt has fewer than two
                completions.
        """
        phi = _feature_array(features)
        n, k, _ = phi.shape
        mask = _valid_mask(valid, (n, k))
        _check_finite_features(phi, mask)
        log_probs = _normalised_log_ref(log_ref, mask)
        tokens = _token_counts(lengths, mask)
        weights = _normalised_weights(prompt_weights, n)
        _check_texts(texts, prompts, (n, k))
        arrays = {
            "features": _read_only_features(phi, mask),
            "log_ref": freeze_array(log_probs),
            "lengths": freeze_array(tokens),
            "valid": freeze_array(mask),
            "prompt_weights": freeze_array(weights),
            "texts": None if texts is None else tuple(tuple(row) for row in texts),
            "scores": None if scores is None else freeze_array(_score_array(scores, mask)),
            "prompts": None if prompts is None else tuple(prompts),
        }
        for name, value in arrays.items():
            object.__setattr__(self, name, value)

    @property
    def n_prompts(self) -> int:
        """Number of prompts, N."""
        return int(self.features.shape[0])

    @property
    def n_completions(self) -> int:
        """Largest number of completions of a prompt, K."""
        return int(self.features.shape[1])

    @property
    def dim(self) -> int:
        """Number of features, d."""
        return int(self.features.shape[2])

    @cached_property
    def phi(self) -> NDArray[np.float64]:
        """Features in float64, ``(N, K, d)``; scores are computed from these."""
        return freeze_array(self.block(slice(None)).astype(np.float64))

    @cached_property
    def pair_mask(self) -> NDArray[np.bool_]:
        """Mask of the distinct pairs, ``(N, K, K)``: true at ``[prompt, i, j]`` with ``i < j``."""
        upper = np.triu(np.ones((self.n_completions, self.n_completions), dtype=np.bool_), 1)
        return freeze_array(self.valid[:, :, None] & self.valid[:, None, :] & upper)

    @cached_property
    def n_pairs(self) -> int:
        """Number of distinct pairs."""
        sizes = self.valid.sum(axis=1, dtype=np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    @cached_property
    def valid_first(self) -> NDArray[np.int64]:
        """Completion indices of each prompt, ``(N, K)``, the valid ones first, in their order."""
        return freeze_array(np.argsort(~self.valid, axis=1, kind="stable"))

    def tiles(self, memory: int = 2**26) -> Iterator[tuple[slice, slice]]:
        """Divide the pool into tiles whose pairs fit into memory.

        A tile is the pairs of its completions with all completions of the same prompts, so that
        together the tiles hold every pair twice. A tile has all completions of its prompts, unless
        a single prompt has too many pairs.

        Args:
            memory: bytes that a float64 copy of a tile's features and two numbers for each of its
                pairs may take; a tile has one completion at least.

        Yields:
            A slice of prompts and a slice of their completions.
        """
        yield from _tiles(self.features.shape, memory)

    def block(self, prompts: slice) -> NDArray[np.float32]:
        """Load φ of some prompts, ``(n, K, d)`` float32 in memory, zero where not valid."""
        if not isinstance(self.features, np.memmap):
            return self.features[prompts]
        block = np.array(self.features[prompts])
        _release(self.features)
        block[~self.valid[prompts]] = 0
        return block

    def project(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute φ A in float64: ``(N, K)`` for A ``(d,)``, ``(N, K, m)`` for A ``(d, m)``."""
        if not isinstance(self.features, np.memmap):
            return self.phi @ matrix
        blocks = [prompts for prompts, completions in self.tiles() if completions.start == 0]
        parts = [self.block(prompts) @ matrix for prompts in blocks]
        return np.concatenate(parts)

    def subset(self, prompts: ArrayLike) -> "Pool":
        """Return the pool of some of the prompts, their weights renormalised.

        Args:
            prompts: numpy indices or a boolean mask.
        """
        index = np.arange(self.n_prompts)[np.asarray(prompts)]
        completions = np.tile(np.arange(self.n_completions), (len(index), 1))
        return self.regroup(CompletionIndex(index, completions, self.prompt_weights[index]))

    def regroup(self, index: CompletionIndex) -> "Pool":
        """Return the pool of the indexed completions, log π_ref and weights renormalised.

        Args:
            index: the completions of each prompt of the new pool.
        """
        old_prompts, completions = index.prompts.tolist(), index.completions.tolist()
        texts, prompts = self.texts, self.prompts
        if texts is not None:
            texts = tuple(
                tuple(texts[x][k] if k >= 0 else "" for k in row)
                for x, row in zip(old_prompts, completions, strict=True)
            )
        return Pool(
            index.take(self.features),
            log_ref=index.take(np.where(self.valid, self.log_ref, 0.0)),
            lengths=index.take(self.lengths),
            valid=index.take(self.valid) & (index.completions >= 0),
            prompt_weights=index.weights,
            texts=texts,
            scores=None if self.scores is None else index.take(self.scores),
            prompts=None if prompts is None else [prompts[x] for x in old_prompts],
        )

    def with_scores(self, scores: ArrayLike) -> "Pool":
        """Return a copy of the pool with scores from outside, such as those of a reward model.

        Args:
            scores: reward units, ``(n_prompts, n_completions)``, finite for valid completions.
        """
        return self._replace(scores=scores)

    def restrict(self, mask: NDArray[np.bool_]) -> "Pool":
        """Return the pool with fewer valid completions, π_ref renormalised over them.

        The other completions' features, lengths, texts and scores are blanked.

        Args:
            mask: ``(N, K)``, true for two or more of each prompt's valid completions.
        """
        texts = self.texts
        if texts is not None:
            texts = tuple(
                tuple(text if is_in else "" for text, is_in in zip(row, is_valid, strict=True))
                for row, is_valid in zip(texts, mask.tolist(), strict=True)
            )
        return self._replace(valid=self.valid & mask, texts=texts)

    def _replace(self, **changes: Any) -> "Pool":
        """Return a pool with some of the constructor's arguments changed."""
        arguments = {
            "log_ref": np.where(self.valid, self.log_ref, 0.0),
            "lengths": self.lengths,
            "valid": self.valid,
            "prompt_weights": self.prompt_weights,
            "texts": self.texts,
            "scores": self.scores,
            "prompts": self.prompts,
        }
        return Pool(self.features, **(arguments | changes))

    def differences(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute z = φ(first) − φ(second), ``(n_pairs, d)`` float64."""
        if not isinstance(self.features, np.memmap):
            prompt, first, second = pairs.T
            z: NDArray[np.float64] = self.features[prompt, first].astype(np.float64)
            z -= self.features[prompt, second]
            return z
        z = np.empty((len(pairs), self.dim))
        # Reading one row loads whole pages of the file, so they are released every 256 pairs.
        for start in range(0, len(pairs), 256):
            prompt, first, second = pairs[start : start + 256].T
            z[start : start + 256] = self.features[prompt, first]
            z[start : start + 256] -= self.features[prompt, second]
            _release(self.features)
        return z

    def proper(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Return which rows compare two different valid completions of one prompt, ``(n,)``.

        Args:
            pairs: ``(n, 3)``; indices may be out of range.
        """
        prompt, first, second = pairs.T
        size = np.array([self.n_prompts, self.n_completions, self.n_completions])
        in_range = ((pairs >= 0) & (pairs < size)).all(axis=1)
        prompt, first, second = (np.where(in_range, x, 0) for x in (prompt, first, second))
        are_valid = self.valid[prompt, first] & self.valid[prompt, second]
        proper: NDArray[np.bool_] = in_range & (first != second) & are_valid
        return proper


def freeze_array(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a copy that can never be made writable: its memory is an immutable ``bytes``."""
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)


# -- the constructor's checks, in their order ----------------------------------------------------


def _feature_array(features: ArrayLike) -> NDArray[np.float32]:
    """Convert features to float32, ``(N, K, d)``; a float32 memory map is left in its file."""
    phi: NDArray[np.float32]
    try:
        if _is_mapped(features):
            phi = cast(Any, features)
        else:
            phi = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidPool(f"features must be an array of numbers: {error}.") from error
    if phi.ndim != 3 or 0 in phi.shape:
        raise InvalidPool(
            "features must be a non-empty array (prompts, completions, dim), "
            f"got shape {phi.shape}."
        )
    return phi


def _is_mapped(features: ArrayLike) -> bool:
    return isinstance(features, np.memmap) and features.dtype == np.float32


def _valid_mask(valid: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Convert ``valid`` to bool, ``(N, K)``, and require two completions of each prompt."""
    mask = _shaped("valid", np.ones(shape) if valid is None else valid, shape, np.bool_)
    if (bad := np.flatnonzero(mask.sum(axis=1) < 2)).size:
        raise InvalidPool(
            "every prompt needs at least two valid completions to compare; "
            f"{_listed_prompts(bad)} of {shape[0]} have fewer. Leave them out of the pool."
        )
    return mask


def _check_finite_features(phi: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    if (bad := np.flatnonzero((~_finite(phi) & mask).any(axis=1))).size:
        raise InvalidPool(
            f"features must be finite; {_listed_prompts(bad)} of {len(mask)} hold NaN or infinite "
            "values. Correct them, or mark those completions as not valid."
        )


def _normalised_log_ref(log_ref: ArrayLike | None, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Normalise log π_ref over each prompt's valid completions, ``(N, K)``, −inf elsewhere."""
    ref = _shaped("log_ref", np.zeros(mask.shape) if log_ref is None else log_ref, mask.shape)
    _check_finite_where_valid(
        "log_ref", ref, mask, "A completion that π_ref cannot produce is not part of the pool."
    )
    ref = np.where(mask, ref, -np.inf)
    ref = ref - ref.max(axis=1, keepdims=True)
    normalised: NDArray[np.float64] = ref - np.log(np.exp(ref).sum(axis=1, keepdims=True))
    return normalised


def _token_counts(lengths: ArrayLike | None, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Convert lengths to whole numbers of tokens, ``(N, K)``, 0 where not valid."""
    tokens = _shaped("lengths", np.ones(mask.shape) if lengths is None else lengths, mask.shape)
    tokens = np.where(mask, tokens, 0)
    if not ((tokens == np.floor(tokens)) & (tokens >= 0) & (tokens < 2**53)).all():
        raise InvalidPool("lengths must be whole numbers of tokens, zero or more.")
    return tokens.astype(np.int64)


def _normalised_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """Normalise prompt weights to sum to one, ``(n,)``."""
    rho = _shaped("prompt_weights", np.ones(n) if weights is None else weights, (n,))
    if not (np.isfinite(rho).all() and (rho > 0).all()):
        raise InvalidPool("prompt_weights must be positive and finite.")
    normalised: NDArray[np.float64] = rho / rho.sum()
    return normalised


def _check_texts(
    texts: Sequence[Sequence[str]] | None, prompts: Sequence[str] | None, shape: tuple[int, int]
) -> None:
    n, k = shape
    if texts is not None and (
        len(texts) != n or any(isinstance(row, str) or len(row) != k for row in texts)
    ):
        raise InvalidPool(f"texts must be {n} sequences of {k} texts, as features has them.")
    if prompts is not None and (isinstance(prompts, str) or len(prompts) != n):
        raise InvalidPool(f"prompts must be {n} texts, one for each prompt of features.")


def _score_array(scores: ArrayLike, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Convert external scores to float64, ``(N, K)``, 0 where not valid."""
    array = _shaped("scores", scores, mask.shape)
    _check_finite_where_valid(
        "scores", array, mask, "Correct them, or mark those completions as not valid."
    )
    return np.where(mask, array, 0.0)


def _read_only_features(phi: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a read-only view of a memory map, or a zero-padded immutable copy of an array."""
    if not _is_mapped(phi):
        return freeze_array(np.where(mask[:, :, None], phi, np.float32(0)))
    view = phi.view()
    view.flags.writeable = False
    return view


def _shaped(
    name: str, values: ArrayLike, shape: tuple[int, ...], dtype: type = np.float64
) -> NDArray[Any]:
    """Convert values to an array, and require this shape."""
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != shape:
        raise InvalidPool(f"{name} must have shape {shape} to match features, got {array.shape}.")
    return array


def _check_finite_where_valid(
    name: str, values: NDArray[np.float64], mask: NDArray[np.bool_], advice: str
) -> None:
    if (bad := np.flatnonzero((~np.isfinite(values) & mask).any(axis=1))).size:
        raise InvalidPool(
            f"{name} must be finite where valid; {_listed_prompts(bad)} of {len(mask)} hold other "
            f"values. {advice}"
        )


def _listed_prompts(index: NDArray[np.intp]) -> str:
    """Name prompts in a message: their number, and the first five of them."""
    numbers = ", ".join(str(i) for i in index[:5])
    return f"{len(index)} prompts ({numbers}{', …' if len(index) > 5 else ''})"


# -- features larger than memory -----------------------------------------------------------------


def _tiles(shape: tuple[int, ...], memory: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of a pool of this shape; see :meth:`Pool.tiles`."""
    n, k, d = shape
    n_prompts = max(1, memory // (8 * (k * d + 2 * k * k)))
    n_completions = min(k, max(1, memory // (16 * k)))
    for x in range(0, n, n_prompts):
        for y in range(0, k, n_completions):
            yield slice(x, min(x + n_prompts, n)), slice(y, min(y + n_completions, k))


def _finite(phi: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which completions have finite features, ``(N, K)``, without copying them all."""
    parts = []
    for start in range(0, len(phi), 4096):
        parts.append(np.isfinite(phi[start : start + 4096]).all(axis=2))
        if isinstance(phi, np.memmap):
            _release(phi)
    return np.concatenate(parts)


def _release(mapped: "np.memmap[Any, Any]") -> None:
    """Release the pages read so far, which otherwise count as this process's memory."""
    base: Any = mapped
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
