"""Pools made by a language model: completions, their log-probabilities, and features.

A pool is a folder of Parquet files, one for each shard of the prompts, and a manifest that names
them. A shard is there whole or not at all, so that what was stopped goes on from the last of them.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pairbench.annotation.content import key
from pairbench.annotation.rows import MANIFEST, short
from pairbench.errors import (
    FileThere,
    InvalidData,
    InvalidParameter,
    RunError,
    UnknownName,
    unknown,
)
from pairbench.files import write_whole
from pairbench.harness.provenance import provenance
from pairbench.language.checkpoints import Checkpoint, load_decoder
from pairbench.language.embeddings import hidden_features
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.sampling import (
    Sampler,
    Sampling,
    TransformersSampler,
    VllmSampler,
    completion_text,
    streams,
)
from pairbench.language.tokens import tokenised
from pairbench.pool import Pool

FEATURES = {"hidden": "mean", "last": "last", "none": None}
"""What features there are, and how hidden states are pooled for them."""
ENGINES = ("transformers", "vllm")
OnProgress = Callable[[int, int, str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Generation:
    """What a pool is to hold.

    Attributes:
        completions: of each prompt.
        sampling: how they are drawn.
        shard: prompts whose completions are written together.
        features: ``"hidden"``, the mean of a completion's last hidden states, ``"last"``, the one
            of its last token, or ``"none"``.
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
        if self.shard < 1:
            raise InvalidParameter(f"shard must be 1 or more, got {self.shard}.")
        for what, name, known in (
            ("kind of features", self.features, FEATURES),
            ("engine", self.engine, ENGINES),
        ):
            if name not in known:
                raise unknown(UnknownName, what, name, known)


