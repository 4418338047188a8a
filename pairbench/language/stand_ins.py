"""Stand-ins for large models in tests: trained on synthetic texts in seconds, and cached."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench._util.files import write_atomic
from pairbench.language.checkpoints import silence_transformers
from pairbench.language.model_cache import cache_model
from pairbench.language.supervised import label_loss, next_token_loss, preference_loss, train
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer

CONTEXT = 32
"""Context length of the models, tokens."""
_BATCH = 32


def train_policy(architecture: str, texts: Sequence[str], steps: int = 300) -> str:
    """Train a language model on texts, or load it from the cache; return its folder.

    Args:
        architecture: one of :func:`pairbench.language.tiny.tiny_model`'s.
        texts: training texts, of words separated by white space; the model also learns to end them.
        steps: number of training steps.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer(texts)
        model = tiny_model(architecture, tokenizer)
        ids = _ids(tokenizer, [f"{text} {tokenizer.eos_token}" for text in texts])
        loss = next_token_loss(model, lambda rng: ids[rng.integers(len(ids), size=_BATCH)])
        train(model, loss, steps=steps, learning_rate=5e-3, seed=0)
        save_model(folder, model, tokenizer)

    return _cache("policy", architecture, texts, steps, make)


def train_classifier(
    architecture: str, texts: Sequence[str], kinds: Sequence[str], names: Sequence[str]
) -> str:
    """Train a classifier of texts, or load it from the cache; return its folder.

    Args:
        architecture: one of :func:`pairbench.language.tiny.tiny_model`'s classifiers.
        texts: training texts, of words separated by white space.
        kinds: class of each text, by name.
        names: names of all classes, in the order of the classifier's outputs.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer(texts)
        model = tiny_model(architecture, tokenizer, labels=len(names))
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: i for i, name in enumerate(names)}
        ids = _ids(tokenizer, texts)
        classes = np.array([list(names).index(kind) for kind in kinds])

        def batch(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            rows = rng.integers(len(ids), size=_BATCH)
            return ids[rows], classes[rows]

        train(model, label_loss(model, batch), steps=200, learning_rate=2e-3, seed=0)
        save_model(folder, model, tokenizer)

    return _cache("classifier", architecture, texts, [*kinds, *names], make)


def train_reward_model(architecture: str, chosen: Sequence[str], rejected: Sequence[str]) -> str:
    """Train a reward model on preferences, or load it from the cache; return its folder.

    Args:
        architecture: one of :func:`pairbench.language.tiny.tiny_model`'s classifiers.
        chosen: the preferred text of each pair.
        rejected: the other text of each pair.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer([*chosen, *rejected])
        model = tiny_model(architecture, tokenizer)
        pairs = np.stack([_ids(tokenizer, chosen), _ids(tokenizer, rejected)])

        def batch(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            preferred, other = pairs[:, rng.integers(pairs.shape[1], size=_BATCH)]
            return preferred, other

        train(model, preference_loss(model, batch), steps=200, learning_rate=2e-3, seed=0)
        save_model(folder, model, tokenizer)

    return _cache("reward model", architecture, [*chosen, *rejected], None, make)


def cache_records(records: Sequence[dict[str, str]]) -> str:
    """Write records to a JSONL file in the cache; return its path."""

    def make(folder: Path) -> None:
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        write_atomic(folder / "data.jsonl", lines.encode())

    return str(cache_model({"data": list(records)}, make) / "data.jsonl")


def _cache(
    role: str, architecture: str, texts: Sequence[str], extra: Any, make: Callable[[Path], None]
) -> str:
    """Cache a model under its role and training data; return its folder."""
    settings = {"stand-in": role, "architecture": architecture, "texts": list(texts), "more": extra}

    def make_quietly(folder: Path) -> None:
        with (
            silence_transformers()
        ):  # transformers warns of padding that is not masked, which is intended here
            make(folder)

    return str(cache_model(settings, make_quietly))


def _tokenizer(texts: Sequence[str]) -> Any:
    words = sorted({word for text in texts for word in text.split()})
    return word_tokenizer(words, context=CONTEXT)


def _ids(tokenizer: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    encoding = tokenizer(list(texts), padding=True, return_tensors="np")
    ids: NDArray[np.int64] = encoding["input_ids"].astype(np.int64)
    return ids
