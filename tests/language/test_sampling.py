"""Completions are draws from the model, and depend on nothing but their prompt and number."""

import copy
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.sampling import (
    Sample,
    Sampling,
    TransformersSampler,
    VllmSampler,
    completion_text,
    end_token_ids,
)
from pairbench.language.tiny import byte_tokenizer, word_tokenizer

END = 2
PROMPTS = [[3], [4, 5, 6], [7, 8], [9, 9, 9, 9]]  # of different lengths: some are padded


def streams(n: int, prompt: int = 0) -> NDArray[np.int64]:
    """Return the stream ids of completions 0 to n − 1 of a prompt."""
    return np.stack([np.full(n, prompt), np.zeros(n, dtype=int), np.arange(n)], axis=1)


def each(n: int) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Return n rows of each prompt, with their stream ids."""
    rows = [prompt for prompt in PROMPTS for _ in range(n)]
    return rows, np.concatenate([streams(n, x) for x in range(len(PROMPTS))])


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    from pairbench.language.checkpoints import load_decoder
    from pairbench.language.tiny import save_model, tiny_model

    tokenizer = word_tokenizer("abcdefgh", context=32)
    model = tiny_model("gpt2", tokenizer, layers=1, seed=3)
    for weights in model.parameters():
        weights.data *= 4.0 if weights.dim() > 1 else 1.0
    folder = save_model(tmp_path_factory.mktemp("gpt2"), model, tokenizer)
    return load_decoder(folder, device="cpu", dtype="float32")


@pytest.fixture
def own(gpt2: Checkpoint) -> Checkpoint:
    """A copy whose model a test may change."""
    return replace(gpt2, model=copy.deepcopy(gpt2.model))


def slow_probabilities(
    checkpoint: Checkpoint, prompt: list[int], how: Sampling
) -> dict[tuple[int, ...], float]:
    """Of all texts, by their tokens, the end included: one model call a prefix, no padding."""
    import torch

    def next_token(ids: list[int]) -> NDArray[np.float64]:
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([ids])).logits[0, -1].double().numpy()
        weights = np.exp((logits - logits.max()) / how.temperature)
        weights /= weights.sum()
        # The fewest tokens, likeliest first, that hold so much.
        order = np.argsort(-weights)
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= how.top_p]] = 0
        kept: NDArray[np.float64] = weights / weights.sum()
        return kept

    def texts(said: list[int], probability: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(said) == how.max_tokens or (said and said[-1] == END):
            yield tuple(said), probability
            return
        for token, share in enumerate(next_token(prompt + said)):
            if share > 0:
                yield from texts([*said, token], probability * share)

    return dict(texts([], 1.0))


def chi_square(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> float:
    """The p-value; what is expected fewer than 5 times is taken together."""
    from scipy.stats import chisquare

    n = sum(counts.values())
    assert counts.keys() <= expected.keys()
    usual = [text for text, share in expected.items() if share * n >= 5]
    seen = [counts[text] for text in usual]
    wanted = [expected[text] * n for text in usual]
    rest = n - sum(wanted)
    if rest >= 5:
        seen, wanted = [*seen, n - sum(seen)], [*wanted, rest]
    wanted = [value * sum(seen) / sum(wanted) for value in wanted]
    return float(chisquare(seen, wanted).pvalue)


def drawn_as(sample: Sample) -> tuple[int, ...]:
    return (*sample.ids, *([END] if sample.finished else []))


@pytest.mark.slow
@pytest.mark.parametrize("how", [Sampling(2), Sampling(2, temperature=0.6, top_p=0.7, seed=5)])
def test_frequencies_are_the_models(decoder: Checkpoint, how: Sampling) -> None:
    n = 1000
    rows, numbers = each(n)
    samples = TransformersSampler(decoder, how, batch=700)(rows, numbers)
    for x, prompt in enumerate(PROMPTS):
        expected = slow_probabilities(decoder, prompt, how)
        assert 1 < len(expected) <= 1 + 10 * 11
        counts = Counter(drawn_as(sample) for sample in samples[x * n : (x + 1) * n])
        assert chi_square(counts, expected) > 1e-3


def test_a_completion_is_the_same_in_any_batch_and_order(decoder: Checkpoint) -> None:
    rows, numbers = each(5)
    how = Sampling(6, seed=1)
    whole = TransformersSampler(decoder, how)(rows, numbers)
    assert len({tuple(sample.ids) for sample in whole}) > 10
    for batch in (1, 7):
        assert TransformersSampler(decoder, how, batch)(rows, numbers) == whole
    order = np.random.default_rng(0).permutation(len(rows))[:13]
    some = TransformersSampler(decoder, how, 4)([rows[i] for i in order], numbers[order])
    assert some == [whole[i] for i in order]


def test_numbers_and_seeds_make_other_completions(gpt2: Checkpoint) -> None:
    prompts = [[3, 4]] * 40
    drawn = [
        TransformersSampler(gpt2, Sampling(6, seed=seed))(prompts, streams(40, prompt))
        for seed, prompt in ((0, 0), (1, 0), (0, 1))
    ]
    for i in range(3):
        same = sum(a == b for a, b in zip(drawn[i], drawn[i - 1], strict=True))
        assert same < 8


def test_a_cut_completion_is_the_beginning_of_a_longer_one(gpt2: Checkpoint) -> None:
    rows, numbers = each(10)
    short, long = (TransformersSampler(gpt2, Sampling(length))(rows, numbers) for length in (3, 8))
    assert {sample.finished for sample in short} == {True, False}
    for a, b in zip(short, long, strict=True):
        assert a.ids == b.ids[: len(a.ids)]
        assert a == b if a.finished else len(a.ids) == 3


def test_the_model_is_left_as_it_was_and_its_own_habits_have_no_say(own: Checkpoint) -> None:
    import torch

    rows, numbers = each(4)
    plain = TransformersSampler(own, Sampling(6))(rows, numbers)
    habits = own.model.generation_config
    habits.top_k, habits.temperature, habits.repetition_penalty = 1, 0.1, 5.0
    habits.do_sample, habits.no_repeat_ngram_size, habits.max_length = True, 1, 3
    habits.suppress_tokens, habits.min_new_tokens, habits.num_beams = [3, 4], 6, 3
    before = torch.get_rng_state()
    assert TransformersSampler(own, Sampling(6))(rows, numbers) == plain
    assert torch.equal(torch.get_rng_state(), before)
    assert own.model.generation_config is habits
    assert own.tokenizer.padding_side == "right"


def test_a_model_may_have_several_tokens_that_end(own: Checkpoint) -> None:
    own.model.generation_config.eos_token_id = [5, 7]
    assert end_token_ids(own) == [2, 5, 7]
    rows, numbers = each(20)
    samples = TransformersSampler(own, Sampling(8))(rows, numbers)
    assert not {2, 5, 7} & {token for sample in samples for token in sample.ids}
    assert any(sample.finished for sample in samples)


def test_generating_is_quiet(gpt2: Checkpoint, capfd: pytest.CaptureFixture[str]) -> None:
    TransformersSampler(gpt2, Sampling(3, 0.5, 0.5))([[3]], streams(1))
    assert capfd.readouterr() == ("", "")


def test_every_row_and_token_is_told(gpt2: Checkpoint) -> None:
    rows, numbers = each(5)
    told: list[tuple[int, int]] = []
    samples = TransformersSampler(gpt2, Sampling(4), batch=6)(
        rows, numbers, lambda n, tokens: told.append((n, tokens))
    )
    assert [n for n, _ in told] == [6, 6, 6, 2]
    assert sum(tokens for _, tokens in told) == sum(len(drawn_as(sample)) for sample in samples)


# -- memory --------------------------------------------------------------------------------------


def small_memory(model: Any, rows: int, error: Exception) -> None:
    """Let it hold so many rows."""
    whole = model.generate

    def generate(**given: Any) -> Any:
        if len(given["input_ids"]) > rows:
            raise error
        return whole(**given)

    model.generate = generate


def out_of_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize(
    "make", [out_of_memory, lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: ")]
)
def test_a_batch_that_does_not_fit_is_halved(own: Checkpoint, make: Any) -> None:
    rows, numbers = each(5)
    whole = TransformersSampler(own, Sampling(5))(rows, numbers)
    small_memory(own.model, 3, make())
    sampler = TransformersSampler(own, Sampling(5), batch=64)
    told: list[int] = []
    assert sampler(rows, numbers, lambda n, _: told.append(n)) == whole
    assert sampler.batch == 2
    assert sum(told) == 20


def test_a_row_that_does_not_fit_is_told(own: Checkpoint) -> None:
    small_memory(own.model, 0, out_of_memory())
    with pytest.raises(InvalidParameter, match=r"one completion of 5 tokens to a prompt of 3\. "):
        TransformersSampler(own, Sampling(5))([[3, 4, 5]] * 7, streams(7))


def test_other_errors_are_no_matter_of_memory(own: Checkpoint) -> None:
    small_memory(own.model, 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        TransformersSampler(own, Sampling(5))([[3]], streams(1))


def test_logits_that_are_no_numbers_are_told(own: Checkpoint) -> None:
    own.model.transformer.wte.weight.data[:] = np.nan
    with pytest.raises(TrainingFailed, match=r"not numbers \(NaN\)"):
        TransformersSampler(own, Sampling(5))([[3]], streams(1))


# -- texts and settings --------------------------------------------------------------------------


def metaspace() -> Any:
    """A tokenizer as Llama's, which drops the space before the first word of what it decodes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", "▁the", "▁cat", "▁sat", "s"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    )


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "ids", "text"),
    [
        (metaspace, [2], [3, 4], " cat sat"),
        (metaspace, [0, 2, 3], [5, 1], "s"),
        (lambda: word_tokenizer("ab"), [3, 4], [4, 3], " b a"),
        (lambda: word_tokenizer("ab"), [3], [], ""),
        (lambda: word_tokenizer("ab"), [3], [0, 1, 2], ""),
    ],
)
def test_a_completions_text_is_what_it_adds(
    tokenizer: Callable[[], Any], prompt: list[int], ids: list[int], text: str
) -> None:
    assert completion_text(tokenizer(), prompt, ids) == text


def test_a_character_may_be_parted_by_the_end_of_the_prompt() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("x é.").input_ids
    assert completion_text(tokenizer, ids[:2], ids[2:]) == "é."
    assert completion_text(tokenizer, ids[:3], ids[3:]) == "\ufffd."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be 1 or more, got 0."),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0.0."),
        ({"temperature": float("nan")}, "temperature must be positive and finite, got nan."),
        ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0."),
        ({"top_p": 1.5}, "top_p must be in (0, 1], got 1.5."),
        ({"seed": -1}, "seed must be 0 or more, got -1."),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        Sampling(**settings)
    assert str(error.value) == message


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_it_says_so() -> None:
    with pytest.raises(InvalidParameter, match=r"vLLM is not installed: pip install vllm"):
        VllmSampler("gpt2", Sampling())