@dataclass(frozen=True)
class Generated:
    """What a pool holds.

    Attributes:
        prompts: how many.
        repeated: prompts left out because they came before.
        completions: how many, duplicates included.
        duplicates: those that repeat another of their prompt.
        cut: those that were cut before they came to their end.
        empty: completions left out because they have no text.
        unfit: completions left out because their texts are no longer what was drawn: read again,
            they are longer than the context, or one token with all of their prompt.
        shards: files.
        made: files that were made now.
        tokens: drawn now.
        seconds: that this took, log-probabilities and features included.
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
    what: Generation | None = None,
    *,
    batch: int = 64,
    device: str | None = None,
    dtype: str | None = None,
    on_progress: OnProgress = lambda done, total, note: None,
) -> Generated:
    """Make a pool, or what is missing of it.

    ``pairbench select`` and :func:`pairbench.annotation.pools.load_pool` read it. A row has a
    prompt with ``completions``, and of each completion ``log_ref``, log P of its text and the EOS
    token at temperature 1 (nats), ``lengths`` (tokens, EOS included), whether it ``finished``, and
    ``embeddings``. Only a completion's prompt and number, the seed and the model decide on it, as
    :mod:`pairbench.language.sampling` says. A batch never goes beyond its shard, so that a pool
    does not depend on where it was stopped.

    Args:
        policy: a language model, see :func:`pairbench.language.checkpoints.load_decoder`.
        prompts: texts; one that is there twice is taken once.
        out: the folder.
        what: what it is to hold; it must be the same when a command goes on.
        batch: completions that are drawn at once.
        device: where the model runs.
        dtype: in which numbers.
        on_progress: told of the completions that are there, those that there will be, and the
            speed.

    Raises:
        InvalidParameter: If the model cannot be loaded, a prompt cannot be read by it, or the
            folder holds shards that were made otherwise.
        FileThere: If the folder holds other things.
        InvalidData: If pyarrow is not installed, or a shard is damaged.
        RunError: If another process is writing there, or the folder cannot be made.
    """
    what = what or Generation()
    if batch < 1:
        raise InvalidParameter(f"batch must be 1 or more, got {batch}.")
    _pyarrow()
    distinct: dict[str, str] = {}
    for prompt in prompts:
        distinct.setdefault(key(prompt), prompt)
    kept = list(distinct.values())
    if not kept:
        raise InvalidParameter("there is no prompt to complete.")
    _check_folder(out)
    checkpoint = load_decoder(policy, device=device, dtype=dtype)
    heads = _checked_heads(checkpoint, kept, what.sampling.max_tokens)
    starts = range(0, len(kept), what.shard)
    files = [out / f"{number:05}.parquet" for number in range(len(starts))]
    made = tokens = 0
    begin = time.monotonic()
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Released by the operating system if this process is killed.
        with FileLock(out / ".lock", blocking=False):
            manifest = _manifest(checkpoint, kept, what, files)
            _check_alike(out, manifest)
            for left in out.glob(".*.tmp"):
                left.unlink()
            missing = [number for number, file in enumerate(files) if not file.exists()]
            done = len(kept) - sum(len(kept[starts[i] : starts[i] + what.shard]) for i in missing)
            done, total = done * what.completions, len(kept) * what.completions
            on_progress(done, total, "")
            sampler = _sampler(checkpoint, what, batch) if missing else None
            if not (out / MANIFEST).exists():
                content = json.dumps(manifest, indent=1, ensure_ascii=False)
                write_whole(out / MANIFEST, content.encode() + b"\n")
            begin = time.monotonic()

            def on_batch(rows: int, drawn: int) -> None:
                nonlocal done, tokens
                done, tokens = done + rows, tokens + drawn
                speed = tokens / max(time.monotonic() - begin, 1e-9)
                on_progress(done, total, f"{speed:,.0f} tokens/s")

            for number in missing:
                part = slice(starts[number], starts[number] + what.shard)
                assert sampler is not None
                rows = _shard(checkpoint, sampler, kept[part], heads[part], what, on_batch)
                write_whole(files[number], _parquet(rows))
                made += 1
    except Timeout:
        raise RunError(
            f"another process is writing into {out}. Wait for it, or give another --out."
        ) from None
    except OSError as error:
        raise RunError(f"cannot write into {out}: {error.strerror or error}.") from error
    seconds = time.monotonic() - begin
    counts = _counts(files)
    return Generated(
        prompts=len(kept),
        repeated=len(prompts) - len(kept),
        **counts,
        shards=len(files),
        made=made,
        tokens=tokens,
        seconds=seconds,
    )


def _sampler(checkpoint: Checkpoint, what: Generation, batch: int) -> Sampler:
    if what.engine == "vllm":
        numbers = str(checkpoint.model.dtype).removeprefix("torch.")
        return VllmSampler(checkpoint.name, what.sampling, numbers)
    return TransformersSampler(checkpoint, what.sampling, batch)


def _shard(
    checkpoint: Checkpoint,
    sampler: Sampler,
    prompts: list[str],
    heads: list[list[int]],
    what: Generation,
    on_batch: Callable[[int, int], None],
) -> list[Row]:
    """The rows of some prompts."""
    k = what.completions
    samples = sampler(
        [head for head in heads for _ in range(k)], streams(prompts, range(k)), on_batch
    )
    rows: list[Row] = []
    for x, (prompt, head) in enumerate(zip(prompts, heads, strict=True)):
        drawn = [
            (completion_text(checkpoint.tokenizer, head, sample.ids), sample.finished)
            for sample in samples[x * k : (x + 1) * k]
        ]
        said = [(text, finished) for text, finished in drawn if text.strip()]
        good = fitting(checkpoint, prompt, head, [text for text, _ in said])
        texts = [text for (text, _), fits in zip(said, good, strict=True) if fits]
        rows.append(
            {
                "prompt": prompt,
                "completions": texts,
                "finished": [end for (_, end), fits in zip(said, good, strict=True) if fits],
                "duplicates": len(texts) - len({key(text) for text in texts}),
                "empty": k - len(said),
                "unfit": len(said) - len(texts),
            }
        )
    _describe(checkpoint, rows, what)
    return rows


def fitting(checkpoint: Checkpoint, prompt: str, head: list[int], texts: list[str]) -> list[bool]:
    """Which texts the model can read after their prompt, and with something of it before them.

    What was drawn as tokens may be other tokens, and more of them, once it is text.

    Args:
        checkpoint: the model.
        prompt: a text.
        head: its tokens.
        texts: completions of it.
    """
    if not texts:
        return []
    end = checkpoint.tokenizer.eos_token
    whole = [prompt + text + end for text in texts]
    read = checkpoint.tokenizer(whole, verbose=False)["input_ids"]
    return [len(ids) <= checkpoint.context and ids[0] == head[0] for ids in read]


def _describe(checkpoint: Checkpoint, rows: list[Row], what: Generation) -> None:
    """Add to rows what the model says of their texts."""
    pooling, wide = FEATURES[what.features], range(what.completions)
    for row in rows:
        row |= {"log_ref": [], "lengths": []} | ({"embeddings": []} if pooling else {})
    there = [row for row in rows if row["completions"]]
    if not there:
        return
    # A pool's prompts have two completions or more; what is missing is filled with the first.
    texts = [[*row["completions"], *[row["completions"][0]] * len(wide)] for row in there]
    pool = Pool(
        np.zeros((len(there), len(wide), 1)),
        prompts=[row["prompt"] for row in there],
        texts=[filled[: len(wide)] for filled in texts],
    )
    tokens = tokenised(pool, checkpoint.tokenizer, checkpoint.context)
    log_ref = log_likelihoods(checkpoint.model, tokens)
    lengths = (tokens.completions >= 0).sum(axis=2)
    features = hidden_features(checkpoint, tokens, pooling) if pooling else None
    for x, row in enumerate(there):
        count = len(row["completions"])
        row["log_ref"] = log_ref[x, :count].tolist()
        row["lengths"] = lengths[x, :count].tolist()
        if features is not None:
            row["embeddings"] = list(features[x, :count])


def _checked_heads(checkpoint: Checkpoint, prompts: list[str], max_tokens: int) -> list[list[int]]:
    """The prompts' tokens."""
    tokenizer, context = checkpoint.tokenizer, checkpoint.context
    if tokenizer.eos_token is None:
        raise InvalidParameter(
            f"the tokenizer of {checkpoint.name!r} has no EOS token to end a completion with. Set "
            "one and save it: tokenizer.eos_token = '…'; tokenizer.save_pretrained(FOLDER)."
        )
    heads: list[list[int]] = tokenizer(prompts, verbose=False)["input_ids"]
    for number, (prompt, head) in enumerate(zip(prompts, heads, strict=True)):
        which = f"prompt {number} ({short(prompt)})"
        if not head:
            raise InvalidParameter(
                f"{which} has no token, so that nothing comes before its completions. Begin "
                "prompts with the tokenizer's BOS token."
            )
        if len(head) + max_tokens + 1 > context:
            raise InvalidParameter(
                f"{which} has {len(head)} tokens, and with {max_tokens} of a completion and one to "
                f"end it they are more than the {context} that the model reads. Shorten or leave "
                "out such prompts, or take fewer --max-tokens."
            )
    return heads


