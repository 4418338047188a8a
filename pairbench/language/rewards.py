"""Scores of texts by reward models and classifiers, with an on-disk cache of scores.

A score depends on the text and, by rounding, on the other texts of its batch: by a relative error
of 1e-5 or less in float32, and of about 1e-2 in bfloat16.
"""

import hashlib
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pairbench._util.cache import cache_folder
from pairbench._util.checks import check_at_least, check_one_of
from pairbench.errors import (
    InvalidData,
    InvalidParameter,
    InvalidPool,
    TrainingFailed,
    did_you_mean,
)
from pairbench.language.checkpoints import (
    Checkpoint,
    classifier_config,
    load_classifier,
    resolve_device_and_dtype,
    resolve_dtype,
)
from pairbench.language.out_of_memory import empty_gpu_cache, is_out_of_memory
from pairbench.language.score_store import ScoreStore
from pairbench.pool.pool import Pool

Array = NDArray[np.float64]
Texts = Sequence[tuple[str, str]]
"""Pairs of prompt and completion."""

TEMPLATES = ("plain", "chat")
_BATCH = {"cpu": 2**10, "cuda": 2**15}  # tokens of a batch, padding included
_MIN_SHARE = 1024  # texts that justify the start of another process
_CHUNK = 2**14  # texts whose tokens are in memory at once
_FLUSH_SECONDS = 20.0  # time between writes to the store: a crash loses no more work


@dataclass(frozen=True)
class RewardModel:
    """A sequence classifier whose output is a reward.

    Attributes:
        name: a Hugging Face id, or the folder of a saved model with its tokenizer.
        label: name or number of the output that is the reward: the score is the label's log-odds,
            or the output itself in a regression or multi-label model. May be None for a model with
            one output, which is the score.
        template: ``"plain"``, prompt and completion as one text, or ``"chat"``, both in the
            tokenizer's chat template.
        device: as in :func:`pairbench.language.checkpoints.load_decoder`; ``"cuda"`` stands for all
            GPUs.
        dtype: of weights and computations, as in
            :func:`pairbench.language.checkpoints.load_decoder`.
        revision: branch, tag or commit of a hub model.
    """

    name: str
    label: str | int | None = None
    template: str = "plain"
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_one_of(TEMPLATES, template=str(self.template))
        if self.dtype is not None:
            resolve_dtype(self.dtype)

    def settings(self) -> dict[str, Any]:
        """Return all that a text's score depends on besides the text.

        Raises:
            InvalidParameter: If the model cannot be loaded, or ``label`` does not determine an
                output.
        """
        config, revision = classifier_config(self.name, revision=self.revision)
        # As in transformers: labels are mutually exclusive in all other problem types.
        independent = config.num_labels == 1 or config.problem_type in (
            "regression",
            "multi_label_classification",
        )
        return {
            "revision": revision,
            "dtype": resolve_device_and_dtype(self.device, self.dtype)[1],
            "output": self._output(config),
            "score": "output" if independent else "log-odds",
            "template": self.template,
            "padding": "right",
            "truncation": "left",
        }

    def digest(self) -> str:
        """Compute the SHA-256 of :meth:`settings`; equal digests mean equal scores."""
        return _digest(self.settings())

    def _output(self, config: Any) -> int:
        """Return the index of the output that is the reward."""
        names = {int(k): str(v) for k, v in config.id2label.items()}
        listing = ", ".join(f"{k} {v!r}" for k, v in sorted(names.items()))
        if self.label is None:
            if len(names) == 1:
                return 0
            raise InvalidParameter(
                f"{self.name!r} has {len(names)} outputs: {listing}. Say which is the reward, as "
                f"in label={names[max(names)]!r}."
            )
        for k, name in names.items():
            if self.label in (k, name):
                return k
        raise InvalidParameter(
            f"{self.name!r} has no label {self.label!r}."
            f"{did_you_mean(str(self.label), names.values())} There are: {listing}."
        )


def pool_scores(pool: Pool, model: RewardModel | str, *, jobs: int | None = None) -> Array:
    """Score every completion of a pool, ``(n_prompts, n_completions)``, 0 where not valid.

    Texts that were scored before, in this pool or another, are not read again. An empty completion
    has the score of its prompt.

    Args:
        pool: a pool with the texts of its completions; if it has no texts of prompts, completions
            are scored by themselves.
        model: the reward model, or its name if it has one output.
        jobs: number of processes that share the texts, each with its copy of the model, assigned to
            GPUs round-robin; if None, one for each GPU, as long as there are enough texts.

    Raises:
        InvalidParameter: If the model cannot be loaded, its label does not determine an output, or
            a text does not fit into the device's memory.
        InvalidPool: If the pool has no texts, or prompt and completion are both empty.
        TrainingFailed: If a score is not finite.
    """
    if pool.texts is None:
        raise InvalidPool(
            "a reward model reads texts, but this pool does not know those of its completions. "
            "Give Pool(texts=…)."
        )
    indices = np.argwhere(pool.valid).tolist()
    prompts = pool.prompts or ("",) * pool.n_prompts
    texts = [(prompts[x], pool.texts[x][k]) for x, k in indices]
    result = np.zeros(pool.valid.shape)
    result[pool.valid] = _scores(
        texts, model, jobs, lambda i: "completion {1} of prompt {0}".format(*indices[i])
    )
    return result


