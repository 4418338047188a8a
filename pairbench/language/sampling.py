"""Completions drawn from a causal language model, each with random numbers of its own.

``generate`` of transformers draws all rows of a batch from one stream of random numbers, so that a
text depends on its neighbours. Here the next token is where a uniform number u falls when the
tokens' probabilities are laid end to end (the inverse of the distribution function), and u is a
function of the seed, the prompt, the number of the completion, and the place in it. So a completion
is the same in any batch, order or run, but for the rounding of the model's logits, which depends on
the batch. Where u falls between two roundings, which is rare in float32 and not so in bfloat16, the
text goes another way; it is a draw from the model in either case.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pairbench.annotation.content import key
from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.language.checkpoints import Checkpoint, quiet
from pairbench.language.memory import give_back, out_of_memory
from pairbench.oracles.counter import uniforms

if TYPE_CHECKING:
    import torch

OnBatch = Callable[[int, int], None]

_STREAM = (0x7E8775,)  # tells these numbers from other uses of the seed


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        max_tokens: of a completion, after which it is cut.
        temperature: what logits are divided by.
        top_p: the smallest set of tokens of this probability is drawn from; 1 for all.
        seed: of the random numbers.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InvalidParameter(f"max_tokens must be 1 or more, got {self.max_tokens}.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidParameter(
                f"temperature must be positive and finite, got {self.temperature}."
            )
        if not 0 < self.top_p <= 1:
            raise InvalidParameter(f"top_p must be in (0, 1], got {self.top_p}.")
        if self.seed < 0:
            raise InvalidParameter(f"seed must be zero or more, got {self.seed}.")


def streams(prompts: Sequence[str], numbers: range) -> NDArray[np.int64]:
    """Which random numbers draws have, ``(prompts · numbers, 3)``: those of text and number.

    Args:
        prompts: texts; each has the same streams beside any others.
        numbers: of each prompt's draws.
    """
    words = np.array([int(key(prompt), 16) for prompt in prompts], dtype=np.uint64)
    columns = words >> np.uint64(32), words & np.uint64(2**32 - 1)
    halves = np.stack(columns, axis=1).astype(np.int64).repeat(len(numbers), axis=0)
    return np.column_stack([halves, np.tile(np.array(numbers, dtype=np.int64), len(words))])


class Sample(NamedTuple):
    """A completion.

    Attributes:
        ids: its tokens, without the one that ends it.
        finished: whether it came to its end, or was cut.
    """

    ids: list[int]
    finished: bool


class Sampler(Protocol):
    """What draws completions."""

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """One completion for each row.

        Args:
            prompts: token ids; a prompt stands in as many rows as it gets completions.
            streams: which random numbers each row has, ``(n, 3)``, each in [0, 2³²).
            on_batch: told of the rows and tokens that came.
        """


@dataclass(eq=False)
class TransformersSampler:
    """Draws by ``generate`` of transformers.

    Attributes:
        checkpoint: the model.
        how: temperature and the like.
        batch: rows that are drawn at once; halved where they do not fit into memory.
    """

    checkpoint: Checkpoint
    how: Sampling
    batch: int = 64

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """See :class:`Sampler`.

        Raises:
            InvalidParameter: If the memory does not hold a single row.
            TrainingFailed: If the model's logits are not numbers.
        """
        result: list[Sample] = [Sample([], False)] * len(prompts)
        # Prompts of like length share a batch, the longest first: they need the most memory.
        order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
        start = 0
        while start < len(order):
            rows = order[start : start + self.batch]
            drawn = self._drawn([prompts[row] for row in rows], streams[rows])
            if drawn is None:
                self.batch = len(rows) // 2
                continue
            for row, sample in zip(rows, drawn, strict=True):
                result[row] = sample
            start += len(rows)
            on_batch(len(rows), sum(len(sample.ids) + sample.finished for sample in drawn))
        return result

    def _drawn(
        self, prompts: list[Sequence[int]], streams: NDArray[np.int64]
    ) -> list[Sample] | None:
        """The samples, or None if they are too many for the memory."""
        try:
            return _generated(self.checkpoint, self.how, prompts, streams)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise InvalidParameter(
                    f"the memory of {self.checkpoint.device} does not hold one completion of "
                    f"{self.how.max_tokens} tokens to a prompt of {len(prompts[0])}. Take fewer "
                    "(--max-tokens), a narrower dtype, or a smaller model."
                ) from error
        give_back()
        return None


@dataclass(eq=False)
class VllmSampler:
    """Draws by vLLM, which has a seed for each request.

    Attributes:
        name: the model's id or folder.
        how: temperature and the like.
        dtype: one of vLLM's names, ``"auto"`` for the checkpoint's own.
        memory: the share of the GPU's memory that it takes; the rest is for log-probabilities.
    """

    name: str
    how: Sampling
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
        streams: NDArray[np.int64],
        on_batch: OnBatch = lambda rows, tokens: None,
    ) -> list[Sample]:
        """See :class:`Sampler`."""
        from vllm import SamplingParams

        places = np.concatenate([streams, np.zeros((len(streams), 1), dtype=np.int64)], axis=1)
        seeds = (uniforms(self.how.seed, places, _STREAM) * 2**53).astype(np.int64)
        parameters = [
            SamplingParams(
                max_tokens=self.how.max_tokens,
                temperature=self.how.temperature,
                top_p=self.how.top_p,
                seed=seed,
                detokenize=False,
            )
            for seed in seeds.tolist()
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self._llm.generate(asked, parameters, use_tqdm=False)
        drawn = []
        for answer in answers:
            said = answer.outputs[0]
            finished = said.finish_reason == "stop"  # and then the last token is the one that ends
            drawn.append(Sample(list(said.token_ids)[: -1 if finished else None], finished))
        on_batch(len(drawn), sum(len(sample.ids) + sample.finished for sample in drawn))
        return drawn


def completion_text(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """The text that some tokens add to a prompt.

    Read alone, tokens may lose the space before them, which belongs to the completion.

    Args:
        tokenizer: the model's.
        prompt: its token ids.
        ids: the completion's.
    """
    head, whole = (
        tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for tokens in ([*prompt], [*prompt, *ids])
    )
    if whole.startswith(head):
        return str(whole[len(head) :])
    alone = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(alone)


def end_tokens(checkpoint: Checkpoint) -> list[int]:
    """The tokens with which a completion ends; there may be several."""
    named = [
        checkpoint.tokenizer.eos_token_id,
        getattr(checkpoint.model.generation_config, "eos_token_id", None),
    ]
    flat = [token for name in named for token in (name if isinstance(name, list) else [name])]
    return sorted({int(token) for token in flat if token is not None})


class _Draws:
    """Puts all probability on the token that a row's own uniform number chooses."""

    def __init__(self, seed: int, streams: NDArray[np.int64], start: int) -> None:
        self.seed, self.streams, self.start = seed, streams, start

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        place = np.full((len(self.streams), 1), input_ids.shape[1] - self.start)
        u = uniforms(self.seed, np.concatenate([self.streams, place], axis=1), _STREAM)
        cdf = scores.double().softmax(dim=-1).cumsum(dim=-1)
        total = cdf[:, -1:]
        if not bool(torch.isfinite(total).all()):
            raise TrainingFailed(
                "the model's logits are not numbers (NaN), so nothing can be drawn from it. Its "
                "dtype may be too narrow: try float32."
            )
        # A token of probability 0 ends where it begins, and no number falls into it.
        at = torch.from_numpy(u).to(cdf.device)[:, None] * total
        chosen = torch.searchsorted(cdf, at, right=True).clamp(max=cdf.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


def _generated(
    checkpoint: Checkpoint,
    how: Sampling,
    prompts: list[Sequence[int]],
    streams: NDArray[np.int64],
) -> list[Sample]:
    import torch
    from transformers import (
        GenerationConfig,
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    model, ends = checkpoint.model, end_tokens(checkpoint)
    pad = checkpoint.tokenizer.pad_token_id
    width = max(map(len, prompts))
    # On the left: what is generated must follow the prompt.
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    steps: list[Any] = []
    if how.temperature != 1:
        steps.append(TemperatureLogitsWarper(how.temperature))
    if how.top_p < 1:
        steps.append(TopPLogitsWarper(how.top_p))
    steps.append(_Draws(how.seed, streams, width))
    # A checkpoint may come with habits of its own (top-k, a penalty for repetition), which would
    # be added to what is asked for here.
    own = model.generation_config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=how.max_tokens, eos_token_id=ends or None, pad_token_id=pad
    )
    try:
        with torch.inference_mode(), quiet():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                logits_processor=LogitsProcessorList(steps),
                do_sample=False,
            )
    finally:
        model.generation_config = own
    drawn = []
    for row in out[:, width:].tolist():
        end = next((place for place, token in enumerate(row) if token in ends), len(row))
        drawn.append(Sample(row[:end], end < len(row)))
    return drawn