def _check_folder(out: Path) -> None:
    """Make sure that a folder is new, empty, or holds a pool of ours."""
    if out.exists() and not out.is_dir():
        raise FileThere(f"{out} is a file. A pool is a folder: give another --out.")
    if out.is_dir() and not (out / MANIFEST).exists():
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if others:
            raise FileThere(f"{out} holds other things ({others[0]}). Give a new folder by --out.")


def _manifest(
    checkpoint: Checkpoint, prompts: list[str], what: Generation, files: list[Path]
) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
    settings = asdict(what)
    return {
        "files": [file.name for file in files],
        "settings": {
            "policy": checkpoint.revision,
            "dtype": str(checkpoint.model.dtype).removeprefix("torch."),
            "prompts": digest,
            **settings.pop("sampling"),
            **settings,
        },
        "policy": checkpoint.name,
        "made": provenance(),
    }


def _check_alike(out: Path, wanted: dict[str, Any]) -> None:
    """Make sure that what is there was made as the rest is to be."""
    path = out / MANIFEST
    if not path.exists():
        return
    try:
        there = json.loads(path.read_bytes())["settings"]
        names = sorted(wanted["settings"].keys() | there.keys())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is damaged: {error!r}. Give a new folder by --out.") from error
    differ = [
        f"{name} {short(there.get(name))} there, {short(wanted['settings'].get(name))} now"
        for name in names
        if there.get(name) != wanted["settings"].get(name)
    ]
    if differ:
        raise InvalidParameter(
            f"{out} holds a pool that was made otherwise: {'; '.join(differ)}. Give the same "
            "settings to go on with it, or another --out."
        )


def _parquet(rows: list[Row]) -> bytes:
    pa, pq = _pyarrow()
    kinds = {
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
    schema = pa.schema([(name, kind) for name, kind in kinds.items() if name in rows[0]])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _counts(files: list[Path]) -> dict[str, int]:
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
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidData(
            "a pool is written in Parquet, which needs pyarrow: pip install 'pairbench[parquet]'."
        ) from error
    return pa, pq
