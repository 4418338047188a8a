"""The tokens of a pool's prompts and completions, as a language model reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidPool
from pairbench.pool import Pool

_NONE = -1


class Batch(NamedTuple):
    """Texts that are read at once, ``L`` being the longest one's tokens.

    Attributes:
        places: prompt and completion of each text, ``(n, 2)``.
        ids: token ids, ``(n, L)``, each text from the left; 0 after its end.
        mask: ``(n, L)``, 1 where there is a token.
        said: ``(n, L)``, true at the completion's tokens.
    """

    places: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    said: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids; −1 where there is none.

    Attributes:
        prompts: ``(n_prompts, P)``, each at the right end of its row.
        completions: ``(n_prompts, n_completions, T)``, each at the left end of its row; rows of −1
            where the pool has no completion.
    """

    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]

    def __getitem__(self, prompts: slice) -> "Tokens":
        """Those of some prompts."""
        return Tokens(self.prompts[prompts], self.completions[prompts])

    def distinct(self) -> tuple["Tokens", NDArray[np.int64]]:
        """Each text once, as the one completion of its prompt, and where each place's is.

        Returns:
            The texts, and ``(n_prompts, n_completions)`` indices of them, −1 where there is none.
        """
        there = self.completions[:, :, 0] >= 0
        x, k = np.nonzero(there)
        whole = np.concatenate([self.prompts[x], self.completions[x, k]], axis=1)
        texts, index = np.unique(whole, axis=0, return_inverse=True)
        where = np.full(there.shape, _NONE)
        where[there] = index.reshape(-1)
        head = self.prompts.shape[1]
        return Tokens(texts[:, :head], texts[:, None, head:]), where

    def batches(self, size: int) -> Iterator[Batch]:
        """All texts, those of like length together, the longest first.

        Args:
            size: tokens of a batch, padding included; it holds one text at least.
        """
        places = np.argwhere(self.completions[:, :, 0] >= 0)
        head = (self.prompts >= 0).sum(axis=1)[places[:, 0]]
        length = head + (self.completions >= 0).sum(axis=2)[places[:, 0], places[:, 1]]
        order = np.argsort(-length, kind="stable")
        start = 0
        while start < len(order):
            longest = int(length[order[start]])
            rows = order[start : start + max(1, size // longest)]
            start += len(rows)
            x, k = places[rows].T
            # A prompt ends where its completions begin, so that a text is one stretch of its row.
            whole = np.concatenate([self.prompts[x], self.completions[x, k]], axis=1)
            place = np.arange(longest)
            at = np.minimum(
                place + (self.prompts.shape[1] - head[rows])[:, None], whole.shape[1] - 1
            )
            there = place < length[rows, None]
            ids = np.where(there, np.take_along_axis(whole, at, axis=1), 0)
            said = there & (place >= head[rows, None])
            yield Batch(places[rows], ids, there.astype(np.int64), said)


@lru_cache(maxsize=8)
def tokenised(pool: Pool, tokenizer: Any, context: int, *, ends: bool = True) -> Tokens:
    """The tokens of all texts, kept for the next model that reads them.

    As TRL has it, a completion's tokens are those of prompt and completion together, without the
    prompt's.

    Args:
        pool: with the texts of prompts and completions.
        tokenizer: the model's.
        context: how many tokens it reads at most, prompt and completion together.
        ends: whether a completion ends with the EOS token, as TRL appends it.

    Raises:
        InvalidPool: If texts are not known, a completion has no token, or is too long.
    """
    prompts, texts = known_texts(pool)
    end = tokenizer.eos_token if ends else ""
    if end is None:
        raise InvalidPool(
            "the tokenizer has no EOS token to end a completion with. Set one: "
            "tokenizer.eos_token = '…'; tokenizer.save_pretrained(FOLDER)."
        )
    heads = _ids(tokenizer, list(prompts))
    places = np.argwhere(pool.valid)
    whole = _ids(
        tokenizer,
        [
            prompts[x] + text + ("" if ends and text.endswith(end) else end)
            for x, k in places.tolist()
            for text in [texts[x][k]]
        ],
    )
    # Tokens may merge across the boundary; a prompt then ends where all of its completions agree.
    begins = np.array([len(head) for head in heads])
    for (x, _), ids in zip(places.tolist(), whole, strict=True):
        begins[x] = min(begins[x], _common(heads[x], ids))
    tails = [ids[begins[x] :] for (x, _), ids in zip(places.tolist(), whole, strict=True)]
    for (x, k), ids, tail in zip(places.tolist(), whole, tails, strict=True):
        if not tail:
            raise InvalidPool(
                f"completion {k} of prompt {x} is empty: it has no token. Leave it out (valid)."
            )
        if len(ids) > context:
            raise InvalidPool(
                f"completion {k} of prompt {x} has {len(ids)} tokens with its prompt, but the "
                f"model reads {context}. Shorten the prompt, or leave the completion out (valid)."
            )
    if (few := np.flatnonzero(begins == 0)).size:
        raise InvalidPool(
            f"prompt {few[0]} has no token, so that nothing comes before its completions. Begin "
            "prompts with the tokenizer's BOS token."
        )
    prompt_ids = np.full((pool.n_prompts, begins.max()), _NONE)
    for x, head in enumerate(heads):
        prompt_ids[x, prompt_ids.shape[1] - begins[x] :] = head[: begins[x]]
    completions = np.full((*pool.valid.shape, max(map(len, tails))), _NONE)
    for (x, k), tail in zip(places.tolist(), tails, strict=True):
        completions[x, k, : len(tail)] = tail
    return Tokens(prompt_ids, completions)


def known_texts(pool: Pool) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The texts of a pool's prompts and of their completions.

    Raises:
        InvalidPool: If it does not know them.
    """
    if pool.prompts is None or pool.texts is None:
        missing = "prompts" if pool.prompts is None else "completions"
        raise InvalidPool(
            f"a language model reads texts, but this pool does not know those of its {missing}. "
            "Give Pool(prompts=…, texts=…)."
        )
    return pool.prompts, pool.texts


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
    return ids


def _common(a: list[int], b: list[int]) -> int:
    """How many tokens two texts begin with alike."""
    if b[: len(a)] == a:
        return len(a)
    return next(i for i, x in enumerate(a) if i >= len(b) or x != b[i])
