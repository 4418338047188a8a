"""Features by a language model, by ``pytest tests/benchmarks --benchmark-enable -s``.

On a GPT-2 of TinyLM's size (width 64, 2 layers, 4 heads, 8 words) and its pool: 100 prompts of 3
tokens, 16 completions of 4 tokens, one thread.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.embeddings import hidden_features, score_vectors
from pairbench.language.tiny import save_model, tiny_model, word_tokenizer
from pairbench.language.tokens import Tokens

V, T, K = 8, 4, 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Trained for a moment on a Markov grammar, as scores of random weights say little."""
    import torch

    tokenizer = word_tokenizer("abcdefgh", context=32)
    model = tiny_model("gpt2", tokenizer, width=64, layers=2, heads=4).train()
    rng = np.random.default_rng(0)
    grammar = rng.dirichlet(np.full(V, 0.5), size=(V, V)).cumsum(axis=2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(200):
        words = rng.integers(V, size=(128, 3 + T))
        for t in range(2, 3 + T):
            draw = rng.random((128, 1)) > grammar[words[:, t - 2], words[:, t - 1]]
            words[:, t] = draw.sum(axis=1).clip(max=V - 1)
        ids = torch.from_numpy(words + 3)
        logits = model(ids).logits[:, 2:-1].flatten(0, 1)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, ids[:, 3:].flatten()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    folder = save_model(tmp_path_factory.mktemp("reference"), model, tokenizer)
    return load_decoder(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def tokens(reference: Checkpoint) -> Tokens:
    """Completions that the model says itself."""
    import torch

    prompts = np.random.default_rng(1).integers(3, 3 + V, size=(100, 3))
    words = torch.from_numpy(prompts).repeat_interleave(K, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(T):
            p = reference.model(words).logits[:, -1].softmax(-1)
            p[:, :3] = 0
            words = torch.cat([words, torch.multinomial(p, 1, generator=generator)], dim=1)
    return Tokens(prompts, words[:, 3:].numpy().reshape(100, K, T))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_hidden_states(
    benchmark: BenchmarkFixture, reference: Checkpoint, tokens: Tokens, pooling: str
) -> None:
    benchmark(hidden_features, reference, tokens, pooling)


@pytest.mark.parametrize("dim", [64, 256, 1024])
def test_score_vectors(
    benchmark: BenchmarkFixture, reference: Checkpoint, tokens: Tokens, dim: int
) -> None:
    once(benchmark, lambda: score_vectors(reference, tokens, dim))


def test_score_vectors_by_forward_mode(
    benchmark: BenchmarkFixture, reference: Checkpoint, tokens: Tokens
) -> None:
    """What is not used: 64 derivatives of all log-likelihoods along random directions."""
    import torch
    from torch.func import functional_call, jvp
    from torch.nn.attention import SDPBackend, sdpa_kernel

    weights = {k: v.detach() for k, v in reference.model.named_parameters()}
    whole = np.concatenate(
        [np.repeat(tokens.prompts, K, 0), tokens.completions.reshape(-1, T)], axis=1
    )
    ids = torch.from_numpy(whole)

    def log_likelihoods(weights: dict[str, Any]) -> Any:
        logits = functional_call(reference.model, weights, (ids,)).logits[:, 2:-1]
        return logits.log_softmax(-1).gather(2, ids[:, 3:, None]).sum(dim=(1, 2))

    def forward() -> None:
        for _ in range(64):
            signs = {k: torch.randint(2, v.shape) * 2.0 - 1 for k, v in weights.items()}
            with sdpa_kernel(SDPBackend.MATH):
                jvp(log_likelihoods, (weights,), (signs,))

    once(benchmark, forward)


def once(benchmark: BenchmarkFixture, function: Any) -> Any:
    """Time one call of what takes seconds."""
    return benchmark.pedantic(function, rounds=1)  # type: ignore[no-untyped-call]
