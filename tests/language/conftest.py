"""Small models of all architectures, and pools of words for them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairbench import Pool
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer

WORDS = tuple("abcdefgh")
DECODERS = ("gpt2", "gpt_neox", "llama", "qwen2")
MakeWords = Callable[..., Pool]


@pytest.fixture(scope="session", params=DECODERS)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A decoder of each architecture that reads words, saved and loaded."""
    tokenizer = word_tokenizer(WORDS, context=32)
    # Weights as they are drawn say nearly the same of all words.
    model = tiny_model(request.param, tokenizer, seed=1)
    for weights in model.parameters():
        weights.data *= 4.0 if weights.dim() > 1 else 1.0
    folder = save_model(tmp_path_factory.mktemp(request.param), model, tokenizer)
    return load_decoder(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def make_words() -> MakeWords:
    """Pools of random words: prompts and completions of random lengths, some missing."""

    def make(
        seed: int = 0,
        prompts: int = 5,
        completions: int = 6,
        longest: int = 4,
        shortest: int = 1,
        words: int = len(WORDS),
    ) -> Pool:
        rng = np.random.default_rng(seed)

        def text(low: int, high: int) -> str:
            return " ".join(rng.choice(WORDS[:words], size=rng.integers(low, high + 1)))

        return Pool(
            rng.normal(size=(prompts, completions, 3)),
            prompts=[text(1, 3) for _ in range(prompts)],
            texts=[
                [" " + text(shortest, longest) for _ in range(completions)] for _ in range(prompts)
            ],
            valid=(rng.random((prompts, completions)) < 0.8) | (np.arange(completions) < 2),
        )

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
