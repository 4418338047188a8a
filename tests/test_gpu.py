"""What only a GPU can show: run by pytest -m gpu where there is one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter
from pairbench.language.checkpoints import Checkpoint, load_classifier, load_decoder
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.likelihood import direct_log_likelihoods, tree_log_likelihoods
from pairbench.language.rewards import RewardModel, batched_logits, text_scores
from pairbench.language.sampling import Sampling, TransformersSampler
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.language.tokens import tokenize_pool
from pairbench.training.fleet import train_fleet
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer
from tests.training.conftest import WORDS, run_on, words

pytestmark = pytest.mark.gpu

DECODERS = ("gpt2", "gpt_neox", "llama", "qwen2")
CLASSIFIERS = ("distilbert", "llama-classifier")
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=1e-3)
BFLOAT = 2e-2
"""What bfloat16 may change on average, in units of the values' root mean square."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("PAIRBENCH_DEVICE", "PAIRBENCH_DTYPE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products of float32 in float32, as is torch's default."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def saved(folder: Path, architecture: str) -> str:
    """A model whose outputs differ from text to text."""
    tokenizer = word_tokenizer(WORDS, 64)
    model = tiny_model(architecture, tokenizer, seed=1)
    for weights in model.parameters():
        weights.data *= 4.0 if weights.dim() > 1 else 1.0
    return save_model(folder / architecture, model, tokenizer)


def both(folder: str, dtype: str = "float32") -> tuple[Checkpoint, Checkpoint]:
    """The same decoder on the CPU in float32 and on the GPU."""
    here = load_decoder(folder, device="cpu", dtype="float32")
    there = load_decoder(folder, device="cuda", dtype=dtype)
    assert there.device.type == "cuda"
    return here, there


def texts(n: int, longest: int = 60) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, longest, size=n)
    return [("a b", " " + " ".join(rng.choice(WORDS, size=size))) for size in sizes]


# -- reward models -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_scores_are_those_of_the_cpu(tmp_path: Path, architecture: str) -> None:
    folder = saved(tmp_path, architecture)
    expected = text_scores(texts(300), RewardModel(folder, device="cpu", dtype="float32"))
    size = np.sqrt((expected**2).mean())
    full = text_scores(texts(300), RewardModel(folder, device="cuda", dtype="float32"), jobs=1)
    np.testing.assert_allclose(full, expected, atol=1e-4 * size)
    # By its default, in bfloat16; single scores may be off by several roundings.
    half = text_scores(texts(300), RewardModel(folder), jobs=1)
    assert (half != full).any()
    error = np.abs(half - expected)
    assert error.mean() < BFLOAT * size
    assert error.max() < 10 * BFLOAT * size


@pytest.mark.parametrize("architecture", CLASSIFIERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 2 * BFLOAT)])
def test_neighbours_change_little(
    tmp_path: Path, architecture: str, dtype: str, tolerance: float
) -> None:
    checkpoint = load_classifier(saved(tmp_path, architecture), device="cuda", dtype=dtype)
    rng = np.random.default_rng(3)
    ids = [rng.integers(3, 11, size=size).tolist() for size in rng.integers(1, 60, size=80)]

    def outputs(order: NDArray[np.int64], tokens: int) -> NDArray[np.float64]:
        found = np.full(len(ids), np.nan)
        for rows, logits in batched_logits(checkpoint.model, [ids[i] for i in order], tokens):
            found[order[rows]] = logits[:, 0]
        return found

    alone = outputs(np.arange(80), 1)
    for tokens in (200, 2**15):
        changed = np.abs(outputs(rng.permutation(80), tokens) - alone)
        assert changed.max() < tolerance * np.sqrt((alone**2).mean())


def test_a_full_memory_halves_the_batch(tmp_path: Path) -> None:
    import torch

    folder = saved(tmp_path, "distilbert")
    expected = text_scores(texts(400), RewardModel(folder, device="cpu", dtype="float32"))
    checkpoint = load_classifier(folder, device="cuda", dtype="float32")
    checkpoint.model.config.use_cache = False
    plain, sizes = checkpoint.model.forward, list[int]()

    def forward(input_ids: Any, attention_mask: Any) -> Any:
        sizes.append(input_ids.numel())
        free, _ = torch.cuda.mem_get_info()
        if input_ids.numel() > 1000:  # which asks for more than there is, in earnest
            torch.empty(2 * free, dtype=torch.uint8, device="cuda")
        return plain(input_ids=input_ids, attention_mask=attention_mask)

    checkpoint.model.forward = forward
    ids = checkpoint.tokenizer(["".join(text) for text in texts(400)])["input_ids"]
    found = np.full(400, np.nan)
    for rows, logits in batched_logits(checkpoint.model, ids, 2**14):
        found[rows] = logits[:, 0]
    assert len([size for size in sizes if size > 1000]) > 2
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std(), rtol=1e-4)


