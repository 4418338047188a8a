"""Scoring by a reward model, against a plain loop over ``transformers.pipeline``.

By ``pytest tests/benchmarks/test_rewards.py --benchmark-enable``. The gain is what a small model's
start costs for each text, or what padding costs where the loop goes by batches of 32.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pairbench.language.rewards import RewardModel, text_scores
from pairbench.language.tiny import byte_tokenizer, save_model, tiny_model

TEXTS = 256


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["distilbert", "llama-classifier"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    tokenizer = byte_tokenizer(512)
    model = tiny_model(request.param, tokenizer, width=64, layers=4, heads=4)
    return save_model(tmp_path / "model", model, tokenizer)


@pytest.fixture
def texts() -> list[tuple[str, str]]:
    """Of mixed length, 5 to 500 tokens: log-normal, with a median of 32 and a mean of 50."""
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(32), 1, size=TEXTS)), 5, 500).astype(int)
    letters = np.array([*"abcdefgh "])
    return [("", "".join(rng.choice(letters, size=length))) for length in lengths]


def test_ours(
    benchmark: BenchmarkFixture,
    folder: str,
    texts: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = iter(range(100))
    text_scores(texts[:1], folder)  # loads the model, as the pipeline has it

    def anew() -> None:
        monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / f"cache-{next(rounds)}"))

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: text_scores(texts, RewardModel(folder)), setup=anew, rounds=3, iterations=1
    )


@pytest.mark.parametrize("batch", [1, 32])
def test_pipeline(
    benchmark: BenchmarkFixture, folder: str, texts: list[tuple[str, str]], batch: int
) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", folder, device="cpu", batch_size=batch)
    read = [text for _, text in texts]
    parts = [read[start : start + batch] for start in range(0, TEXTS, batch)]
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: [classify(part, function_to_apply="none") for part in parts],
        rounds=3,
        iterations=1,
    )
