"""Tables of runs: their cells, their rounds, and every question that was asked.

Reading a cell's file takes half a millisecond or more, so that a board of 18,000 would be waited
for at every question. What was read is kept as Parquet in the user's cache folder for as long as
the run's files are the same by name, size and time.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairbench._util.arrow import Column, Columns, concat_parts, from_rows, import_pyarrow, schema
from pairbench._util.cache import cache_folder
from pairbench._util.files import write_atomic
from pairbench.cells.plan import PROTOCOL
from pairbench.cells.store import CellRecord, Store, failure_from_record
from pairbench.errors import InvalidCell, RunError
from pairbench.view.budget import budget_unit

_IDENTITY: Columns = {
    "run": Column("string", "name of the run's folder"),
    "key": Column("string", "SHA-256 of the cell's identity; its file is named by it"),
    "environment": Column("string", "id and the parameters that are not defaults"),
    "design": Column("string", "name and the parameters that are not defaults"),
    "seed": Column("int64", "of the world"),
}
CELLS: Columns = {
    **_IDENTITY,
    "status": Column("string", "ok or failed"),
    "error": Column("string", "type and message, where it failed"),
    "environment_id": Column("string", "id of the environment"),
    "environment_params": Column("string", "all its parameters, as JSON"),
    "design_name": Column("string", "name of the design, or its file"),
    "design_params": Column("string", "all its parameters, as JSON"),
    "design_source": Column("string", "digest of the syntax tree of the file that defines it"),
    "control": Column("bool", "whether the design is shown the truth"),
    "unit": Column("string", "what budgets count: labels or money"),
    "horizon": Column("int64", "the budget that the design plans for"),
    "start_gap": Column("double", "gap before the first label, reward units"),
    "floor": Column("double", "least gap of the policy class, reward units"),
    "protocol": Column("int64", "version of what a cell means"),
    "version": Column("string", "of the pairbench that played it"),
    "commit": Column("string", "of the checkout that it was played from"),
    "dirty": Column("bool", "whether that had changes that were not committed"),
    "machine": Column("string", "what it was played on"),
}
"""One row for each cell of a run."""
ROUNDS: Columns = {
    **_IDENTITY,
    "round": Column("int64", "from 0"),
    "budget": Column("int64", "labels or money that could be spent by then"),
    "gap": Column("double", "suboptimality on held-out prompts, reward units"),
    "pool_gap": Column("double", "the same on the pool's own prompts"),
    "estimation": Column("double", "the gap without the floor, reward units"),
    "win_rate": Column("double", "against π_ref, ties half"),
    "estimation_error": Column("double", "(θ̂−θ*)ᵀ C(θ*) (θ̂−θ*), reward units²; null without θ*"),
    "design_efficiency": Column("double", "of all pairs so far, over the best ones"),
    "kl": Column("double", "KL(π ‖ π_ref), nats; null where scores are exact"),
    "reward": Column("double", "mean reward of a draw from π; null where scores are exact"),
    "bought": Column("int64", "labels so far"),
    "generated": Column("int64", "completions that were generated so far"),
    "tokens_read": Column("int64", "tokens that annotators have read so far"),
    "spent": Column("double", "units of money that went so far"),
    "select_seconds": Column("double", "time of the design's own work in the round"),
    "select_bytes": Column("int64", "most memory that it took; null where that is not known"),
    "train_seconds": Column("double", "time of the training after it"),
    "train_bytes": Column("int64", "most memory that it took; null where that is not known"),
}
"""One row for each round of each cell that could be played."""
LABELS: Columns = {
    **_IDENTITY,
    "round": Column("int64", "from 0"),
    "prompt": Column("int64", "number of the prompt in the pool"),
    "first": Column("int64", "number of the first completion"),
    "second": Column("int64", "number of the second completion"),
    "label": Column("double", "1 where the first was preferred, ½ for a tie; null where skipped"),
}
"""One row for each question that was asked."""

RELATIONS: Mapping[str, Columns] = {"cells": CELLS, "rounds": ROUNDS, "labels": LABELS}
_BATCH = 256  # cells that are turned into rows at once


@dataclass(frozen=True)
class RunTables:
    """A run as tables.

    Attributes:
        run: its folder.
        files: the Parquet file of each of :data:`RELATIONS`.
        invalid: number of the run's files that are no valid cells.
    """

    run: Path
    files: Mapping[str, Path]
    invalid: int


def run_folders(runs: Path) -> list[Path]:
    """The runs in a folder, or the folder itself where it is one.

    Raises:
        RunError: If there is none.
    """
    if (runs / "cells").is_dir():
        return [runs]
    found = sorted(path.parent for path in runs.glob("*/cells") if path.is_dir())
    if not found:
        what = "holds no runs" if runs.is_dir() else "is no folder"
        raise RunError(
            f"{runs} {what}. `pairbench run` makes one in runs/; --runs says where to look."
        )
    return found


def run_tables(
    run: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> RunTables:
    """The tables of a run, made now or kept from before.

    Args:
        run: its folder.
        on_progress: told, while many cells are read, of those read and those that there are.

    Raises:
        InvalidParameter: If pyarrow is not installed.
        RunError: If they cannot be kept.
    """
    names, stamp = _stamp(run / "cells")
    folder = cache_folder("cells") / hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]
    files = {name: folder / f"{name}-{stamp}.parquet" for name in RELATIONS}
    if not all(file.is_file() for file in files.values()):
        _keep(run, names, files, on_progress)
    import_pyarrow()
    import pyarrow.parquet as pq

    return RunTables(run, files, len(names) - int(pq.read_metadata(files["cells"]).num_rows))


def _stamp(cells: Path) -> tuple[list[str], str]:
    """The keys of a run's files, in order, and what changes whenever one of them does."""
    with os.scandir(cells) as found:
        seen = sorted(
            (entry.name.removesuffix(".json"), entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in found
            if entry.name.endswith(".json") and not entry.name.startswith(".")
        )
    # What a table holds depends on this file, too.
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    text = json.dumps([source, PROTOCOL, seen])
    return [name for name, _, _ in seen], hashlib.sha256(text.encode()).hexdigest()[:16]


def _keep(
    run: Path,
    keys: Iterable[str],
    files: Mapping[str, Path],
    on_progress: Callable[[int, int], None],
) -> None:
    """Read a run's cells and write its tables, in place of older ones."""
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    keys, store, name = list(keys), Store(run / "cells"), run.resolve().name
    outputs = {relation: pa.BufferOutputStream() for relation in files}
    writers = {
        relation: pq.ParquetWriter(output, schema(RELATIONS[relation]), compression="zstd")
        for relation, output in outputs.items()
    }
    for start in range(0, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        cells: list[dict[str, Any]] = []
        rounds: list[dict[str, Any]] = []
        labels: list[dict[str, Any]] = []
        for key in some:
            with suppress(InvalidCell):
                if (record := store.read(key)) is not None:
                    identity = _identity(name, key, record)
                    cells.append(_cell(identity, key, record))
                    if record["status"] == "ok":
                        rounds += _rounds(identity, record)
                        labels.append(_labels(identity, record))
        writers["cells"].write_table(from_rows(CELLS, cells))
        writers["rounds"].write_table(from_rows(ROUNDS, rounds))
        writers["labels"].write_table(concat_parts(LABELS, labels))
        if len(keys) > _BATCH:  # fewer are read in no time
            on_progress(start + len(some), len(keys))
    try:
        for relation, file in files.items():
            writers[relation].close()
            write_atomic(file, outputs[relation].getvalue().to_pybytes())
        for file in set(files["cells"].parent.glob("*.parquet")) - set(files.values()):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot keep what was read of {run} in {files['cells'].parent}: {error.strerror}. "
            "PAIRBENCH_CACHE names another folder."
        ) from error


def _identity(run: str, key: str, record: CellRecord) -> dict[str, Any]:
    labels = record["labels"]
    return {
        "run": run,
        "key": key,
        "environment": labels["environment"],
        "design": labels["design"],
        "seed": record["cell"]["seed"],
    }


def _cell(identity: Mapping[str, Any], key: str, record: CellRecord) -> dict[str, Any]:
    cell, made = record["cell"], record["made"]
    environment, design = cell["environment"], cell["design"]
    start = record["results"]["start"] if record["status"] == "ok" else {}
    return {
        **identity,
        "status": record["status"],
        "error": failure_from_record(key, record).error if record["status"] == "failed" else None,
        "environment_id": environment["name"],
        "environment_params": _json(environment["params"]),
        "design_name": design["name"],
        "design_params": _json(design["params"]),
        "design_source": design["source"],
        "control": record["control"],
        "unit": budget_unit(environment["params"]),
        "horizon": cell["horizon"],
        "start_gap": start.get("gap"),
        "floor": start.get("floor"),
        "protocol": cell["protocol"],
        "version": made["versions"]["pairbench"],
        "commit": (made["git"] or {}).get("commit"),
        "dirty": (made["git"] or {}).get("dirty"),
        "machine": made["host"]["platform"],
    }


def _rounds(identity: Mapping[str, Any], record: CellRecord) -> Iterable[dict[str, Any]]:
    bought = generated = 0
    for number, (round_, use) in enumerate(
        zip(record["results"]["rounds"], record["usage"], strict=True)
    ):
        score = round_["score"]
        sampled = score.get("sampled") or {}
        bought += len(round_["labels"])
        generated += len(round_["generated"])
        yield {
            **identity,
            "round": number,
            **{name: score[name] for name in _SCORES},
            **{name: sampled[name]["value"] if sampled else None for name in ("kl", "reward")},
            "budget": round_["budget"],
            "bought": bought,
            "generated": generated,
            "tokens_read": round_["tokens_read"],
            "spent": round_["spent"],
            "select_seconds": use["selection"]["seconds"],
            "select_bytes": use["selection"]["peak_bytes"],
            "train_seconds": use["training"]["seconds"],
            "train_bytes": use["training"]["peak_bytes"],
        }


_SCORES = ("gap", "pool_gap", "estimation", "win_rate", "estimation_error", "design_efficiency")


def _labels(identity: Mapping[str, Any], record: CellRecord) -> dict[str, Any]:
    """A cell's questions, as :func:`pairbench._util.arrow.concat_parts` takes them."""
    rounds = record["results"]["rounds"]
    counts = [len(round_["labels"]) for round_ in rounds]
    pairs = np.array([index for r in rounds for index in r["pairs"]], dtype=np.int64)
    prompt, first, second = pairs.reshape(-1, 3).T
    values = [label for r in rounds for label in r["labels"]]
    return {
        **identity,
        "round": np.repeat(np.arange(len(rounds)), counts),
        "prompt": prompt,
        "first": first,
        "second": second,
        "label": np.array(values, dtype=np.float64),  # None becomes NaN
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
