"""Token ids of a pool's prompts and completions, as a language model reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidPool
from pairbench.pool.pool import Pool

_PADDING = -1

TokenIds = list[list[int]]


class Batch(NamedTuple):
    """A batch of texts, padded to the length ``L`` of the longest.

    Attributes:
        indices: prompt and completion of each text, ``(n, 2)``.
        ids: token ids, ``(n, L)``, padded on the right with 0.
        mask: attention mask, ``(n, L)``, 1 at tokens and 0 at padding.
        completion_mask: ``(n, L)``, true at the completion's tokens.
    """

    indices: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    completion_mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of prompts and completions, padded with −1.

    Attributes:
        prompts: ``(n_prompts, P)``, padded on the left.
        completions: ``(n_prompts, n_completions, T)``, padded on the right; −1 throughout where
            the pool has no completion.
    """

    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]

    def __getitem__(self, prompts: slice) -> "Tokens":
        """Select prompts with their completions."""
        return Tokens(self.prompts[prompts], self.completions[prompts])

    def deduplicate(self) -> tuple["Tokens", NDArray[np.int64]]:
        """Return each distinct text once, as the only completion of its prompt.

        Returns:
            The texts, and for each completion the index of its text, ``(n_prompts,
            n_completions)``, −1 where there is no completion.
        """
        exists = self.completions[:, :, 0] >= 0
        x, k = np.nonzero(exists)
        sequences = np.concatenate([self.prompts[x], self.completions[x, k]], axis=1)
        distinct, inverse = np.unique(sequences, axis=0, return_inverse=True)
        index = np.full(exists.shape, _PADDING)
        index[exists] = inverse.reshape(-1)
        width = self.prompts.shape[1]
        return Tokens(distinct[:, :width], distinct[:, None, width:]), index

    def batches(self, size: int) -> Iterator[Batch]:
        """Iterate over all texts in batches of similar length, the longest first.

        Args:
            size: number of tokens in a batch, padding included; a batch has at least one text.
        """
        indices = np.argwhere(self.completions[:, :, 0] >= 0)
        prompt_length = (self.prompts >= 0).sum(axis=1)[indices[:, 0]]
        completion_length = (self.completions >= 0).sum(axis=2)[indices[:, 0], indices[:, 1]]
        length = prompt_length + completion_length
        order = np.argsort(-length, kind="stable")
        start = 0
        while start < len(order):
            longest = int(length[order[start]])
            rows = order[start : start + max(1, size // longest)]
            start += len(rows)
            x, k = indices[rows].T
            # Prompts end where completions begin, so that a text is contiguous in its row.
            sequences = np.concatenate([self.prompts[x], self.completions[x, k]], axis=1)
            position = np.arange(longest)
            offset = (self.prompts.shape[1] - prompt_length[rows])[:, None]
            column = np.minimum(position + offset, sequences.shape[1] - 1)
            is_token = position < length[rows, None]
            ids = np.where(is_token, np.take_along_axis(sequences, column, axis=1), 0)
            completion_mask = is_token & (position >= prompt_length[rows, None])
            yield Batch(indices[rows], ids, is_token.astype(np.int64), completion_mask)


@lru_cache(maxsize=8)
def tokenize_pool(pool: Pool, tokenizer: Any, context: int, *, ends: bool = True) -> Tokens:
    """Tokenize all texts of a pool; the result is cached for the next model that reads them.

    As in TRL, a completion's tokens are those of prompt and completion together, without the
    prompt's.

    Args:
        pool: a pool with the texts of prompts and completions.
        tokenizer: the model's tokenizer.
        context: the model's context length, the maximum for prompt and completion together.
        ends: whether a completion ends with the EOS token, as TRL appends it.

    Raises:
        InvalidPool: If the pool has no texts, a completion has no token, or a text is too long.
    """
    prompts, texts = require_texts(pool)
    eos = _eos(tokenizer) if ends else ""
    prompt_ids = _tokenize(tokenizer, list(prompts))
    indices: list[list[int]] = np.argwhere(pool.valid).tolist()
    text_ids = _tokenize(
        tokenizer,
        [
            prompts[x] + text + ("" if ends and text.endswith(eos) else eos)
            for x, k in indices
            for text in [texts[x][k]]
        ],
    )
    # Tokens may merge across the boundary: a prompt's tokens are those that all its texts share.
    begins = np.array([len(ids) for ids in prompt_ids])
    for (x, _), ids in zip(indices, text_ids, strict=True):
        begins[x] = min(begins[x], _n_common(prompt_ids[x], ids))
    _check_lengths(indices, text_ids, begins, context)
    padded_prompts = np.full((pool.n_prompts, begins.max()), _PADDING)
    for x, ids in enumerate(prompt_ids):
        padded_prompts[x, padded_prompts.shape[1] - begins[x] :] = ids[: begins[x]]
    tails = [ids[begins[x] :] for (x, _), ids in zip(indices, text_ids, strict=True)]
    completions = np.full((*pool.valid.shape, max(map(len, tails))), _PADDING)
    for (x, k), tail in zip(indices, tails, strict=True):
        completions[x, k, : len(tail)] = tail
    return Tokens(padded_prompts, completions)


def require_texts(pool: Pool) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the texts of a pool's prompts and of its completions.

    Raises:
        InvalidPool: If the pool has none.
    """
    if pool.prompts is None or pool.texts is None:
        missing = "prompts" if pool.prompts is None else "completions"
        raise InvalidPool(
            f"a language model reads texts, but this pool does not know those of its {missing}. "
            "Give Pool(prompts=…, texts=…)."
        )
    return pool.prompts, pool.texts


def _eos(tokenizer: Any) -> str:
    """Return the EOS token as text.

    Raises:
        InvalidPool: If the tokenizer has none.
    """
    if tokenizer.eos_token is None:
        raise InvalidPool(
            "the tokenizer has no EOS token to end a completion with. Set one: "
            "tokenizer.eos_token = '…'; tokenizer.save_pretrained(FOLDER)."
        )
    return str(tokenizer.eos_token)


def _check_lengths(
    indices: list[list[int]], text_ids: TokenIds, begins: NDArray[np.int64], context: int
) -> None:
    """Raise unless every prompt and completion has a token, and every text fits into the context.

    Args:
        indices: prompt and completion of each text.
        text_ids: token ids of each text, prompt and completion together.
        begins: number of tokens of each prompt, ``(n_prompts,)``.
        context: the model's context length.

    Raises:
        InvalidPool: If one does not.
    """
    for (x, k), ids in zip(indices, text_ids, strict=True):
        if len(ids) <= begins[x]:
            raise InvalidPool(
                f"completion {k} of prompt {x} is empty: it has no token. Leave it out (valid)."
            )
        if len(ids) > context:
            raise InvalidPool(
                f"completion {k} of prompt {x} has {len(ids)} tokens with its prompt, but the "
                f"model reads {context}. Shorten the prompt, or leave the completion out (valid)."
            )
    if (empty := np.flatnonzero(begins == 0)).size:
        raise InvalidPool(
            f"prompt {empty[0]} has no token, so that nothing comes before its completions. Begin "
            "prompts with the tokenizer's BOS token."
        )


def _tokenize(tokenizer: Any, texts: list[str]) -> TokenIds:
    ids: TokenIds = tokenizer(texts, verbose=False)["input_ids"]
    return ids


def _n_common(a: list[int], b: list[int]) -> int:
    """Count the tokens of the longest common prefix of two texts."""
    if b[: len(a)] == a:
        return len(a)
    return next(i for i, x in enumerate(a) if i >= len(b) or x != b[i])
