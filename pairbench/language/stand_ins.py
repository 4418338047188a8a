"""Models that stand in for large ones in tests: taught made-up texts in seconds, and kept."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench.files import write_whole
from pairbench.language.checkpoints import quiet
from pairbench.language.kept import kept_model
from pairbench.language.supervised import labels, next_tokens, preferences, train
from pairbench.language.tiny import save, tiny_model, word_tokenizer

CONTEXT = 32
"""Tokens that they read."""
_BATCH = 32


def taught_policy(architecture: str, texts: Sequence[str], steps: int = 300) -> str:
    """The folder of a language model that says texts like these.

    Args:
        architecture: one of :func:`pairbench.language.tiny.tiny_model`'s.
        texts: of words that white space separates, to be said whole.
        steps: of training.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer(texts)
        model = tiny_model(architecture, tokenizer)
        ids = _ids(tokenizer, [f"{text} {tokenizer.eos_token}" for text in texts])
        loss = next_tokens(model, lambda rng: ids[rng.integers(len(ids), size=_BATCH)])
        train(model, loss, steps=steps, learning_rate=5e-3, seed=0)
        save(folder, model, tokenizer)

    return _kept("policy", architecture, texts, steps, make)


def taught_classifier(
    architecture: str, texts: Sequence[str], kinds: Sequence[str], names: Sequence[str]
) -> str:
    """The folder of a classifier that tells texts apart.

    Args:
        architecture: likewise.
        texts: as above.
        kinds: the name of each text's kind.
        names: of all kinds.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer(texts)
        model = tiny_model(architecture, tokenizer, labels=len(names))
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: i for i, name in enumerate(names)}
        ids, wanted = _ids(tokenizer, texts), np.array([list(names).index(k) for k in kinds])

        def batch(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            rows = rng.integers(len(ids), size=_BATCH)
            return ids[rows], wanted[rows]

        train(model, labels(model, batch), steps=200, learning_rate=2e-3, seed=0)
        save(folder, model, tokenizer)

    return _kept("classifier", architecture, texts, [*kinds, *names], make)


def taught_reward_model(architecture: str, chosen: Sequence[str], rejected: Sequence[str]) -> str:
    """The folder of a reward model that was taught which of two texts is better.

    Args:
        architecture: likewise.
        chosen: the better ones.
        rejected: the others, in the same order.
    """

    def make(folder: Path) -> None:
        tokenizer = _tokenizer([*chosen, *rejected])
        model = tiny_model(architecture, tokenizer)
        both = np.stack([_ids(tokenizer, chosen), _ids(tokenizer, rejected)])

        def batch(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            one, other = both[:, rng.integers(both.shape[1], size=_BATCH)]
            return one, other

        train(model, preferences(model, batch), steps=200, learning_rate=2e-3, seed=0)
        save(folder, model, tokenizer)

    return _kept("reward model", architecture, [*chosen, *rejected], None, make)


def kept_data(records: Sequence[dict[str, str]]) -> str:
    """The path of a JSONL file with these records."""

    def make(folder: Path) -> None:
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        write_whole(folder / "data.jsonl", lines.encode())

    return str(kept_model({"data": list(records)}, make) / "data.jsonl")


def _kept(
    what: str, architecture: str, texts: Sequence[str], more: Any, make: Callable[[Path], None]
) -> str:
    named = {"stand-in": what, "architecture": architecture, "texts": list(texts), "more": more}

    def quietly(folder: Path) -> None:
        with quiet():  # transformers warns of padding that is not masked, as is meant here
            make(folder)

    return str(kept_model(named, quietly))


def _tokenizer(texts: Sequence[str]) -> Any:
    words = sorted({word for text in texts for word in text.split()})
    return word_tokenizer(words, context=CONTEXT)


def _ids(tokenizer: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    read = tokenizer(list(texts), padding=True, return_tensors="np")
    ids: NDArray[np.int64] = read["input_ids"].astype(np.int64)
    return ids
