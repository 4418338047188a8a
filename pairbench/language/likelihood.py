"""log P(completion | prompt) of many completions, by their prefix trees or one by one.

Completions of one prompt that begin alike share work: all V^T texts of T tokens out of V have
(V^T − 1)/(V − 1) prefixes, where one by one they have T V^T.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed
from pairbench.language.tokens import Tokens

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]

_NODES = 4096  # prefixes of one length that are read at once
_BATCH = 2**13  # tokens that are read at once, one by one
_ROWS = 2**8  # of which so many are normalised at once
_DEEP = 16  # one token after the other, a tree takes as many steps as its longest text


def log_likelihoods(model: Any, tokens: Tokens) -> Array:
    """log P(completion | prompt), ``(n_prompts, n_completions)`` nats, −inf where there is none.

    Logarithms and sums are taken in float64, whatever the model computes in.

    Args:
        model: a causal language model.
        tokens: prompts and completions.

    Raises:
        TrainingFailed: If the model's logits are not numbers.
    """
    short = tokens.completions.shape[2] <= _DEEP
    by_tree = short and 2 * _n_read(tokens) < int((tokens.completions >= 0).sum())
    return (tree_log_likelihoods if by_tree else direct_log_likelihoods)(model, tokens)


def tree_log_likelihoods(model: Any, tokens: Tokens) -> Array:
    """The same, each prefix being read once, one token at a time with its prompt's cache."""
    parts = [_read(model, tokens.prompts[tree.prompts], tree) for tree in _trees(tokens)]
    return _checked(np.where(tokens.completions[:, :, 0] >= 0, np.concatenate(parts), -np.inf))


def direct_log_likelihoods(model: Any, tokens: Tokens, batch: int = _BATCH) -> Array:
    """The same, each completion being read with its prompt.

    Args:
        model: a causal language model.
        tokens: prompts and completions.
        batch: tokens, padding included, that are read at once.
    """
    import torch

    result = np.full(tokens.completions.shape[:2], -np.inf)
    for places, ids, mask, said in tokens.batches(batch):
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(ids).to(model.device),
                attention_mask=torch.from_numpy(mask).to(model.device),
                use_cache=False,
            ).logits[:, :-1]
            at = torch.from_numpy(said[:, 1:]).to(model.device)
            wanted = torch.from_numpy(ids[:, 1:]).to(model.device)[at]
            # Some at a time: of a large vocabulary, float64 takes more memory than the model.
            parts = zip(torch.split(logits[at], _ROWS), torch.split(wanted, _ROWS), strict=True)
            chosen = [_log_probs(part).gather(1, token[:, None])[:, 0] for part, token in parts]
            values = torch.cat(chosen).cpu().numpy()
        texts = np.repeat(np.arange(len(ids)), said.sum(axis=1))
        result[places[:, 0], places[:, 1]] = np.bincount(texts, values, len(ids))
    return _checked(result)


def not_numbers(what: str) -> TrainingFailed:
    """The error for a model whose outputs are not finite.

    Args:
        what: these outputs.
    """
    return TrainingFailed(
        f"the model's {what} are not numbers (NaN). It may have diverged, or its dtype is too "
        "narrow: try float32."
    )


class _Level(NamedTuple):
    """What is done with the prefixes of one length, which are numbered.

    Attributes:
        texts: the texts that go on, ``(m,)``.
        nodes: the prefix of each, ``(m,)``.
        tokens: its next token, ``(m,)``.
        parents: of each prefix of the next length that some text goes beyond, the prefix of this
            one that it continues, ``(n,)``.
        steps: and by which token, ``(n,)``.
    """

    texts: NDArray[np.int64]
    nodes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    steps: NDArray[np.int64]


class _Tree(NamedTuple):
    """The prefixes of some prompts' completions.

    Attributes:
        prompts: which prompts.
        shape: how many they are, and how many completions each has.
        levels: the first is that of the prompts themselves.
    """

    prompts: slice
    shape: tuple[int, int]
    levels: list[_Level]


@lru_cache(maxsize=8)
def _trees(tokens: Tokens) -> list[_Tree]:
    """The trees of all prompts, kept for the next model that reads them."""
    n, k, _ = tokens.completions.shape
    size = max(1, _NODES // k)
    return [
        _tree(tokens.completions, slice(start, min(start + size, n))) for start in range(0, n, size)
    ]


def _tree(completions: NDArray[np.int64], prompts: slice) -> _Tree:
    n, k, depth = completions[prompts].shape
    ids = completions[prompts].reshape(n * k, depth)
    node = np.repeat(np.arange(n), k)  # the prefix that each text has reached
    levels = []
    for t in range(depth):
        texts = np.flatnonzero(ids[:, t] >= 0)
        further = texts[ids[texts, t + 1] >= 0] if t + 1 < depth else texts[:0]
        step = np.stack([node[further], ids[further, t]], axis=1)
        children, child = np.unique(step, axis=0, return_inverse=True)
        levels.append(_Level(texts, node[texts], ids[texts, t], *children.T))
        node[further] = child.reshape(-1)
    return _Tree(prompts, (n, k), levels)


def _read(model: Any, prompts: NDArray[np.int64], tree: _Tree) -> Array:
    """All texts' log P, ``(n, k)``; 0 where there is none."""
    import torch

    def on_device(values: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(model.device)

    total = np.zeros(tree.shape[0] * tree.shape[1])
    padding = on_device((prompts >= 0).astype(np.int64))
    # Prompts of one length need no mask, and are read faster without.
    mask = None if bool(padding.all()) else padding
    position = padding.sum(dim=1)
    with torch.inference_mode():
        out = model(
            input_ids=on_device(np.maximum(prompts, 0)),
            attention_mask=mask,
            position_ids=(padding.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
        )
        for level in tree.levels:
            log_probs = _log_probs(out.logits[:, -1]).cpu().numpy()
            total[level.texts] += log_probs[level.nodes, level.tokens]
            if not len(level.parents):
                break
            parents, token = on_device(level.parents), on_device(level.steps)[:, None]
            cache = out.past_key_values
            cache.batch_select_indices(parents)
            position = position[parents]
            if mask is not None:
                mask = torch.cat([mask[parents], torch.ones_like(token)], dim=1)
            out = model(
                input_ids=token,
                attention_mask=mask,
                position_ids=position[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            position = position + 1
    return total.reshape(tree.shape)


def _n_read(tokens: Tokens) -> int:
    """How many tokens are read by tree, the prompts' aside."""
    return sum(len(level.steps) for tree in _trees(tokens) for level in tree.levels)


def _log_probs(logits: "torch.Tensor") -> "torch.Tensor":
    return logits.double().log_softmax(dim=-1)


def _checked(values: Array) -> Array:
    if np.isnan(values).any():
        raise not_numbers("logits")
    return values