# -- decoders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", DECODERS)
def test_likelihoods_and_features_are_those_of_the_cpu(tmp_path: Path, architecture: str) -> None:
    here, there = both(saved(tmp_path, architecture))
    pool = words(longest=4, shortest=1)
    tokens = tokenize_pool(pool, here.tokenizer, here.context)
    for of in (direct_log_likelihoods, tree_log_likelihoods):
        np.testing.assert_allclose(of(there.model, tokens), of(here.model, tokens), atol=1e-4)
    for pooling in ("mean", "last"):
        a, b = (hidden_features(at, pool, pooling) for at in (here, there))
        np.testing.assert_allclose(b, a, atol=1e-4 * np.abs(a).max())
    a, b = (score_vectors(at, pool, 16) for at in (here, there))
    np.testing.assert_allclose(b, a, atol=1e-3 * np.abs(a).max())


@pytest.mark.parametrize("architecture", DECODERS)
def test_likelihoods_in_bfloat16_are_near(tmp_path: Path, architecture: str) -> None:
    here, there = both(saved(tmp_path, architecture), "bfloat16")
    tokens = tokenize_pool(words(longest=4, shortest=1), here.tokenizer, here.context)
    expected = direct_log_likelihoods(here.model, tokens)
    by_tree, direct = (
        of(there.model, tokens) for of in (tree_log_likelihoods, direct_log_likelihoods)
    )
    for values in (by_tree, direct):
        assert np.abs(values - expected).mean() < BFLOAT * np.abs(expected).mean()


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("how", [Sampling(8), Sampling(8, temperature=0.7, top_p=0.8)])
def test_samples_are_those_of_the_cpu(tmp_path: Path, architecture: str, how: Sampling) -> None:
    here, there = both(saved(tmp_path, architecture))
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 11, size=size).tolist() for size in rng.integers(1, 6, size=50)]
    streams = rng.integers(2**32, size=(50, 3))
    expected, found, small = (
        TransformersSampler(at, how, batch)(prompts, streams)
        for at, batch in ((here, 64), (there, 64), (there, 7))
    )
    # Where a random number falls between two roundings, a text goes another way.
    for samples in (found, small):
        assert sum(a == b for a, b in zip(samples, expected, strict=True)) >= 49


def test_a_full_memory_halves_the_rows_that_are_drawn(tmp_path: Path) -> None:
    import torch

    _, there = both(saved(tmp_path, "gpt2"))
    prompts, streams = [[3, 4, 5]] * 16, np.arange(48).reshape(16, 3)
    expected = TransformersSampler(there, Sampling(5))(prompts, streams)
    plain = there.model.generate

    def generate(**given: Any) -> Any:
        if len(given["input_ids"]) > 5:
            torch.empty(2 * torch.cuda.mem_get_info()[0], dtype=torch.uint8, device="cuda")
        return plain(**given)

    there.model.generate = generate
    sampler = TransformersSampler(there, Sampling(5))
    found = sampler(prompts, streams)
    assert sampler.batch == 4
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 15


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize(("loss", "lora_rank"), [("dpo", 0), ("ipo", 0), ("dpo", 2)])
def test_a_fleet_trains_as_on_the_cpu(
    tmp_path: Path, architecture: str, loss: str, lora_rank: int
) -> None:
    recipe = replace(RECIPE, loss=loss, lora_rank=lora_rank)
    runs = [run_on(words(), n=20), run_on(words(1, shortest=1), n=7, seed=1)]
    here, there = (train_fleet(at, runs, recipe) for at in both(saved(tmp_path, architecture)))
    for run, one, two in zip(runs, here, there, strict=True):
        np.testing.assert_allclose(two.losses, one.losses, rtol=1e-3, atol=1e-3)
        assert two.policy.checkpoint.device.type == "cuda"
        a, b = (each.policy.log_probs(run.pool) for each in (one, two))
        np.testing.assert_allclose(b, a, atol=1e-2)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_trl_trains_as_a_fleet(
    tmp_path: Path, dtype: str, tolerance: float, lora_rank: int
) -> None:
    import torch

    start = load_decoder(saved(tmp_path, "gpt2"), device="cuda", dtype=dtype)
    recipe, run = replace(RECIPE, lora_rank=lora_rank), run_on(words(), n=16)
    ours = train_fleet(start, [run], recipe)[0]
    theirs = TRLTrainer(start, recipe, 1.0).fit_with_losses(
        run.pool, run.beta, run.pairs, run.labels
    )
    assert len(theirs.losses) == 8  # also where torch sees several GPUs
    np.testing.assert_allclose(theirs.losses, ours.losses, atol=tolerance)
    for trained in (ours, theirs):
        model = trained.policy.checkpoint.model
        assert {weights.device.type for weights in model.parameters()} == {"cuda"}
        assert {weights.dtype for weights in model.parameters()} == {torch.float32}
        assert np.isfinite(trained.policy.log_probs(run.pool)).all()


# -- what is not there ---------------------------------------------------------------------------


def test_a_gpu_beyond_the_last_is_told(tmp_path: Path) -> None:
    import torch

    folder, beyond = saved(tmp_path, "gpt2"), f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(InvalidParameter, match=f"'{beyond}' is not there"):
        load_decoder(folder, device=beyond)