def text_scores(texts: Texts, model: RewardModel | str, *, jobs: int | None = None) -> Array:
    """Score texts, ``(n,)``, with the cache and the errors of :func:`pool_scores`.

    Args:
        texts: pairs of prompt and completion.
        model: the reward model, or its name if it has one output.
        jobs: number of processes, as in :func:`pool_scores`.
    """
    return _scores(texts, model, jobs, lambda i: f"text {i}")


def _scores(
    texts: Texts, model: RewardModel | str, jobs: int | None, describe: Callable[[int], str]
) -> Array:
    """Score texts; ``describe`` names the text of a given index in errors."""
    if isinstance(model, str):
        model = RewardModel(model)
    if jobs is not None:
        check_at_least(1, jobs=jobs)
    keys = _keys(texts, model.template, describe)
    settings = model.settings()
    store = ScoreStore(cache_folder("scores") / _digest(settings))
    cached = store.read()
    if not cached.keys() >= set(keys):
        with store.lock(settings | {"model": model.name}):
            cached = store.read()
            # Sorted, so that batches depend on the set of texts only, not on their order.
            todo = dict(sorted((k, t) for k, t in zip(keys, texts, strict=True) if k not in cached))
            n_long = _score(todo, model, settings["revision"], jobs, store) if todo else 0
            cached = store.read()
        if n_long:
            warnings.warn(
                f"{n_long} of {len(todo)} texts are longer than {model.name!r} reads: their "
                "beginnings are left out.",
                stacklevel=3,
            )
    scores = np.array([cached.get(key, np.nan) for key in keys], dtype=np.float64)
    if (bad := np.flatnonzero(np.isnan(scores))).size:
        raise TrainingFailed(
            f"{model.name!r} gives {describe(int(bad[0]))} no finite score; {len(bad)} of "
            f"{len(texts)} have none. The text may have no token, the model may have diverged, or "
            f"{settings['dtype']} may be too narrow for it: try dtype='float32'."
        )
    return scores


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _keys(texts: Texts, template: str, describe: Callable[[int], str]) -> list[bytes]:
    """Compute the keys of texts in the store.

    Raises:
        InvalidPool: If a text is empty or not Unicode.
    """
    keys = []
    for i, text in enumerate(texts):
        if not any(text):
            raise InvalidPool(
                f"{describe(i)} is empty, and so is its prompt. Leave it out (valid)."
            )
        try:
            keys.append(_key(text, template))
        except UnicodeEncodeError as error:
            raise InvalidPool(
                f"{describe(i)} is not Unicode: {error}. Expected no lone surrogates; mend the "
                "text."
            ) from error
    return keys


def _key(text: tuple[str, str], template: str) -> bytes:
    """Compute the SHA-256 of a text; in the plain template, the prompt's end is not marked."""
    content = "".join(text) if template == "plain" else f"{len(text[0])} {text[0]}{text[1]}"
    return hashlib.sha256(content.encode()).digest()


