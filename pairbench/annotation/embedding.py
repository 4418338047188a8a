"""Features of a pool's completions: the file's embeddings, an encoder's, or style and words."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least
from pairbench.errors import InvalidData
from pairbench.language.checkpoints import load_encoder, resolve_dtype
from pairbench.pool.corpus import Corpus
from pairbench.pool.features import (
    centre,
    lsa_features,
    principal_components,
    standardise,
    style_features,
)

_BATCH = 32
_MAX_TOKENS = 512
_ROUNDING = 1e-6  # relative, of float32, with a margin


class Features(NamedTuple):
    """Features with a description.

    Attributes:
        values: ``(n, dim)`` of the valid completions, centred within each prompt, E‖φ‖² = 1.
        source: a description of the features for the user.
    """

    values: NDArray[np.float32]
    source: str


def pool_features(
    corpus: Corpus, *, encoder: str | None = None, dim: int = 64, seed: int = 0
) -> Features:
    """Compute the features of a corpus.

    They are the encoder's embeddings if there is an encoder, else the file's embeddings, else style
    features and word features by LSA. They are centred within each prompt, because only differences
    within a prompt matter; each is scaled to the same variance; and embeddings of more than ``dim``
    dimensions are reduced to their principal components.

    Args:
        corpus: the prompts and completions.
        encoder: a Hugging Face model, as an id or a folder.
        dim: the largest number of word features or of principal components.
        seed: of the randomised SVD.

    Raises:
        InvalidParameter: If ``dim`` is not positive or the encoder cannot be loaded.
        InvalidData: If no feature differs between the completions of any prompt, or the file's
            embeddings differ in dimension.
    """
    check_at_least(1, dim=dim)
    embeddings = None
    if encoder is not None:
        raw, source = encode_texts(corpus.texts, encoder)
    elif (embeddings := corpus.embeddings()) is not None:
        raw, source = embeddings, f"the file's embeddings, {embeddings.shape[1]} dimensions"
    else:
        words = lsa_features(corpus.texts, dim, seed, fewer=True)
        raw = np.concatenate([style_features(corpus.texts), words], axis=1)
        source = "style and words"
    values = _standardised(raw, corpus)
    if values.shape[1] > dim and (encoder is not None or embeddings is not None):
        values, share = principal_components(values, dim, seed)
        source += f", reduced to {dim} which hold {share:.0%} of their variance within prompts"
    return Features(values.astype(np.float32), source)


def encode_texts(texts: list[str], encoder: str) -> tuple[NDArray[np.float32], str]:
    """Embed texts by the mean of an encoder's last hidden states over their tokens.

    Args:
        texts: the texts.
        encoder: a Hugging Face model, as an id or a folder.

    Returns:
        The embeddings, ``(n, dim)``, and a description of them for the user.

    Raises:
        InvalidParameter: If transformers is not installed or the model cannot be loaded.
    """
    # float32 unless the user sets a dtype, so that pairs do not depend on whether there is a GPU.
    checkpoint = load_encoder(encoder, dtype="float32" if resolve_dtype() == "auto" else None)
    model = checkpoint.model
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    max_tokens = min(checkpoint.context, _MAX_TOKENS)
    # Texts of similar length share a batch, which saves padding.
    order = np.argsort([-len(text) for text in texts], kind="stable")
    batches: list[NDArray[np.float32]] = []
    n_truncated = 0
    for start in range(0, len(order), _BATCH):
        tokens = checkpoint.tokenizer(
            [texts[i] for i in order[start : start + _BATCH]],
            padding=True,
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
        ).to(checkpoint.device)
        mask = tokens["attention_mask"]
        n_truncated += int((mask.sum(dim=1) >= max_tokens).sum())
        if mask.shape[1] == 0:  # the model cannot be run on a batch of empty texts
            width = batches[0].shape[1] if batches else 1
            batches.append(np.zeros((len(mask), width), dtype=np.float32))
        else:
            batches.append(_mean_hidden_states(model, tokens))
    values = np.empty((len(texts), batches[0].shape[1]), dtype=np.float32)
    values[order] = np.concatenate(batches)
    source = f"embeddings by {encoder}, {values.shape[1]} dimensions"
    if n_truncated:
        source += f" ({n_truncated:,} texts read up to their first {max_tokens} tokens)"
    return values, source


def _mean_hidden_states(model: Any, tokens: Any) -> NDArray[np.float32]:
    """Average a model's last hidden states over the tokens of each text, ``(n, dim)``."""
    import torch

    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state.float()
    weight = tokens["attention_mask"][:, :, None].to(hidden.dtype)
    mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    values: NDArray[np.float32] = mean.cpu().numpy()
    return values


def _standardised(raw: NDArray[np.float32], corpus: Corpus) -> NDArray[np.float64]:
    """Standardise features within prompts, and drop those that never vary there.

    Args:
        raw: ``(n, dim)`` of the valid completions.
        corpus: the prompts and completions.

    Returns:
        ``(n, dim')``, centred within prompts, with E‖φ‖² = 1.
    """
    grid = corpus.spread(raw.astype(np.float64))
    spread = centre(grid, corpus.valid)[corpus.valid].std(axis=0)
    # A feature that varies by rounding alone would be scaled up to the variance of the others.
    varies = spread > _ROUNDING * np.maximum(np.abs(raw).max(axis=0), spread.max())
    if not varies.any():
        raise InvalidData(
            f"the features of {corpus.path} do not tell a completion from another of its prompt: "
            "they are all equal. Give embeddings that differ, or name an encoder (--embed)."
        )
    return standardise(grid[:, :, varies], corpus.valid)[corpus.valid]
