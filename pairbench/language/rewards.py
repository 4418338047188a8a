"""Scores of texts by reward models and classifiers; each text is read once, and its score kept.

A score depends on the text alone and, by rounding, on those in the same batch: in float32 by 1e-5
of the usual size of scores or less, in bfloat16 by about 1e-2.
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

from pairbench.cache import cache_folder
from pairbench.errors import (
    InvalidData,
    InvalidParameter,
    InvalidPool,
    TrainingFailed,
    did_you_mean,
)
from pairbench.language.checkpoints import (
    Checkpoint,
    checked_dtype,
    checked_place,
    classifier_config,
    load_classifier,
)
from pairbench.language.memory import give_back, out_of_memory
from pairbench.language.score_store import ScoreStore
from pairbench.pool import Pool

Array = NDArray[np.float64]
Texts = Sequence[tuple[str, str]]
"""Prompts with their completions."""

TEMPLATES = ("plain", "chat")
_TOKENS = {"cpu": 2**10, "cuda": 2**15}  # that are read at once, padding included
_LEAST = 1024  # texts that are worth the start of a process
_MOST = 2**14  # texts whose tokens are in memory at once
_SECONDS = 20.0  # of work that may be lost


@dataclass(frozen=True)
class RewardModel:
    """A sequence classifier whose output is a reward.

    Attributes:
        name: a Hugging Face id, or the folder of a saved model with its tokenizer.
        label: which of several outputs is the reward, by name or number: its score is the label's
            log-odds, or the output itself where the model is one of regression. May be None where
            there is one output, which is the score.
        template: ``"plain"``, prompt and completion as one text, or ``"chat"``, both in the
            tokenizer's chat template.
        device: where it runs, see :func:`pairbench.language.checkpoints.load_decoder`; ``"cuda"``
            stands for all GPUs.
        dtype: of weights and computations, likewise.
        revision: branch, tag or commit of a hub model.
    """

    name: str
    label: str | int | None = None
    template: str = "plain"
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            near = did_you_mean(str(self.template), TEMPLATES)
            raise InvalidParameter(
                f"template must be one of {', '.join(TEMPLATES)}, got {self.template!r}.{near}"
            )
        if self.dtype is not None:
            checked_dtype(self.dtype)

    def settings(self) -> dict[str, Any]:
        """All that a text's score depends on besides the text.

        Raises:
            InvalidParameter: If the model is not there, or it is not clear which output is meant.
        """
        config, revision = classifier_config(self.name, revision=self.revision)
        # As transformers has it: log-odds where labels exclude one another.
        own = config.num_labels == 1 or config.problem_type in (
            "regression",
            "multi_label_classification",
        )
        return {
            "revision": revision,
            "dtype": checked_place(self.device, self.dtype)[1],
            "output": self._output(config),
            "score": "output" if own else "log-odds",
            "template": self.template,
            "padding": "right",
            "truncation": "left",
        }

    def digest(self) -> str:
        """SHA-256 of :meth:`settings`: equal only where all scores are."""
        return _digest(self.settings())

    def _output(self, config: Any) -> int:
        names = {int(k): str(v) for k, v in config.id2label.items()}
        listed = ", ".join(f"{k} {v!r}" for k, v in sorted(names.items()))
        if self.label is None:
            if len(names) == 1:
                return 0
            raise InvalidParameter(
                f"{self.name!r} has {len(names)} outputs: {listed}. Say which is the reward, as in "
                f"label={names[max(names)]!r}."
            )
        for k, name in names.items():
            if self.label in (k, name):
                return k
        raise InvalidParameter(
            f"{self.name!r} has no label {self.label!r}."
            f"{did_you_mean(str(self.label), names.values())} There are: {listed}."
        )


def pool_scores(pool: Pool, model: RewardModel | str, *, jobs: int | None = None) -> Array:
    """The score of every completion, ``(n_prompts, n_completions)``, 0 where not valid.

    What was scored before, in this pool or another, is not read again. An empty completion has the
    score of its prompt.

    Args:
        pool: with the texts of its completions; without those of prompts, completions are scored
            alone.
        model: the reward model, or its name where it has one output.
        jobs: processes to share the texts, each with a model of its own, GPUs being taken in turn;
            if None, one for each GPU that has enough to do.

    Raises:
        InvalidParameter: If the model cannot be loaded, it is not clear which of its outputs is
            meant, or a text does not fit into the device's memory.
        InvalidPool: If the texts are not known, or there is nothing to read in one.
        TrainingFailed: If a score is no finite number.
    """
    if pool.texts is None:
        raise InvalidPool(
            "a reward model reads texts, but this pool does not know those of its completions. "
            "Give Pool(texts=…)."
        )
    places = np.argwhere(pool.valid).tolist()
    prompts = pool.prompts or ("",) * pool.n_prompts
    texts = [(prompts[x], pool.texts[x][k]) for x, k in places]
    result = np.zeros(pool.valid.shape)
    result[pool.valid] = _scores(
        texts, model, jobs, lambda i: "completion {1} of prompt {0}".format(*places[i])
    )
    return result


def text_scores(texts: Texts, model: RewardModel | str, *, jobs: int | None = None) -> Array:
    """The score of each text, ``(n,)``; see :func:`pool_scores`.

    Args:
        texts: prompts with their completions.
        model: the reward model, or its name where it has one output.
        jobs: processes.
    """
    return _scores(texts, model, jobs, lambda i: f"text {i}")


def _scores(
    texts: Texts, model: RewardModel | str, jobs: int | None, place: Callable[[int], str]
) -> Array:
    if isinstance(model, str):
        model = RewardModel(model)
    if jobs is not None and jobs < 1:
        raise InvalidParameter(f"jobs must be 1 or more, got {jobs}.")
    keys = []
    for i, text in enumerate(texts):
        if not any(text):
            raise InvalidPool(f"{place(i)} is empty, and so is its prompt. Leave it out (valid).")
        try:
            keys.append(_key(text, model.template))
        except UnicodeEncodeError as error:
            raise InvalidPool(
                f"{place(i)} is not Unicode: {error}. Expected no lone surrogates; mend the text."
            ) from error
    settings = model.settings()
    store = ScoreStore(cache_folder("scores") / _digest(settings))
    known = store.read()
    if not known.keys() >= set(keys):
        with store.alone(settings | {"model": model.name}):
            known = store.read()
            # In an order that is of the texts alone, as batches then are.
            todo = dict(sorted((k, t) for k, t in zip(keys, texts, strict=True) if k not in known))
            long = _read(todo, model, settings["revision"], jobs, store) if todo else 0
            known = store.read()
        if long:
            warnings.warn(
                f"{long} of {len(todo)} texts are longer than {model.name!r} reads: their "
                "beginnings are left out.",
                stacklevel=3,
            )
    scores = np.array([known.get(key, np.nan) for key in keys], dtype=np.float64)
    if (bad := np.flatnonzero(np.isnan(scores))).size:
        raise TrainingFailed(
            f"{model.name!r} gives {place(int(bad[0]))} no finite score; {len(bad)} of "
            f"{len(texts)} have none. The text may have no token, the model may have diverged, or "
            f"{settings['dtype']} may be too narrow for it: try dtype='float32'."
        )
    return scores


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _key(text: tuple[str, str], template: str) -> bytes:
    """SHA-256 of what is read: as plain text, it does not matter where the prompt ends."""
    read = "".join(text) if template == "plain" else f"{len(text[0])} {text[0]}{text[1]}"
    return hashlib.sha256(read.encode()).digest()


def _read(
    todo: dict[bytes, tuple[str, str]],
    model: RewardModel,
    revision: str,
    jobs: int | None,
    store: ScoreStore,
) -> int:
    """Score texts, into the store; how many were too long."""
    import torch

    place, _ = checked_place(model.device, model.dtype)
    gpus = torch.cuda.device_count() if place == "cuda" else 0
    if jobs is None:
        jobs = max(1, min(gpus, len(todo) // _LEAST))
    if jobs == 1:
        return _read_on(todo, model, revision, store)
    items = sorted(todo.items(), key=lambda item: len("".join(item[1])))
    shares = [dict(items[job::jobs]) for job in range(jobs)]
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        running = [
            executor.submit(
                _read_on,
                share,
                replace(model, device=f"cuda:{job % gpus}") if gpus else model,
                revision,
                store,
            )
            for job, share in enumerate(shares)
            if share
        ]
        return sum(done.result() for done in running)


def _read_on(
    todo: dict[bytes, tuple[str, str]], model: RewardModel, revision: str, store: ScoreStore
) -> int:
    """The same on one device; what is scored is kept also if something then fails."""
    settings, (place, dtype) = model.settings(), checked_place(model.device, model.dtype)
    checkpoint = _loaded(model.name, place, dtype, model.revision, revision)
    tokens = _TOKENS[checkpoint.device.type]
    items = sorted(todo.items(), key=lambda item: -len("".join(item[1])))
    long, found, begun = 0, dict[bytes, float](), time.monotonic()
    try:
        for start in range(0, len(items), _MOST):
            keys, texts = zip(*items[start : start + _MOST], strict=True)
            ids, n_long = _token_ids(checkpoint, texts, model.template)
            long += n_long
            for rows, logits in batched_logits(checkpoint.model, ids, tokens):
                scores = logits[:, settings["output"]]
                if settings["score"] == "log-odds":
                    scores = scores - logsumexp(np.delete(logits, settings["output"], 1), axis=1)
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                    if np.isfinite(score):
                        found[keys[row]] = score
                if time.monotonic() - begun > _SECONDS:
                    store.write(found)
                    found, begun = {}, time.monotonic()
    finally:
        store.write(found)
    return long


@lru_cache(maxsize=2)  # the labeler, and who else is asked for an evaluation
def _loaded(name: str, device: str, dtype: str, revision: str | None, digest: str) -> Checkpoint:
    checkpoint = load_classifier(name, device=device, dtype=dtype, revision=revision)
    if checkpoint.revision != digest:
        raise InvalidData(f"{name!r} changed while it was read. Try again.")
    checkpoint.model.config.use_cache = False  # of keys and values, which nobody asks for again
    return checkpoint


def _token_ids(checkpoint: Checkpoint, texts: Texts, template: str) -> tuple[list[list[int]], int]:
    """The tokens of texts, without what is too much at their beginnings; how many had too much."""
    tokenizer, plain = checkpoint.tokenizer, template == "plain"
    if plain:
        read = ["".join(text) for text in texts]
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
        read = tokenizer.apply_chat_template(chats, tokenize=False)
    # A chat template writes the special tokens itself.
    ids: list[list[int]]
    ids = tokenizer(read, add_special_tokens=plain, truncation=False, verbose=False)["input_ids"]
    long = [i for i, row in enumerate(ids) if len(row) > checkpoint.context]
    if long:
        tokenizer.truncation_side = "left"
        cut = tokenizer(
            [read[i] for i in long],
            add_special_tokens=plain,
            truncation=True,
            max_length=checkpoint.context,
        )["input_ids"]
        for i, row in zip(long, cut, strict=True):
            ids[i] = row
    return ids, len(long)


def batched_logits(
    model: Any, ids: Sequence[Sequence[int]], tokens: int
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """A sequence classifier's outputs, batch by batch, long texts first.

    A batch that does not fit into the device's memory is halved, and so are those after it.

    Args:
        model: a ``transformers`` model for sequence classification.
        ids: the tokens of each text; one that has none is left out.
        tokens: how many, padding included, are read at once.

    Yields:
        Which texts, ``(b,)``, and their outputs, ``(b, labels)``.

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
    """The outputs of one batch, ``(b, labels)``; None where memory is out."""
    import torch

    there = np.arange(lengths.max()) < lengths[:, None]
    # Decoders judge by the last token that is not this one, so it must be the model's own.
    padded = np.full(there.shape, model.config.get_text_config().pad_token_id, dtype=np.int64)
    padded[there] = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    try:
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(padded).to(model.device),
                attention_mask=torch.from_numpy(there).long().to(model.device),
            ).logits
            values: Array = logits.double().cpu().numpy()
            return values
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    give_back()
    return None