def _score(
    todo: dict[bytes, tuple[str, str]],
    model: RewardModel,
    revision: str,
    jobs: int | None,
    store: ScoreStore,
) -> int:
    """Write scores of texts to the store, on one or more devices; return how many were too long."""
    import torch

    device, _ = resolve_device_and_dtype(model.device, model.dtype)
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    if jobs is None:
        jobs = max(1, min(gpus, len(todo) // _MIN_SHARE))
    if jobs == 1:
        return _score_on_device(todo, model, revision, store)
    items = sorted(todo.items(), key=lambda item: len("".join(item[1])))
    shares = [dict(items[job::jobs]) for job in range(jobs)]
    context = multiprocessing.get_context("spawn")  # CUDA does not work in forks
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        futures = [
            executor.submit(
                _score_on_device,
                share,
                replace(model, device=f"cuda:{job % gpus}") if gpus else model,
                revision,
                store,
            )
            for job, share in enumerate(shares)
            if share
        ]
        return sum(future.result() for future in futures)


def _score_on_device(
    todo: dict[bytes, tuple[str, str]], model: RewardModel, revision: str, store: ScoreStore
) -> int:
    """Write scores of texts to the store, also if an error follows; return how many were too long.

    Args:
        todo: texts by their keys.
        model: the reward model.
        revision: the revision that the store belongs to.
        store: the store of the scores.
    """
    settings, (device, dtype) = (
        model.settings(),
        resolve_device_and_dtype(model.device, model.dtype),
    )
    checkpoint = _load(model.name, device, dtype, model.revision, revision)
    batch = _BATCH[checkpoint.device.type]
    items = sorted(todo.items(), key=lambda item: -len("".join(item[1])))
    n_long, unsaved, last_write = 0, dict[bytes, float](), time.monotonic()
    try:
        for start in range(0, len(items), _CHUNK):
            keys, texts = zip(*items[start : start + _CHUNK], strict=True)
            ids, n_long_in_chunk = _token_ids(checkpoint, texts, model.template)
            n_long += n_long_in_chunk
            for rows, logits in batched_logits(checkpoint.model, ids, batch):
                scores = logits[:, settings["output"]]
                if settings["score"] == "log-odds":
                    scores = scores - logsumexp(np.delete(logits, settings["output"], 1), axis=1)
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                    if np.isfinite(score):
                        unsaved[keys[row]] = score
                if time.monotonic() - last_write > _FLUSH_SECONDS:
                    store.write(unsaved)
                    unsaved, last_write = {}, time.monotonic()
    finally:
        store.write(unsaved)
    return n_long


@lru_cache(maxsize=2)  # the model that labels, and one for evaluation
def _load(name: str, device: str, dtype: str, revision: str | None, digest: str) -> Checkpoint:
    """Load a classifier, and check that its files are still those of ``digest``."""
    checkpoint = load_classifier(name, device=device, dtype=dtype, revision=revision)
    if checkpoint.revision != digest:
        raise InvalidData(f"{name!r} changed while it was read. Try again.")
    checkpoint.model.config.use_cache = False  # of keys and values: one pass
    return checkpoint


def _token_ids(checkpoint: Checkpoint, texts: Texts, template: str) -> tuple[list[list[int]], int]:
    """Tokenize texts, truncated on the left to the context; return how many were truncated, too."""
    tokenizer, plain = checkpoint.tokenizer, template == "plain"
    if plain:
        contents = ["".join(text) for text in texts]
    elif tokenizer.chat_template is None:
        raise InvalidParameter(
            f"the tokenizer of {checkpoint.name!r} has no chat template. Take template='plain', or "
            "set tokenizer.chat_template and save it: tokenizer.save_pretrained(FOLDER)."
        )
    else:
        roles = ("user", "assistant")
        chats = [
            [{"role": role, "content": part} for role, part in zip(roles, text, strict=True)]
            for text in texts
        ]
        contents = tokenizer.apply_chat_template(chats, tokenize=False)
    # A chat template includes the special tokens.
    special = {"add_special_tokens": plain}
    ids: list[list[int]]
    ids = tokenizer(contents, **special, truncation=False, verbose=False)["input_ids"]
    long = [i for i, row in enumerate(ids) if len(row) > checkpoint.context]
    if long:
        tokenizer.truncation_side = "left"
        truncated = tokenizer(
            [contents[i] for i in long],
            **special,
            truncation=True,
            max_length=checkpoint.context,
        )["input_ids"]
        for i, row in zip(long, truncated, strict=True):
            ids[i] = row
    return ids, len(long)


def batched_logits(
    model: Any, ids: Sequence[Sequence[int]], tokens: int
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Compute a sequence classifier's outputs batch by batch, the longest texts first.

    A batch that does not fit into the device's memory is halved, and so are the later ones.

    Args:
        model: a ``transformers`` model for sequence classification.
        ids: token ids of each text; texts without tokens are left out.
        tokens: number of tokens, padding included, in a batch.

    Yields:
        Indices of the batch's texts, ``(b,)``, and their outputs, ``(b, labels)``.

    Raises:
        InvalidParameter: If a single text does not fit.
    """
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(1, tokens // longest)]
        logits = _logits(model, [ids[row] for row in rows.tolist()], lengths[rows])
        if logits is not None:
            start += len(rows)
            yield rows, logits
        elif len(rows) == 1:
            raise InvalidParameter(
                f"a text of {longest} tokens does not fit into the memory of {model.device} beside "
                "the model. Free some of it, or take a narrower dtype, such as 'bfloat16'."
            )
        else:
            tokens = longest * (len(rows) // 2)


def _logits(model: Any, ids: Sequence[Sequence[int]], lengths: NDArray[np.int64]) -> Array | None:
    """Compute the outputs of one batch, ``(b, labels)``; return None if it is out of memory."""
    import torch

    mask = np.arange(lengths.max()) < lengths[:, None]
    # Decoders classify by the last token that is not the pad token of their configuration.
    padded = np.full(mask.shape, model.config.get_text_config().pad_token_id, dtype=np.int64)
    padded[mask] = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    try:
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(padded).to(model.device),
                attention_mask=torch.from_numpy(mask).long().to(model.device),
            ).logits
            values: Array = logits.double().cpu().numpy()
            return values
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    empty_gpu_cache()
    return None
