"""log P(completion | prompt) of many completions, by prefix trees or text by text.

Completions of one prompt that share a prefix share its computation: all V^T texts of T tokens from
a vocabulary of V have (V^T − 1)/(V − 1) prefixes, against T V^T tokens text by text.
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

_MAX_NODES = 4096  # prefixes of one length in a forward pass
_BATCH = 2**13  # tokens in a forward pass, text by text
_NORMALISED = 2**8  # tokens whose logits are normalised at once
_MAX_DEPTH = 16  # tokens of a completion read by tree, which takes a forward pass for each


def log_likelihoods(model: Any, tokens: Tokens) -> Array:
    """Compute log P(completion | prompt), ``(n_prompts, n_completions)`` nats.

    Logarithms and sums are taken in float64, whatever the model's dtype.

    Args:
        model: a causal language model.
        tokens: prompts and completions.

    Returns:
        The log-likelihoods; −inf where there is no completion.

    Raises:
        TrainingFailed: If the model's logits are NaN.
    """
    shallow = tokens.completions.shape[2] <= _MAX_DEPTH
    by_tree = shallow and 2 * _n_nodes(tokens) < int((tokens.completions >= 0).sum())
    return (tree_log_likelihoods if by_tree else direct_log_likelihoods)(model, tokens)


def tree_log_likelihoods(model: Any, tokens: Tokens) -> Array:
    """Compute :func:`log_likelihoods` by prefix trees, with a key-value cache.

    Each prefix is read once, by one forward pass for each length.
    """
    parts = [_evaluate(model, tokens.prompts[tree.prompts], tree) for tree in _trees(tokens)]
    return _check_not_nan(
        np.where(tokens.completions[:, :, 0] >= 0, np.concatenate(parts), -np.inf)
    )


def direct_log_likelihoods(model: Any, tokens: Tokens, batch: int = _BATCH) -> Array:
    """Compute :func:`log_likelihoods` text by text, each completion with its prompt.

    Args:
        model: a causal language model.
        tokens: prompts and completions.
        batch: number of tokens, padding included, in a forward pass.
    """
    import torch

    result = np.full(tokens.completions.shape[:2], -np.inf)
    for indices, ids, mask, completion_mask in tokens.batches(batch):
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(ids).to(model.device),
                attention_mask=torch.from_numpy(mask).to(model.device),
                use_cache=False,
            ).logits[:, :-1]
            predicted = torch.from_numpy(completion_mask[:, 1:]).to(model.device)
            targets = torch.from_numpy(ids[:, 1:]).to(model.device)[predicted]
            # In parts: with a large vocabulary, float64 takes more memory than the model.
            parts = zip(
                torch.split(logits[predicted], _NORMALISED),
                torch.split(targets, _NORMALISED),
                strict=True,
            )
            log_probs = [_log_probs(part).gather(1, token[:, None])[:, 0] for part, token in parts]
            values = torch.cat(log_probs).cpu().numpy()
        texts = np.repeat(np.arange(len(ids)), completion_mask.sum(axis=1))
        result[indices[:, 0], indices[:, 1]] = np.bincount(texts, values, len(ids))
    return _check_not_nan(result)


def nan_error(outputs: str) -> TrainingFailed:
    """Build the error for a model whose outputs are NaN.

    Args:
        outputs: the outputs' name, plural.
    """
    return TrainingFailed(
        f"the model's {outputs} are not numbers (NaN). It may have diverged, or its dtype is too "
        "narrow: try float32."
    )


class _Level(NamedTuple):
    """One level of a prefix tree: prefixes of one length, numbered, and the tokens that follow.

    Attributes:
        texts: indices of the texts that continue beyond this length, ``(m,)``.
        nodes: prefix of each of these texts, ``(m,)``.
        tokens: next token of each of these texts, ``(m,)``.
        parents: for each prefix of the next level that some text continues, its parent in this
            level, ``(n,)``.
        steps: the token that extends the parent to it, ``(n,)``.
    """

    texts: NDArray[np.int64]
    nodes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    steps: NDArray[np.int64]


class _Tree(NamedTuple):
    """Prefix trees of the completions of consecutive prompts.

    Attributes:
        prompts: slice of the prompts.
        shape: number of these prompts, and number of completions of each.
        levels: levels of the trees, from that of the prompts themselves on.
    """

    prompts: slice
    shape: tuple[int, int]
    levels: list[_Level]


@lru_cache(maxsize=8)
def _trees(tokens: Tokens) -> list[_Tree]:
    """Build the trees of all prompts; they are cached for the next model."""
    n, k, _ = tokens.completions.shape
    size = max(1, _MAX_NODES // k)
    return [
        _tree(tokens.completions, slice(start, min(start + size, n))) for start in range(0, n, size)
    ]


def _tree(completions: NDArray[np.int64], prompts: slice) -> _Tree:
    n, k, depth = completions[prompts].shape
    ids = completions[prompts].reshape(n * k, depth)
    node = np.repeat(np.arange(n), k)  # current prefix of each text
    levels = []
    for t in range(depth):
        texts = np.flatnonzero(ids[:, t] >= 0)
        longer = texts[ids[texts, t + 1] >= 0] if t + 1 < depth else texts[:0]
        step = np.stack([node[longer], ids[longer, t]], axis=1)
        children, child = np.unique(step, axis=0, return_inverse=True)
        levels.append(_Level(texts, node[texts], ids[texts, t], *children.T))
        node[longer] = child.reshape(-1)
    return _Tree(prompts, (n, k), levels)


def _evaluate(model: Any, prompts: NDArray[np.int64], tree: _Tree) -> Array:
    """Compute log P of all texts of a tree, ``(n, k)``; 0 where there is no completion."""
    import torch

    def on_device(values: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(model.device)

    total = np.zeros(tree.shape[0] * tree.shape[1])
    is_token = on_device((prompts >= 0).astype(np.int64))
    # Prompts of one length need no mask, and are read faster without.
    mask = None if bool(is_token.all()) else is_token
    position = is_token.sum(dim=1)
    with torch.inference_mode():
        out = model(
            input_ids=on_device(np.maximum(prompts, 0)),
            attention_mask=mask,
            position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0),
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


def _n_nodes(tokens: Tokens) -> int:
    """Count the tokens that are read by tree, without the prompts'."""
    return sum(len(level.steps) for tree in _trees(tokens) for level in tree.levels)


def _log_probs(logits: "torch.Tensor") -> "torch.Tensor":
    return logits.double().log_softmax(dim=-1)


def _check_not_nan(values: Array) -> Array:
    """Return values unchanged, or raise if one is NaN."""
    if np.isnan(values).any():
        raise nan_error("logits")
    return values
