"""Features of completions from a language model: hidden states and score vectors.

Both are raw: standardise hidden states by :func:`pairbench.pool.features.standardise`, and rescale
score vectors, whose inner products have a meaning, by :func:`pairbench.pool.features.rescale`.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least, check_one_of
from pairbench.errors import InvalidParameter
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import nan_error
from pairbench.language.tokens import Tokens, tokenize_pool
from pairbench.pool.pool import Pool

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "last")

_READ = 2**13  # tokens in a forward pass
_GRADIENT_TOKENS = 2**11  # tokens in a forward and backward pass, which keeps the activations
_GRADIENT_TEXTS = 128  # texts whose gradients are computed at once; more are not faster
_GRADIENTS = 2**26  # entries of these gradients, all texts together
_BLOCK = 2**15  # columns of the projection that are in memory at once


def hidden_features(
    checkpoint: Checkpoint, texts: Pool | Tokens, pooling: str = "mean", *, ends: bool = True
) -> NDArray[np.float32]:
    """Compute the last hidden states of the completions, ``(n_prompts, n_completions, width)``.

    Completions are read after their prompts. Equal texts have bit-identical features. Batching
    changes features by rounding only, in float32 by a relative error of 1e-5.

    Args:
        checkpoint: a causal language model.
        texts: a pool of texts, or their tokens.
        pooling: ``"mean"`` over the completion's tokens, or its ``"last"`` token's state.
        ends: whether the EOS token belongs to a completion; of no effect on tokens.

    Returns:
        The features; 0 where there is no completion.

    Raises:
        InvalidParameter: If there is no such pooling.
        InvalidPool: If the pool has no texts, or they are empty or too long.
        TrainingFailed: If the hidden states are NaN.
    """
    check_one_of(POOLINGS, pooling=pooling)
    import torch

    distinct, index = _tokens(checkpoint, texts, ends).deduplicate()
    # Without the head, which would compute logits over the whole vocabulary.
    decoder = checkpoint.model.get_decoder()
    features: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    for indices, ids, mask, pooled in distinct.batches(_READ):
        if pooling == "last":
            pooled = pooled & (pooled[:, ::-1].cumsum(axis=1)[:, ::-1] == 1)
        with torch.inference_mode():
            hidden = decoder(
                input_ids=torch.from_numpy(ids).to(checkpoint.device),
                attention_mask=torch.from_numpy(mask).to(checkpoint.device),
                use_cache=False,
            ).last_hidden_state.float()
            selected = torch.from_numpy(pooled).to(checkpoint.device)[:, :, None]
            # Not a product with the mask: states at padding may be infinite or NaN.
            total = hidden.where(selected, 0.0).sum(dim=1)
            features.append((total / selected.sum(dim=1)).cpu().numpy())
        order.append(indices[:, 0])
    return _scatter(np.concatenate(features), np.concatenate(order), index, "hidden states")


def score_vectors(
    checkpoint: Checkpoint,
    texts: Pool | Tokens,
    dim: int,
    seed: int = 0,
    *,
    parameters: str | None = None,
    ends: bool = True,
) -> NDArray[np.float32]:
    """Compute score vectors ∇_θ log P_θ(y|x), projected to ``(n_prompts, n_completions, dim)``.

    They are the features of the theory for any policy (Han, Goyal, Ma, arXiv 2606.19607; see
    :mod:`pairbench.information.fisher`). P_θ is the model's own probability of the completion's
    tokens; the score of a policy over the pool differs from it by a term that all completions of a
    prompt share.

    The projection is g ↦ Rg/√dim, where R is a matrix of random signs, so inner products are
    preserved in expectation, with a standard deviation of about ‖g‖‖g'‖/√dim (Johnson and
    Lindenstrauss 1984; Achlioptas 2003). Each sign is a function of the seed, the parameter's name
    and the index in it, and of the projected vector's entry; so R is never in memory as a whole,
    scores for some parameters and for the others sum to those for all, and the first entries are,
    up to the scale, those of a smaller ``dim``.

    The projection biases a trace criterion of design tr(C (Σ + λ)⁻¹) downwards, by a relative error
    of d_e/dim or a little less, where d_e = tr(Σ (Σ + λ)⁻¹) is the number of dimensions that the
    labels determine: it mixes directions without information with directions that labels inform.
    For an error of 5 % take 15 d_e; to find the best pairs, two to five d_e are enough
    (docs/projection.md).

    Gradients are exact, of each text by itself, by reverse mode. (Forward mode, one pass over all
    texts for each row of R, holds no gradient in memory, but takes 20 to 50 times as long for 64
    entries.) Models that route the tokens of a batch, such as mixtures of experts, may not work
    under ``torch.func.vmap``.

    Args:
        checkpoint: a causal language model, which may be a ``peft`` model: then only its adapters
            require gradients, and the scores are derivatives by them.
        texts: a pool of texts, or their tokens.
        dim: entries of a projected score.
        seed: of the projection, 0 or more.
        parameters: a regular expression, searched in the names of parameters, that selects those to
            differentiate by; all that require gradients if not given.
        ends: whether the EOS token belongs to a completion; of no effect on tokens.

    Returns:
        The features; 0 where there is no completion.

    Raises:
        InvalidParameter: If ``dim`` is not positive, the seed is negative, or no parameter is
            selected.
        InvalidPool: If the pool has no texts, or they are empty or too long.
        TrainingFailed: If a gradient is NaN.
    """
    check_at_least(1, dim=dim)
    check_at_least(0, seed=seed)
    weights = _select_parameters(checkpoint.model, parameters)
    distinct, index = _tokens(checkpoint, texts, ends).deduplicate()
    size = sum(values.numel() for values in weights.values())
    n_texts = max(1, min(_GRADIENT_TEXTS, _GRADIENTS // size))
    scores: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    for indices, ids, _, completion_mask in distinct.batches(_GRADIENT_TOKENS):
        for start in range(0, len(ids), n_texts):
            chunk = slice(start, start + n_texts)
            gradients = _gradients(checkpoint.model, weights, ids[chunk], completion_mask[chunk])
            scores.append(_project(gradients, dim, seed).cpu().numpy())
        order.append(indices[:, 0])
    return _scatter(np.concatenate(scores), np.concatenate(order), index, "gradients")


def _tokens(checkpoint: Checkpoint, texts: Pool | Tokens, ends: bool) -> Tokens:
    """Tokenize a pool; tokens are returned unchanged."""
    if isinstance(texts, Tokens):
        return texts
    return tokenize_pool(texts, checkpoint.tokenizer, checkpoint.context, ends=ends)


def _scatter(
    vectors: NDArray[np.float32], order: NDArray[np.int64], index: NDArray[np.int64], name: str
) -> NDArray[np.float32]:
    """Copy the vectors of distinct texts to all completions with these texts.

    Args:
        vectors: in the order in which texts were read, ``(n, width)``.
        order: text of each vector, ``(n,)``.
        index: text of each completion, ``(n_prompts, n_completions)``, −1 where there is none.
        name: name of the vectors, plural, for the error.

    Raises:
        TrainingFailed: If an entry is not finite.
    """
    if not np.isfinite(vectors).all():
        raise nan_error(name)
    by_text = np.empty_like(vectors)
    by_text[order] = vectors
    return np.where(index[:, :, None] >= 0, by_text[index], np.float32(0))


def _select_parameters(model: Any, parameters: str | None) -> "dict[str, torch.Tensor]":
    """Select the parameters to differentiate by, each once if layers share it."""
    trainable = {k: v.detach() for k, v in model.named_parameters() if v.requires_grad}
    try:
        selected = {k: v for k, v in trainable.items() if re.search(parameters or "", k)}
    except re.error as error:
        raise InvalidParameter(
            f"parameters must be a regular expression, got {parameters!r}: {error}."
        ) from error
    if not selected:
        names = ", ".join(list(trainable)[:3]) + ", …"
        raise InvalidParameter(
            "parameters must match the name of a parameter that requires gradients, got "
            f"{parameters!r}. There are "
            f"{names if trainable else 'none: call requires_grad_(True)'}."
        )
    return selected


def _gradients(
    model: Any,
    weights: "dict[str, torch.Tensor]",
    ids: NDArray[np.int64],
    completion_mask: NDArray[np.bool_],
) -> "dict[str, torch.Tensor]":
    """Compute ∇ log P of each text, ``(n, …)`` for each parameter."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # Attention is causal, so padding on the right does not affect a text's tokens: one mask serves
    # all texts, and no control flow depends on their values, as vmap requires.
    attention_mask = torch.ones((1, ids.shape[1]), dtype=torch.int64, device=model.device)

    def log_likelihood(
        weights: "dict[str, torch.Tensor]", ids: "torch.Tensor", completion_mask: "torch.Tensor"
    ) -> "torch.Tensor":
        inputs = {"input_ids": ids[None], "attention_mask": attention_mask, "use_cache": False}
        logits = functional_call(model, weights, (), inputs).logits[0, :-1]
        promoted = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_probs = promoted.log_softmax(dim=-1).gather(1, ids[1:, None])[:, 0]
        total: torch.Tensor = log_probs.where(completion_mask[1:], 0.0).sum()
        return total

    # Other attention kernels do not support vmap. no_grad: other parameters keep no graph.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        gradients: dict[str, torch.Tensor] = vmap(grad(log_likelihood), in_dims=(None, 0, 0))(
            weights,
            torch.from_numpy(ids).to(model.device),
            torch.from_numpy(completion_mask).to(model.device),
        )
    return gradients


