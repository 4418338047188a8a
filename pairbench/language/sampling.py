"""Sampling of completions from a causal language model, with a random stream for each completion.

``generate`` of transformers draws all rows of a batch from one stream of random numbers, so that a
text depends on the other texts of its batch. Here the next token is the inverse of the tokens'
cumulative distribution function at a uniform number u, and u is a function of the seed, the prompt,
the number of the completion, and the position in it. So a completion is the same in any batch,
order or run, except for the rounding of the model's logits, which depends on the batch. Where u
falls between two roundings, which is rare in float32 but not in bfloat16, the text differs from
there on; it is a sample of the model in either case.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least, check_positive
from pairbench._util.counter import uniforms
from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.language.checkpoints import Checkpoint, silence_transformers
from pairbench.language.out_of_memory import empty_gpu_cache, is_out_of_memory
from pairbench.pool.content import text_digest

if TYPE_CHECKING:
    import torch

OnBatch = Callable[[int, int], None]

_STREAM = (0x7E8775,)  # separates these numbers from other uses of the seed


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters.

    Attributes:
        max_tokens: number of tokens after which a completion is truncated.
        temperature: divisor of the logits.
        top_p: probability of the smallest set of tokens to sample from (nucleus sampling); 1 for
            all tokens.
        seed: seed of the random streams.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, max_tokens=self.max_tokens)
        check_positive(temperature=self.temperature)
        if not 0 < self.top_p <= 1:
            raise InvalidParameter(f"top_p must be in (0, 1], got {self.top_p}.")
        check_at_least(0, seed=self.seed)


def stream_ids(prompts: Sequence[str], numbers: range) -> NDArray[np.int64]:
    """Compute the ids of random streams, a function of the prompt and the completion's number.

    Args:
        prompts: texts of prompts; a prompt's streams do not depend on the other prompts.
        numbers: numbers of each prompt's completions.

    Returns:
        The ids, ``(len(prompts) · len(numbers), 3)``, each in [0, 2³²).
    """
    keys = np.array([int(text_digest(prompt), 16) for prompt in prompts], dtype=np.uint64)
    columns = keys >> np.uint64(32), keys & np.uint64(2**32 - 1)
    halves = np.stack(columns, axis=1).astype(np.int64).repeat(len(numbers), axis=0)
    return np.column_stack([halves, np.tile(np.array(numbers, dtype=np.int64), len(keys))])


class Sample(NamedTuple):
    """A sampled completion.

    Attributes:
        ids: token ids, without the EOS token.
        finished: whether the model ended it; False if it was truncated.
    """

    ids: list[int]
    finished: bool


class Sampler(Protocol):
    """Function that samples completions."""

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        row_streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """Sample one completion for each row.

        Args:
            prompts: token ids of each row's prompt, ``n`` rows; a prompt is repeated for each of
                its completions.
            row_streams: id of each row's random stream, ``(n, 3)``, each in [0, 2³²).
            on_batch: called after each batch with its numbers of rows and of sampled tokens.
        """


@dataclass(eq=False)
class TransformersSampler:
    """Sampler that uses ``generate`` of transformers.

    Attributes:
        checkpoint: the model.
        sampling: sampling parameters.
        batch: rows of a batch; halved when a batch does not fit into memory.
    """

    checkpoint: Checkpoint
    sampling: Sampling
    batch: int = 64

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        row_streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """Sample one completion for each row, as :class:`Sampler` specifies.

        Raises:
            InvalidParameter: If a single row does not fit into memory.
            TrainingFailed: If the model's logits are NaN.
        """
        result: list[Sample] = [Sample([], False)] * len(prompts)
        # Prompts of similar length share a batch, the longest first: they need the most memory.
        order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
        start = 0
        while start < len(order):
            rows = order[start : start + self.batch]
            samples = self._sample_batch([prompts[row] for row in rows], row_streams[rows])
            if samples is None:
                self.batch = len(rows) // 2
                continue
            for row, sample in zip(rows, samples, strict=True):
                result[row] = sample
            start += len(rows)
            on_batch(len(rows), _n_tokens(samples))
        return result

    def _sample_batch(
        self, prompts: list[Sequence[int]], row_streams: NDArray[np.int64]
    ) -> list[Sample] | None:
        """Sample a batch, or return None if it does not fit into memory."""
        try:
            return _generate(self.checkpoint, self.sampling, prompts, row_streams)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise InvalidParameter(
                    f"the memory of {self.checkpoint.device} does not hold one completion of "
                    f"{self.sampling.max_tokens} tokens to a prompt of {len(prompts[0])}. Take "
                    "fewer (--max-tokens), a narrower dtype, or a smaller model."
                ) from error
        empty_gpu_cache()
        return None


@dataclass(eq=False)
class VllmSampler:
    """Sampler that uses vLLM, with a seed for each request.

    Attributes:
        name: the model's id or folder.
        sampling: sampling parameters.
        dtype: vLLM's name of the dtype, ``"auto"`` for the checkpoint's.
        memory: fraction of the GPU's memory for vLLM; the rest is for log-probabilities.
    """

    name: str
    sampling: Sampling
    dtype: str = "auto"
    memory: float = 0.5

    def __post_init__(self) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise InvalidParameter(
                "vLLM is not installed: pip install vllm, or leave out --engine vllm."
            ) from error
        self._llm = LLM(
            model=self.name, dtype=self.dtype, gpu_memory_utilization=self.memory, seed=0
        )

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        row_streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """Sample one completion for each row, as :class:`Sampler` specifies."""
        from vllm import SamplingParams

        counters = np.concatenate(
            [row_streams, np.zeros((len(row_streams), 1), dtype=np.int64)], axis=1
        )
        seeds = (uniforms(self.sampling.seed, counters, _STREAM) * 2**53).astype(np.int64)
        parameters = [
            SamplingParams(
                max_tokens=self.sampling.max_tokens,
                temperature=self.sampling.temperature,
                top_p=self.sampling.top_p,
                seed=seed,
                detokenize=False,
            )
            for seed in seeds.tolist()
        ]
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        requests = self._llm.generate(inputs, parameters, use_tqdm=False)
        samples = []
        for request in requests:
            output = request.outputs[0]
            finished = output.finish_reason == "stop"  # then the last token is EOS
            samples.append(Sample(list(output.token_ids)[: -1 if finished else None], finished))
        on_batch(len(samples), _n_tokens(samples))
        return samples


def completion_text(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """Decode a completion's tokens to the text that they add to the prompt.

    Decoded without the prompt, tokens may lose a leading space, which belongs to the completion.

    Args:
        tokenizer: the model's tokenizer.
        prompt: token ids of the prompt.
        ids: token ids of the completion.
    """
    prefix, text = (
        tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for tokens in ([*prompt], [*prompt, *ids])
    )
    if text.startswith(prefix):
        return str(text[len(prefix) :])
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def end_token_ids(checkpoint: Checkpoint) -> list[int]:
    """Return the ids of all tokens that end a completion: the tokenizer's and the model's EOS."""
    sources = [
        checkpoint.tokenizer.eos_token_id,
        getattr(checkpoint.model.generation_config, "eos_token_id", None),
    ]
    flat = [token for ids in sources for token in (ids if isinstance(ids, list) else [ids])]
    return sorted({int(token) for token in flat if token is not None})


def _n_tokens(samples: Sequence[Sample]) -> int:
    """Count the sampled tokens, EOS tokens included."""
    return sum(len(sample.ids) + sample.finished for sample in samples)


class _InverseCdfProcessor:
    """Logits processor that puts all probability on the token that a row's uniform number selects.

    Attributes:
        seed: seed of the random streams.
        row_streams: id of each row's stream, ``(n, 3)``.
        start: position of the first sampled token, the prompts' padded length.
    """

    def __init__(self, seed: int, row_streams: NDArray[np.int64], start: int) -> None:
        self.seed, self.row_streams, self.start = seed, row_streams, start

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        position = np.full((len(self.row_streams), 1), input_ids.shape[1] - self.start)
        u = uniforms(self.seed, np.concatenate([self.row_streams, position], axis=1), _STREAM)
        cdf = scores.double().softmax(dim=-1).cumsum(dim=-1)
        total = cdf[:, -1:]
        if not bool(torch.isfinite(total).all()):
            raise TrainingFailed(
                "the model's logits are not numbers (NaN), so nothing can be drawn from it. Its "
                "dtype may be too narrow: try float32."
            )
        # With right=True, u never selects a token of probability 0, whose interval is empty.
        scaled = torch.from_numpy(u).to(cdf.device)[:, None] * total
        token = torch.searchsorted(cdf, scaled, right=True).clamp(max=cdf.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


def _left_padded(prompts: list[Sequence[int]], pad: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Pad prompts to one length on the left, because generated tokens must follow the prompt.

    Returns:
        Token ids and the attention mask, both ``(n, length)``.
    """
    import torch

    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def _generate(
    checkpoint: Checkpoint,
    sampling: Sampling,
    prompts: list[Sequence[int]],
    row_streams: NDArray[np.int64],
) -> list[Sample]:
    """Sample a batch by ``generate`` of transformers."""
    import torch
    from transformers import (
        GenerationConfig,
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    model, ends = checkpoint.model, end_token_ids(checkpoint)
    pad = checkpoint.tokenizer.pad_token_id
    ids, mask = _left_padded(prompts, pad)
    width = ids.shape[1]
    processors: list[Any] = []
    if sampling.temperature != 1:
        processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    processors.append(_InverseCdfProcessor(sampling.seed, row_streams, width))
    # A checkpoint's generation config may set top-k or a repetition penalty, which would change
    # the distribution; it is replaced during the call.
    generation_config = model.generation_config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=sampling.max_tokens, eos_token_id=ends or None, pad_token_id=pad
    )
    try:
        with torch.inference_mode(), silence_transformers():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                logits_processor=LogitsProcessorList(processors),
                do_sample=False,
            )
    finally:
        model.generation_config = generation_config
    samples = []
    for row in out[:, width:].tolist():
        end = next((i for i, token in enumerate(row) if token in ends), len(row))
        samples.append(Sample(row[:end], end < len(row)))
    return samples
