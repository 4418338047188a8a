"""Training and scoring a small transformer, by ``pytest tests/benchmarks --benchmark-enable -s``.

On a GPT-2 of TinyLM's size (width 64, 2 layers, 4 heads, 8 words), prompts and completions of 4
tokens, one thread: DPO of sixteen runs at once against TRL's trainer, run by run (imports and
construction not counted), and all completions of prompts by prefix tree against one by one.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pairbench import Pool
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import direct_log_likelihoods, tree_log_likelihoods
from pairbench.language.tiny import tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens
from pairbench.training.fleet import TrainingTask, train_fleet
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer

RUNS, LABELS, RECIPE = 16, 256, Recipe(epochs=4)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference() -> Checkpoint:
    tokenizer = word_tokenizer("abcdefgh", context=9)
    model = tiny_model("gpt2", tokenizer, width=64, layers=2, heads=4)
    return Checkpoint("tiny", model, tokenizer, "random")


@pytest.fixture(scope="module")
def runs() -> list[TrainingTask]:
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(rng.choice([*"abcdefgh"], size=4))

    pool = Pool(
        np.zeros((100, 16, 1)),
        prompts=[text() for _ in range(100)],
        texts=[[" " + text() for _ in range(16)] for _ in range(100)],
    )
    made = []
    for _ in range(RUNS):
        both = rng.permuted(np.tile(np.arange(16), (LABELS, 1)), axis=1)[:, :2]
        pairs = np.column_stack([rng.integers(100, size=LABELS), both])
        made.append(TrainingTask(pool, pairs, (rng.random(LABELS) < 0.7).astype(np.float64), 1.0))
    return made


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_fleet(
    benchmark: BenchmarkFixture, reference: Checkpoint, runs: list[TrainingTask]
) -> None:
    from trl import DPOTrainer  # type: ignore[attr-defined]  # it is lazy

    trainer, took = TRLTrainer(reference, RECIPE, 1.0, ends=False), []

    class Timed(DPOTrainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            took.append(seconds(super().train))

    def by_trl(run: TrainingTask) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trl.DPOTrainer", Timed)
            trainer.fit(run.pool, run.beta, run.pairs, run.labels)

    benchmark(lambda: train_fleet(reference, runs, RECIPE, ends=False))
    alone = [seconds(lambda: train_fleet(reference, runs[:1], RECIPE, ends=False)) for _ in "123"]
    together = [seconds(lambda: train_fleet(reference, runs, RECIPE, ends=False)) for _ in "12"]
    for run in runs[:4]:
        by_trl(run)
    steps = RECIPE.epochs * LABELS // RECIPE.batch_size
    each, plain = min(together) / RUNS, min(took)
    print(
        f"\na step of a run: TRL {1e3 * plain / steps:.1f} ms, alone "
        f"{1e3 * min(alone) / steps:.1f} ms ({plain / min(alone):.1f} times faster), one of "
        f"{RUNS} {1e3 * each / steps:.1f} ms ({plain / each:.1f} times)"
    )


def test_enumeration(benchmark: BenchmarkFixture, reference: Checkpoint) -> None:
    every = np.array([*itertools.product(range(3, 11), repeat=4)])
    prompts = np.random.default_rng(0).integers(3, 11, size=(64, 4))
    tokens = Tokens(prompts, np.broadcast_to(every, (64, *every.shape)))
    first, tree = (seconds(lambda: tree_log_likelihoods(reference.model, tokens)) for _ in "12")
    benchmark(lambda: tree_log_likelihoods(reference.model, tokens))
    few = tokens[slice(0, 4)]
    direct = 16 * seconds(lambda: direct_log_likelihoods(reference.model, few))
    print(
        f"\n64 prompts × 4,096 completions: {tree:.2f} s by tree ({first:.2f} s the first time), "
        f"{direct:.1f} s one by one: {direct / tree:.0f} times"
    )