def _project(gradients: "dict[str, torch.Tensor]", dim: int, seed: int) -> "torch.Tensor":
    """Compute Rg/√dim of each text, ``(n, dim)``."""
    import torch

    total: Any = 0.0
    for name, values in gradients.items():
        flat = values.flatten(1)
        start = 0
        for signs in _signs(name, flat.shape[1], dim, seed, flat.device):
            part = flat[:, start : start + signs.shape[1]]
            total = total + part.to(torch.float32) @ signs.T
            start += signs.shape[1]
    projected: torch.Tensor = total / np.sqrt(dim)
    return projected


def _signs(
    name: str, size: int, dim: int, seed: int, device: "torch.device"
) -> "Iterator[torch.Tensor]":
    """Draw the columns of R for one parameter, in blocks ``(dim, ≤ _BLOCK)`` of ±1."""
    import torch

    bit = torch.arange(8, dtype=torch.uint8, device=device)[:, None]
    for block, start in enumerate(range(0, size, _BLOCK)):
        count = min(_BLOCK, size - start)
        words = -(-count // 8)
        stream = np.random.SeedSequence(seed, spawn_key=(block, *name.encode()))
        # Little-endian, so equal on all machines; a byte has the signs of 8 entries of a column.
        raw = np.random.PCG64(stream).random_raw(-(-dim // 8) * words).astype("<u8")
        octets = torch.from_numpy(raw.view(np.uint8).reshape(-1, 1, 8 * words)).to(device)
        bits = ((octets >> bit) & 1).flatten(0, 1)[:dim, :count]
        yield bits.to(torch.float32).mul_(2).sub_(1)
