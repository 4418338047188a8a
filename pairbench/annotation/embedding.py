"""Features of a pool's completions: its own embeddings, an encoder's, or style and words."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.annotation.pools import Corpus
from pairbench.errors import InvalidData, InvalidParameter
from pairbench.features import centred, components, lsa_features, standardised, style_features
from pairbench.language.checkpoints import checked_dtype, load_encoder

_BATCH = 32
_MAX_TOKENS = 512
_ROUNDING = 1e-6  # of float32, with room


class Features(NamedTuple):
    """Features, and what to tell of them.

    Attributes:
        values: ``(n, dim)`` of the valid completions, centred within each prompt, E‖φ‖² = 1.
        source: what they are, for people.
    """

    values: NDArray[np.float32]
    source: str


def pool_features(
    corpus: Corpus, *, encoder: str | None = None, dim: int = 64, seed: int = 0
) -> Features:
    """The features of a corpus.

    An encoder's embeddings where one is named; else the file's own; else style features, and words
    by TF-IDF and a truncated SVD. They are centred within each prompt, because only differences
    within a prompt ever matter; each is brought to the same variance; and embeddings of more than
    ``dim`` dimensions are reduced to their principal components.

    Args:
        corpus: the prompts and completions.
        encoder: a Hugging Face model, as an id or a folder.
        dim: how many word features, or components of embeddings, at most.
        seed: of the randomised SVD.

    Raises:
        InvalidParameter: If ``dim`` is not positive or the encoder cannot be loaded.
        InvalidData: If the features tell no completion from another, or the file's embeddings
            differ in dimension.
    """
    if dim < 1:
        raise InvalidParameter(f"dim must be 1 or more, got {dim}.")
    if encoder is not None:
        raw, source = encoded(corpus.texts, encoder)
    elif (given := corpus.embeddings()) is not None:
        raw, source = given, f"the file's embeddings, {given.shape[1]} dimensions"
    else:
        words = lsa_features(corpus.texts, dim, seed, fewer=True)
        raw = np.concatenate([style_features(corpus.texts), words], axis=1)
        source = "style and words"
    values = _standardised(raw, corpus)
    if values.shape[1] > dim and (encoder is not None or given is not None):
        values, share = components(values, dim, seed)
        source += f", reduced to {dim} which hold {share:.0%} of their variance within prompts"
    return Features(values.astype(np.float32), source)


def encoded(texts: list[str], encoder: str) -> tuple[NDArray[np.float32], str]:
    """The mean of an encoder's last hidden states over each text's tokens, ``(n, dim)``.

    Args:
        texts: the texts.
        encoder: a Hugging Face model, as an id or a folder.

    Returns:
        The embeddings, and what to tell of them.

    Raises:
        InvalidParameter: If transformers is not installed or the model cannot be loaded.
    """
    # Pairs should not depend on whether there is a GPU, unless somebody asks for that.
    checkpoint = load_encoder(encoder, dtype="float32" if checked_dtype() == "auto" else None)
    import torch

    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    longest = min(checkpoint.context, _MAX_TOKENS)
    # Texts of like length share a batch, so that little of it is padding.
    order = np.argsort([-len(text) for text in texts], kind="stable")
    rows: list[NDArray[np.float32]] = []
    cut = 0
    for start in range(0, len(order), _BATCH):
        batch = [texts[i] for i in order[start : start + _BATCH]]
        tokens = tokenizer(
            batch, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(checkpoint.device)
        mask = tokens["attention_mask"]
        cut += int((mask.sum(dim=1) >= longest).sum())
        if mask.shape[1] == 0:  # of empty texts there is nothing to run the model on
            rows.append(np.zeros((len(batch), rows[0].shape[1] if rows else 1), dtype=np.float32))
            continue
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state.float()
        weight = mask[:, :, None].to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        rows.append(mean.cpu().numpy())
    values = np.empty((len(texts), rows[0].shape[1]), dtype=np.float32)
    values[order] = np.concatenate(rows)
    source = f"embeddings by {encoder}, {values.shape[1]} dimensions"
    if cut:
        source += f" ({cut:,} texts read up to their first {longest} tokens)"
    return values, source


def _standardised(raw: NDArray[np.float32], corpus: Corpus) -> NDArray[np.float64]:
    """Centred within prompts and of E‖φ‖² = 1, without features that never vary there."""
    grid = corpus.spread(raw.astype(np.float64))
    spread = centred(grid, corpus.valid)[corpus.valid].std(axis=0)
    # What varies by rounding only would be blown up to the variance of the rest.
    varies = spread > _ROUNDING * np.maximum(np.abs(raw).max(axis=0), spread.max())
    if not varies.any():
        raise InvalidData(
            f"the features tell no completion of {corpus.path} from another of its prompt: they "
            "are all equal. Give embeddings that differ, or name an encoder (--embed)."
        )
    return standardised(grid[:, :, varies], corpus.valid)[corpus.valid]
