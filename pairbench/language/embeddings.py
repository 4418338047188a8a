"""Features of completions as a language model sees them: hidden states and score vectors.

Both are raw: bring hidden states to one variance by :func:`pairbench.features.standardised`, and
score vectors, whose inner products mean something, to one scale by
:func:`pairbench.features.scaled`.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, did_you_mean
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import not_numbers
from pairbench.language.tokens import Tokens, tokenised
from pairbench.pool import Pool

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "last")

_READ = 2**13  # tokens that are read at once
_DERIVED = 2**11  # the same where gradients are taken, which keep all that is computed
_TEXTS = 128  # whose gradients are taken at once; beyond it nothing is won
_GRADIENTS = 2**26  # numbers that their gradients may have
_ROWS = 2**15  # of the projection that are in memory at once


def hidden_features(
    checkpoint: Checkpoint, texts: Pool | Tokens, pooling: str = "mean", *, ends: bool = True
) -> NDArray[np.float32]:
    """The last hidden states of the completions, ``(n_prompts, n_completions, width)``.

    They are read after their prompts, and the same text has the same features to the last digit.
    How texts are batched changes features by rounding only: by 1e-5 of them in float32.

    Args:
        checkpoint: a causal language model.
        texts: a pool of texts, or their tokens.
        pooling: ``"mean"`` over a completion's tokens, or its ``"last"`` token's.
        ends: whether the EOS token belongs to a completion; of no effect on tokens.

    Returns:
        The features; 0 where there is no completion.

    Raises:
        InvalidParameter: If there is no such pooling.
        InvalidPool: If the pool has no texts, or they are empty or too long.
        TrainingFailed: If the hidden states are not numbers.
    """
    if pooling not in POOLINGS:
        near = did_you_mean(pooling, POOLINGS)
        raise InvalidParameter(f"pooling must be 'mean' or 'last', got {pooling!r}.{near}")
    import torch

    distinct, where = _tokens(checkpoint, texts, ends).distinct()
    # Without the head, which would say something of all words in the vocabulary.
    decoder = checkpoint.model.get_decoder()
    rows: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    for places, ids, mask, said in distinct.batches(_READ):
        if pooling == "last":
            said = said & (said[:, ::-1].cumsum(axis=1)[:, ::-1] == 1)
        with torch.inference_mode():
            hidden = decoder(
                input_ids=torch.from_numpy(ids).to(checkpoint.device),
                attention_mask=torch.from_numpy(mask).to(checkpoint.device),
                use_cache=False,
            ).last_hidden_state.float()
            taken = torch.from_numpy(said).to(checkpoint.device)[:, :, None]
            # Not a product with 0 or 1: what comes after a text's end may be anything.
            total = hidden.where(taken, 0.0).sum(dim=1)
            rows.append((total / taken.sum(dim=1)).cpu().numpy())
        order.append(places[:, 0])
    return _spread(np.concatenate(rows), np.concatenate(order), where, "hidden states")


def score_vectors(
    checkpoint: Checkpoint,
    texts: Pool | Tokens,
    dim: int,
    seed: int = 0,
    *,
    parameters: str | None = None,
    ends: bool = True,
) -> NDArray[np.float32]:
    """Score vectors ∇_θ log P_θ(y|x), projected to ``(n_prompts, n_completions, dim)``.

    They are the features of the theory for any policy (Han, Goyal, Ma, arXiv 2606.19607; see
    :mod:`pairbench.information.fisher`). P_θ is the model's own probability of the completion's
    tokens; that of a policy over the pool differs by what all completions of a prompt share.

    The projection is g ↦ Rg/√dim, where R holds random signs, so inner products are kept on
    average, with a standard deviation of about ‖g‖‖g'‖/√dim (Johnson and Lindenstrauss 1984;
    Achlioptas 2003). Each sign is a function of the seed, the parameter's name and the place in it,
    and of the projected vector's entry; so R is never in memory as a whole, scores for some
    parameters and for the others sum to those for all, and the first entries are, up to the scale,
    those of a smaller ``dim``.

    A trace criterion of design tr(C (Σ + λ)⁻¹) comes out too small, by a share of d_e/dim or a
    little less, d_e = tr(Σ (Σ + λ)⁻¹) being the number of dimensions that the labels determine:
    what is projected mixes directions that nothing is known of with such as labels tell of. For 5 %
    take 15 d_e; to see which pairs are best, two to five d_e are enough
    (docs/projection.md).

    Gradients are exact, of each text on its own, by reverse mode. (Forward mode, one pass over all
    texts for each row of R, holds no gradient in memory, but takes 20 to 50 times as long for 64
    entries.) Models in which tokens of a batch choose their way, as mixtures of experts, may not
    work under ``torch.func.vmap``.

    Args:
        checkpoint: a causal language model, which may be a ``peft`` model: its adapters alone
            require gradients, and only those count.
        texts: a pool of texts, or their tokens.
        dim: entries of a projected score.
        seed: of the projection, 0 or more.
        parameters: a regular expression that is found in the names of the parameters to derive by;
            all that require gradients if not given.
        ends: whether the EOS token belongs to a completion; of no effect on tokens.

    Returns:
        The features; 0 where there is no completion.

    Raises:
        InvalidParameter: If ``dim`` is not positive, the seed is negative, or no parameter is
            meant.
        InvalidPool: If the pool has no texts, or they are empty or too long.
        TrainingFailed: If a gradient is not a number.
    """
    if dim < 1:
        raise InvalidParameter(f"dim must be 1 or more, got {dim}.")
    if seed < 0:
        raise InvalidParameter(f"seed must be 0 or more, got {seed}.")
    weights = _derived_by(checkpoint.model, parameters)
    distinct, where = _tokens(checkpoint, texts, ends).distinct()
    size = sum(values.numel() for values in weights.values())
    most = max(1, min(_TEXTS, _GRADIENTS // size))
    rows: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    for places, ids, _, said in distinct.batches(_DERIVED):
        for start in range(0, len(ids), most):
            some = slice(start, start + most)
            gradients = _gradients(checkpoint.model, weights, ids[some], said[some])
            rows.append(_projected(gradients, dim, seed).cpu().numpy())
        order.append(places[:, 0])
    return _spread(np.concatenate(rows), np.concatenate(order), where, "gradients")


def _tokens(checkpoint: Checkpoint, texts: Pool | Tokens, ends: bool) -> Tokens:
    if isinstance(texts, Tokens):
        return texts
    return tokenised(texts, checkpoint.tokenizer, checkpoint.context, ends=ends)


def _spread(
    rows: NDArray[np.float32], order: NDArray[np.int64], where: NDArray[np.int64], what: str
) -> NDArray[np.float32]:
    """Rows of distinct texts, which were read in some order, at all places that have them."""
    if not np.isfinite(rows).all():
        raise not_numbers(what)
    of_text = np.empty_like(rows)
    of_text[order] = rows
    return np.where(where[:, :, None] >= 0, of_text[where], np.float32(0))


def _derived_by(model: Any, parameters: str | None) -> "dict[str, torch.Tensor]":
    """The parameters that scores are derivatives by, each once if layers share it."""
    free = {k: v.detach() for k, v in model.named_parameters() if v.requires_grad}
    try:
        found = {k: v for k, v in free.items() if re.search(parameters or "", k)}
    except re.error as error:
        raise InvalidParameter(
            f"parameters must be a regular expression, got {parameters!r}: {error}."
        ) from error
    if not found:
        names = ", ".join(list(free)[:3]) + ", …" if free else "none: call requires_grad_(True)"
        raise InvalidParameter(
            "parameters must be found in the name of a parameter that requires gradients, got "
            f"{parameters!r}. There are {names}."
        )
    return found


def _gradients(
    model: Any,
    weights: "dict[str, torch.Tensor]",
    ids: NDArray[np.int64],
    said: NDArray[np.bool_],
) -> "dict[str, torch.Tensor]":
    """∇ log P of each text, ``(n, …)`` for each parameter."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # What comes after a text's end is not seen by what comes before: the mask may be the same for
    # all, so that no text's own numbers decide what is computed, as vmap wants it.
    mask = torch.ones((1, ids.shape[1]), dtype=torch.int64, device=model.device)

    def log_likelihood(
        weights: "dict[str, torch.Tensor]", ids: "torch.Tensor", said: "torch.Tensor"
    ) -> "torch.Tensor":
        inputs = {"input_ids": ids[None], "attention_mask": mask, "use_cache": False}
        logits = functional_call(model, weights, (), inputs).logits[0, :-1]
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_probs = precise.log_softmax(dim=-1).gather(1, ids[1:, None])[:, 0]
        total: torch.Tensor = log_probs.where(said[1:], 0.0).sum()
        return total

    # The other kernels of attention know no vmap. What is not derived by keeps no graph.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        gradients: dict[str, torch.Tensor] = vmap(grad(log_likelihood), in_dims=(None, 0, 0))(
            weights,
            torch.from_numpy(ids).to(model.device),
            torch.from_numpy(said).to(model.device),
        )
    return gradients


