"""Pools sampled from a language model: completions, their log-probabilities, and features.

A pool is a folder of Parquet files, one for each shard of the prompts, and a manifest that lists
them. Shards are written atomically, so that an interrupted command resumes after the last of them.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from pairbench._util.checks import check_at_least
from pairbench._util.files import write_atomic
from pairbench._util.provenance import provenance
from pairbench.errors import (
    InvalidData,
    InvalidParameter,
    OutputExists,
    RunError,
    UnknownName,
    unknown_name_error,
)
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.embeddings import hidden_features
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.sampling import (
    Sampler,
    Sampling,
    TransformersSampler,
    VllmSampler,
    completion_text,
    stream_ids,
)
from pairbench.language.tokens import tokenize_pool
from pairbench.pool.content import text_digest
from pairbench.pool.pool import Pool
from pairbench.pool.records import MANIFEST, short_repr

FEATURES = {"hidden": "mean", "last": "last", "none": None}
"""Kinds of features, with the pooling of hidden states for each."""
ENGINES = ("transformers", "vllm")
OnProgress = Callable[[int, int, str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of a pool to generate.

    Attributes:
        completions: number of completions of each prompt.
        sampling: sampling parameters.
        shard: number of prompts of a shard.
        features: ``"hidden"``, the mean of a completion's last hidden states, ``"last"``, the last
            hidden state of its last token, or ``"none"``.
        engine: ``"transformers"`` or ``"vllm"``.
    """

    completions: int = 16
    sampling: Sampling = field(default_factory=Sampling)
    shard: int = 64
    features: str = "hidden"
    engine: str = "transformers"

    def __post_init__(self) -> None:
        if self.completions < 2:
            raise InvalidParameter(
                f"completions must be 2 or more, to be compared, got {self.completions}."
            )
        check_at_least(1, shard=self.shard)
        for what, name, names in (
            ("kind of features", self.features, FEATURES),
            ("engine", self.engine, ENGINES),
        ):
            if name not in names:
                raise unknown_name_error(UnknownName, what, name, names)


@dataclass(frozen=True)
class GenerationSummary:
    """Counts of a generated pool, and of the work of the call that generated it.

    Attributes:
        prompts: number of distinct prompts.
        repeated: number of repeated prompts, which are left out.
        completions: number of completions, duplicates included.
        duplicates: number of completions equal to another of the same prompt.
        cut: number of completions that were truncated at the token limit.
        empty: number of completions left out because they have no text.
        unfit: number of completions left out because their text, tokenized again, is longer than
            the context, or merges with the whole prompt into one token.
        shards: number of files.
        made: number of files written by this call.
        tokens: number of tokens sampled by this call.
        seconds: wall time of this call, log-probabilities and features included.
    """

    prompts: int
    repeated: int
    completions: int
    duplicates: int
    cut: int
    empty: int
    unfit: int
    shards: int
    made: int
    tokens: int
    seconds: float


def generate_pool(
    policy: str,
    prompts: Sequence[str],
    out: Path,
    what: GenerationSettings | None = None,
    *,
    batch: int = 64,
    device: str | None = None,
    dtype: str | None = None,
    on_progress: OnProgress = lambda done, total, note: None,
) -> GenerationSummary:
    """Generate a pool, or resume its generation.

    ``pairbench select`` and :func:`pairbench.pool.corpus.load_pool` read it. A row has a
    prompt with ``completions``, and for each completion ``log_ref``, log P of its text and the EOS
    token at temperature 1 (nats), ``lengths`` (tokens, EOS included), whether it ``finished``, and
    ``embeddings``. A completion depends only on its prompt and number, the seed and the model; see
    :mod:`pairbench.language.sampling`. A batch never extends beyond its shard, so that a pool does
    not depend on where its generation was interrupted.

    Args:
        policy: a language model, as in :func:`pairbench.language.checkpoints.load_decoder`.
        prompts: texts; repeated ones are left out.
        out: the pool's folder.
        what: settings of the pool; to resume, they must be the same.
        batch: number of completions in a batch.
        device: device of the model.
        dtype: dtype of the model.
        on_progress: called with the number of completions so far, the final number, and the speed.

    Raises:
        InvalidParameter: If the model cannot be loaded or cannot read a prompt, or the folder holds
            a pool with other settings.
        OutputExists: If the folder holds other files.
        InvalidData: If pyarrow is not installed, or a shard is damaged.
        RunError: If another process is writing into the folder, or it cannot be created.
    """
    what = what or GenerationSettings()
    check_at_least(1, batch=batch)
    _pyarrow()
    distinct = _distinct_prompts(prompts)
    _check_folder(out)
    checkpoint = load_decoder(policy, device=device, dtype=dtype)
    prompt_ids = _tokenize_prompts(checkpoint, distinct, what.sampling.max_tokens)
    shards = [
        _Shard(out / f"{number:05}.parquet", slice(start, start + what.shard))
        for number, start in enumerate(range(0, len(distinct), what.shard))
    ]
    with _locked_folder(out):
        work = _write_missing(
            out, shards, checkpoint, distinct, prompt_ids, what, batch, on_progress
        )
    return GenerationSummary(
        prompts=len(distinct),
        repeated=len(prompts) - len(distinct),
        **_counts([shard.file for shard in shards]),
        shards=len(shards),
        made=work.made,
        tokens=work.tokens,
        seconds=work.seconds,
    )


