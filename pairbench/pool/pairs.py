"""Numbering of the pairs of a pool, and checks of pairs that designs return."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import BudgetExceeded, InvalidPairs
from pairbench.pool.pool import Pairs, Pool


def pair_numbers(pool: Pool, pairs: Pairs) -> NDArray[np.int64]:
    """Return each pair's index in ``np.argwhere(pool.pair_mask)``, ``(m,)``, in either order.

    Args:
        pool: the pool that the pairs index.
        pairs: ``(m, 3)``.
    """
    prompt, first, second = pairs.T
    offsets, positions = _offsets_and_positions(pool)
    i, j = np.sort([positions[prompt, first], positions[prompt, second]], axis=0)
    size = pool.valid.sum(axis=1)[prompt]
    numbers: NDArray[np.int64] = offsets[prompt] + i * (2 * size - i - 1) // 2 + j - i - 1
    return numbers


def pairs_from_numbers(pool: Pool, numbers: NDArray[np.int64]) -> Pairs:
    """Return the pairs of these numbers, ``(m, 3)`` with ``first < second``.

    The inverse of :func:`pair_numbers`. Memory does not grow with the number of pairs in the pool.

    Args:
        pool: the pool.
        numbers: ``(m,)``, 0 to ``pool.n_pairs`` − 1.
    """
    offsets, _ = _offsets_and_positions(pool)
    prompt = np.searchsorted(offsets, numbers, side="right") - 1
    size = pool.valid.sum(axis=1)
    # Counted from the last pair, the rows of the triangle hold 1, 2, 3 … pairs.
    after = size[prompt] * (size[prompt] - 1) // 2 - 1 - (numbers - offsets[prompt])
    row = (np.sqrt(8 * after + 1).astype(np.int64) - 1) // 2
    i = size[prompt] - 2 - row
    j = size[prompt] - 1 - (after - row * (row + 1) // 2)
    return np.stack([prompt, pool.valid_first[prompt, i], pool.valid_first[prompt, j]], axis=1)


def _offsets_and_positions(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each prompt's first pair number and each completion's rank among the valid ones.

    Returns:
        ``(N,)`` and ``(N, K)``.
    """
    size = pool.valid.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(size * (size - 1) // 2)[:-1]])
    return offsets, np.cumsum(pool.valid, axis=1) - 1


def as_integer_triples(answer: object, asker: str = "the design") -> NDArray[np.integer[Any]]:
    """Convert what a design returned to integer triples, ``(n, 3)``.

    Args:
        answer: what the design returned.
        asker: the design's name, for the message.

    Raises:
        InvalidPairs: If it is not an array of integers ``(n, 3)``.
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


def check_pairs(answer: object, pool: Pool, limit: int, asker: str = "the design") -> Pairs:
    """Convert what a design returned to proper pairs of a pool, ``(n, 3)`` int64.

    Args:
        answer: what the design returned.
        pool: the pool to choose from.
        limit: the number of labels that the design may buy.
        asker: the design's name, for the message.

    Raises:
        InvalidPairs: If it is not an integer array ``(n, 3)``, or a row is not a proper pair.
        BudgetExceeded: If it has more than ``limit`` rows.
    """
    array = as_integer_triples(answer, asker)
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
            f"{bad[0]}: {explain_improper_pair(pairs[bad[0]], pool)}"
        )
    return pairs


def check_prompts(
    answer: object, hidden: NDArray[np.int64], most: int | None, asker: str = "the design"
) -> NDArray[np.int64]:
    """Convert a design's request for new completions to prompt indices, ``(m,)`` int64.

    Args:
        answer: what the design returned: a prompt for each completion to generate.
        hidden: how many completions of each prompt can still be generated, ``(n_prompts,)``.
        most: how many the budget buys, None for any number.
        asker: the design's name, for the message.

    Raises:
        InvalidPairs: If it is not an integer array ``(m,)`` of prompts whose completions can still
            be generated.
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
    requested = np.bincount(prompts, minlength=len(hidden))
    if (over := np.flatnonzero(requested > hidden)).size:
        raise InvalidPairs(
            f"{asker} wants {requested[over[0]]} completions for prompt {over[0]}, where "
            f"{hidden[over[0]]} can be generated. See view.hidden."
        )
    return prompts.astype(np.int64)


def explain_improper_pair(row: NDArray[np.int64], pool: Pool) -> str:
    """Explain in a sentence why an index triple is not a proper pair of the pool.

    Args:
        row: ``(3,)``, prompt, first and second completion.
        pool: the pool that it should index.
    """
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


def count_repeats(pairs: Pairs, past: Pairs) -> NDArray[np.int64]:
    """Count how often each pair occurs before, in ``past`` or earlier in ``pairs``, ``(n,)``.

    The order within a pair does not count: (x, i, j) and (x, j, i) are one pair.

    Args:
        pairs: ``(n, 3)``.
        past: ``(m, 3)``, the pairs that were asked earlier.
    """
    rows = np.concatenate([past, pairs])
    rows = np.stack([rows[:, 0], rows[:, 1:].min(axis=1), rows[:, 1:].max(axis=1)], axis=1)
    _, group = np.unique(rows, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order], side="left")
    count = np.empty(len(rows), dtype=np.int64)
    count[order] = np.arange(len(rows)) - starts
    return count[len(past) :]