def _projected(gradients: "dict[str, torch.Tensor]", dim: int, seed: int) -> "torch.Tensor":
    """Rg/√dim of each text, ``(n, dim)``."""
    import torch

    total: Any = 0.0
    for name, values in gradients.items():
        rows = values.flatten(1)
        start = 0
        for signs in _signs(name, rows.shape[1], dim, seed, rows.device):
            part = rows[:, start : start + signs.shape[1]]
            total = total + part.to(torch.float32) @ signs.T
            start += signs.shape[1]
    projected: torch.Tensor = total / np.sqrt(dim)
    return projected


def _signs(
    name: str, size: int, dim: int, seed: int, device: "torch.device"
) -> "Iterator[torch.Tensor]":
    """The part of R that belongs to one parameter, in blocks ``(dim, ≤ _ROWS)`` of ±1."""
    import torch

    bit = torch.arange(8, dtype=torch.uint8, device=device)[:, None]
    for block, start in enumerate(range(0, size, _ROWS)):
        count = min(_ROWS, size - start)
        words = -(-count // 8)
        stream = np.random.SeedSequence(seed, spawn_key=(block, *name.encode()))
        # The same on all machines; a byte has 8 of the projected vector's entries.
        drawn = np.random.PCG64(stream).random_raw(-(-dim // 8) * words).astype("<u8")
        octets = torch.from_numpy(drawn.view(np.uint8).reshape(-1, 1, 8 * words)).to(device)
        bits = ((octets >> bit) & 1).flatten(0, 1)[:dim, :count]
        yield bits.to(torch.float32).mul_(2).sub_(1)