class _Shard(NamedTuple):
    """A file of a pool, with the slice of the prompts that it holds."""

    file: Path
    prompts: slice


class _Work(NamedTuple):
    """Shards written and tokens sampled by one call, and the time taken, seconds."""

    made: int
    tokens: int
    seconds: float


def _distinct_prompts(prompts: Sequence[str]) -> list[str]:
    """Return the prompts without repetitions, in the order of their first occurrences.

    Raises:
        InvalidParameter: If there are none.
    """
    by_digest: dict[str, str] = {}
    for prompt in prompts:
        by_digest.setdefault(text_digest(prompt), prompt)
    if not by_digest:
        raise InvalidParameter("there is no prompt to complete.")
    return list(by_digest.values())


@contextmanager
def _locked_folder(out: Path) -> Iterator[None]:
    """Create a folder and hold its lock for the ``with`` block.

    Raises:
        RunError: If another process holds the lock, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        # The operating system releases the lock if this process is killed.
        with FileLock(out / ".lock", blocking=False):
            yield
    except Timeout:
        raise RunError(
            f"another process is writing into {out}. Wait for it, or give another --out."
        ) from None
    except OSError as error:
        raise RunError(f"cannot write into {out}: {error.strerror or error}.") from error


def _write_missing(
    out: Path,
    shards: list[_Shard],
    checkpoint: Checkpoint,
    prompts: list[str],
    prompt_ids: list[list[int]],
    what: GenerationSettings,
    batch: int,
    on_progress: OnProgress,
) -> _Work:
    """Write the shards that are missing in a locked folder, and the manifest if it is missing."""
    manifest = _manifest(checkpoint, prompts, what, [shard.file for shard in shards])
    _check_settings(out, manifest)
    for partial in out.glob(".*.tmp"):
        partial.unlink()
    missing = [shard for shard in shards if not shard.file.exists()]
    n_missing = sum(len(prompts[shard.prompts]) for shard in missing)
    done, total = (len(prompts) - n_missing) * what.completions, len(prompts) * what.completions
    on_progress(done, total, "")
    sampler = _sampler(checkpoint, what, batch) if missing else None
    if not (out / MANIFEST).exists():
        content = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_atomic(out / MANIFEST, content.encode() + b"\n")
    tokens, start = 0, time.monotonic()

    def on_batch(n_rows: int, n_tokens: int) -> None:
        nonlocal done, tokens
        done, tokens = done + n_rows, tokens + n_tokens
        speed = tokens / max(time.monotonic() - start, 1e-9)
        on_progress(done, total, f"{speed:,.0f} tokens/s")

    for shard in missing:
        assert sampler is not None
        rows = _complete(
            checkpoint, sampler, prompts[shard.prompts], prompt_ids[shard.prompts], what, on_batch
        )
        write_atomic(shard.file, _parquet(rows))
    return _Work(len(missing), tokens, time.monotonic() - start)


def _sampler(checkpoint: Checkpoint, what: GenerationSettings, batch: int) -> Sampler:
    if what.engine == "vllm":
        return VllmSampler(checkpoint.name, what.sampling, _dtype_name(checkpoint))
    return TransformersSampler(checkpoint, what.sampling, batch)


def _dtype_name(checkpoint: Checkpoint) -> str:
    return str(checkpoint.model.dtype).removeprefix("torch.")


def _complete(
    checkpoint: Checkpoint,
    sampler: Sampler,
    prompts: list[str],
    prompt_ids: list[list[int]],
    what: GenerationSettings,
    on_batch: Callable[[int, int], None],
) -> list[Row]:
    """Sample completions of prompts, and compute the table rows of a shard."""
    k = what.completions
    samples = sampler(
        [ids for ids in prompt_ids for _ in range(k)], stream_ids(prompts, range(k)), on_batch
    )
    rows: list[Row] = []
    for x, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True)):
        completions = [
            (completion_text(checkpoint.tokenizer, ids, sample.ids), sample.finished)
            for sample in samples[x * k : (x + 1) * k]
        ]
        nonempty = [(text, finished) for text, finished in completions if text.strip()]
        fits = fits_context(checkpoint, prompt, ids, [text for text, _ in nonempty])
        usable = [completion for completion, fit in zip(nonempty, fits, strict=True) if fit]
        texts = [text for text, _ in usable]
        rows.append(
            {
                "prompt": prompt,
                "completions": texts,
                "finished": [finished for _, finished in usable],
                "duplicates": len(texts) - len({text_digest(text) for text in texts}),
                "empty": k - len(nonempty),
                "unfit": len(nonempty) - len(texts),
            }
        )
    _add_model_columns(checkpoint, rows, what)
    return rows


def fits_context(
    checkpoint: Checkpoint, prompt: str, prompt_ids: list[int], texts: list[str]
) -> list[bool]:
    """Tell for each completion whether the model can read its text after the prompt.

    Sampled tokens may become other and more tokens when their text is tokenized again. The text
    must fit into the context, and its first token must still be the prompt's.

    Args:
        checkpoint: the model.
        prompt: text of the prompt.
        prompt_ids: token ids of the prompt.
        texts: texts of its completions.
    """
    if not texts:
        return []
    eos = checkpoint.tokenizer.eos_token
    full_texts = [prompt + text + eos for text in texts]
    full_ids = checkpoint.tokenizer(full_texts, verbose=False)["input_ids"]
    return [len(ids) <= checkpoint.context and ids[0] == prompt_ids[0] for ids in full_ids]


def _add_model_columns(checkpoint: Checkpoint, rows: list[Row], what: GenerationSettings) -> None:
    """Add log-probabilities, lengths and embeddings of the completions to rows."""
    pooling, k = FEATURES[what.features], what.completions
    for row in rows:
        row |= {"log_ref": [], "lengths": []} | ({"embeddings": []} if pooling else {})
    nonempty = [row for row in rows if row["completions"]]
    if not nonempty:
        return
    # Pad each prompt to k completions with copies of its first, to form a pool.
    texts = [[*row["completions"], *[row["completions"][0]] * k] for row in nonempty]
    pool = Pool(
        np.zeros((len(nonempty), k, 1)),
        prompts=[row["prompt"] for row in nonempty],
        texts=[padded[:k] for padded in texts],
    )
    tokens = tokenize_pool(pool, checkpoint.tokenizer, checkpoint.context)
    log_ref = log_likelihoods(checkpoint.model, tokens)
    lengths = (tokens.completions >= 0).sum(axis=2)
    features = hidden_features(checkpoint, tokens, pooling) if pooling else None
    for x, row in enumerate(nonempty):
        count = len(row["completions"])
        row["log_ref"] = log_ref[x, :count].tolist()
        row["lengths"] = lengths[x, :count].tolist()
        if features is not None:
            row["embeddings"] = list(features[x, :count])


def _tokenize_prompts(
    checkpoint: Checkpoint, prompts: list[str], max_tokens: int
) -> list[list[int]]:
    """Tokenize prompts.

    Raises:
        InvalidParameter: If the tokenizer has no EOS token, or a prompt has no token or leaves no
            room for a completion in the context.
    """
    tokenizer, context = checkpoint.tokenizer, checkpoint.context
    if tokenizer.eos_token is None:
        raise InvalidParameter(
            f"the tokenizer of {checkpoint.name!r} has no EOS token to end a completion with. Set "
            "one and save it: tokenizer.eos_token = '…'; tokenizer.save_pretrained(FOLDER)."
        )
    prompt_ids: list[list[int]] = tokenizer(prompts, verbose=False)["input_ids"]
    for number, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True)):
        description = f"prompt {number} ({short_repr(prompt)})"
        if not ids:
            raise InvalidParameter(
                f"{description} has no token, so that nothing comes before its completions. Begin "
                "prompts with the tokenizer's BOS token."
            )
        if len(ids) + max_tokens + 1 > context:
            raise InvalidParameter(
                f"{description} has {len(ids)} tokens, and with {max_tokens} of a completion and "
                f"one to end it they are more than the {context} that the model reads. Shorten or "
                "leave out such prompts, or take fewer --max-tokens."
            )
    return prompt_ids


def _check_folder(out: Path) -> None:
    """Raise unless a folder does not exist, is empty, or holds a pool."""
    if out.exists() and not out.is_dir():
        raise OutputExists(f"{out} is a file. A pool is a folder: give another --out.")
    if out.is_dir() and not (out / MANIFEST).exists():
        names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if names:
            raise OutputExists(
                f"{out} holds other things ({names[0]}). Give a new folder by --out."
            )


def _manifest(
    checkpoint: Checkpoint, prompts: list[str], what: GenerationSettings, files: list[Path]
) -> dict[str, Any]:
    """Build the manifest: names of the files, settings that must not change, and provenance."""
    digest = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
    settings = asdict(what)
    return {
        "files": [file.name for file in files],
        "settings": {
            "policy": checkpoint.revision,
            "dtype": _dtype_name(checkpoint),
            "prompts": digest,
            **settings.pop("sampling"),
            **settings,
        },
        "policy": checkpoint.name,
        "made": provenance(),
    }


def _check_settings(out: Path, manifest: dict[str, Any]) -> None:
    """Raise if a folder holds a pool with other settings.

    Raises:
        InvalidParameter: If it does.
        InvalidData: If its manifest is damaged.
    """
    path = out / MANIFEST
    if not path.exists():
        return
    try:
        old, new = json.loads(path.read_bytes())["settings"], manifest["settings"]
        names = sorted(new.keys() | old.keys())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is damaged: {error!r}. Give a new folder by --out.") from error
    differ = [
        f"{name} {short_repr(old.get(name))} there, {short_repr(new.get(name))} now"
        for name in names
        if old.get(name) != new.get(name)
    ]
    if differ:
        raise InvalidParameter(
            f"{out} holds a pool that was made otherwise: {'; '.join(differ)}. Give the same "
            "settings to go on with it, or another --out."
        )


def _parquet(rows: list[Row]) -> bytes:
    """Encode rows as a Parquet file."""
    pa, pq = _pyarrow()
    types = {
        "prompt": pa.string(),
        "completions": pa.list_(pa.string()),
        "log_ref": pa.list_(pa.float64()),
        "lengths": pa.list_(pa.int64()),
        "finished": pa.list_(pa.bool_()),
        "embeddings": pa.list_(pa.list_(pa.float32())),
        "duplicates": pa.int64(),
        "empty": pa.int64(),
        "unfit": pa.int64(),
    }
    schema = pa.schema([(name, kind) for name, kind in types.items() if name in rows[0]])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _counts(files: list[Path]) -> dict[str, int]:
    """Sum the counts of completions over a pool's files.

    Raises:
        InvalidData: If a file is damaged.
    """
    pa, pq = _pyarrow()
    counts = dict.fromkeys(("completions", "duplicates", "cut", "empty", "unfit"), 0)
    for file in files:
        try:
            table = pq.read_table(file, columns=["finished", "duplicates", "empty", "unfit"])
        except (pa.ArrowException, OSError) as error:
            raise InvalidData(
                f"{file} is damaged: {error}. Remove it, and the same command makes it again."
            ) from error
        finished = table["finished"].combine_chunks().flatten().to_pylist()
        counts["completions"] += len(finished)
        counts["cut"] += finished.count(False)
        for name in ("duplicates", "empty", "unfit"):
            counts[name] += sum(table[name].to_pylist())
    return counts


def _pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and its Parquet module.

    Raises:
        InvalidData: If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidData(
            "a pool is written in Parquet, which needs pyarrow: pip install 'pairbench[parquet]'."
        ) from error
    return pa, pq
