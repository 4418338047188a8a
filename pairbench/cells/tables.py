"""Tables of runs: one of their cells, one of the rounds, and one of the labelled pairs.

Reading a cell's file takes half a millisecond or more, which for a board of 18,000 cells is too
long for every query. The tables are therefore cached as Parquet files in the user's cache folder,
until the name, size or modification time of a file of the run changes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairbench._util.arrow import (
    Column,
    Columns,
    Table,
    concat_parts,
    from_rows,
    import_pyarrow,
    schema,
)
from pairbench._util.cache import cache_folder
from pairbench._util.files import write_atomic
from pairbench.cells.plan import PROTOCOL
from pairbench.cells.store import CellRecord, Store, failure_from_record
from pairbench.errors import RunError
from pairbench.view.budget import budget_unit

_IDENTITY: Columns = {
    "run": Column("string", "name of the run's folder"),
    "key": Column("string", "SHA-256 of the cell's identity, and name of its file"),
    "environment": Column("string", "environment id, with parameters that are not defaults"),
    "design": Column("string", "name of the design, with parameters that are not defaults"),
    "seed": Column("int64", "seed of the world"),
}
CELLS: Columns = {
    **_IDENTITY,
    "status": Column("string", "ok or failed"),
    "error": Column("string", "type and message of the error; null where the cell did not fail"),
    "environment_id": Column("string", "id of the environment"),
    "environment_params": Column("string", "all parameters of the environment, as JSON"),
    "design_name": Column("string", "name of the design, or its file"),
    "design_params": Column("string", "all parameters of the design, as JSON"),
    "design_source": Column("string", "digest of the syntax tree of the file that defines it"),
    "control": Column("bool", "whether the design is a control, which gets the truth"),
    "unit": Column("string", "unit of budgets: labels or money"),
    "horizon": Column("int64", "total budget of the episode, in labels or money"),
    "start_gap": Column("double", "gap before the first label, reward units"),
    "floor": Column("double", "smallest gap that the policy class can reach, reward units"),
    "protocol": Column("int64", "version of what is computed; cells of different ones differ"),
    "version": Column("string", "version of pairbench that played the cell"),
    "commit": Column("string", "Git commit of the checkout that played the cell; null outside one"),
    "dirty": Column("bool", "whether the checkout had uncommitted changes; null outside one"),
    "machine": Column("string", "platform on which the cell was played"),
}
"""Columns of the relation with one row for each cell of a run."""
ROUNDS: Columns = {
    **_IDENTITY,
    "round": Column("int64", "index of the round, from 0"),
    "budget": Column("int64", "cumulative budget of the round, labels or units of money"),
    "gap": Column("double", "suboptimality on held-out prompts, reward units"),
    "pool_gap": Column("double", "suboptimality on the prompts of the pool, reward units"),
    "estimation": Column("double", "gap less floor, reward units"),
    "win_rate": Column("double", "win rate against π_ref on held-out prompts, ties count half"),
    "estimation_error": Column("double", "(θ̂−θ*)ᵀ C(θ*) (θ̂−θ*), reward units²; null without θ*"),
    "design_efficiency": Column("double", "criterion of the optimal design over that of the pairs"),
    "kl": Column("double", "KL(π ‖ π_ref), nats; null where scores are exact"),
    "reward": Column("double", "mean reward of a draw from π; null where scores are exact"),
    "bought": Column("int64", "labels bought so far"),
    "generated": Column("int64", "completions generated so far"),
    "tokens_read": Column("int64", "tokens that annotators have read so far"),
    "spent": Column("double", "units of money spent so far"),
    "select_seconds": Column("double", "wall time of the design in the round, seconds"),
    "select_bytes": Column("int64", "peak memory of the design, bytes; null where unknown"),
    "train_seconds": Column("double", "wall time of the training after the round, seconds"),
    "train_bytes": Column("int64", "peak memory of that training, bytes; null where unknown"),
}
"""Columns of the relation with one row for each round of each successful cell."""
LABELS: Columns = {
    **_IDENTITY,
    "round": Column("int64", "index of the round, from 0"),
    "prompt": Column("int64", "index of the prompt in the pool"),
    "first": Column("int64", "index of the first completion"),
    "second": Column("int64", "index of the second completion"),
    "label": Column("double", "1 first is better, 0 second, ½ tie; null without an answer"),
}
"""Columns of the relation with one row for each label that was bought."""

RELATIONS: Mapping[str, Columns] = {"cells": CELLS, "rounds": ROUNDS, "labels": LABELS}
"""Columns of each relation, by its name."""
_BATCH = 256  # cells whose records are in memory at once


@dataclass(frozen=True)
class RunTables:
    """The tables of a run.

    Attributes:
        run: the run's folder.
        files: the Parquet file of each of :data:`RELATIONS`.
        invalid: number of the run's cell files that are invalid, and are in no table.
    """

    run: Path
    files: Mapping[str, Path]
    invalid: int


def run_folders(runs: Path) -> list[Path]:
    """List the run folders in a folder, or the folder itself if it is a run folder.

    Raises:
        RunError: If there is none.
    """
    if (runs / "cells").is_dir():
        return [runs]
    folders = sorted(path.parent for path in runs.glob("*/cells") if path.is_dir())
    if not folders:
        problem = "holds no runs" if runs.is_dir() else "is no folder"
        raise RunError(
            f"{runs} {problem}. `pairbench run` makes one in runs/; --runs says where to look."
        )
    return folders


def run_tables(
    run: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> RunTables:
    """Return the tables of a run, from the cache if they are up to date.

    Args:
        run: the run's folder.
        on_progress: called with the numbers of cells read and of all cells, if there are many.

    Raises:
        InvalidParameter: If pyarrow is not installed.
        RunError: If the tables cannot be written into the cache folder.
    """
    keys, version = _keys_and_version(run / "cells")
    folder = cache_folder("cells") / hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]
    files = {relation: folder / f"{relation}-{version}.parquet" for relation in RELATIONS}
    if not all(file.is_file() for file in files.values()):
        tables = _read_tables(run, keys, on_progress)
        try:
            _write_cache(files, tables)
        except OSError as error:
            raise RunError(
                f"cannot cache the tables of {run} in {folder}: {error.strerror}. "
                "Set PAIRBENCH_CACHE to another folder."
            ) from error
    import_pyarrow()
    import pyarrow.parquet as pq

    return RunTables(run, files, len(keys) - int(pq.read_metadata(files["cells"]).num_rows))


def _keys_and_version(cells: Path) -> tuple[list[str], str]:
    """Return the keys of a run's cell files, sorted, and a digest that changes with any file."""
    with os.scandir(cells) as entries:
        files = sorted(
            (entry.name.removesuffix(".json"), entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name.endswith(".json") and not entry.name.startswith(".")
        )
    # The tables also depend on the code of this module.
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    text = json.dumps([source, PROTOCOL, files])
    return [key for key, _, _ in files], hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_tables(
    run: Path, keys: Sequence[str], on_progress: Callable[[int, int], None]
) -> dict[str, bytes]:
    """Read a run's cells and build its tables.

    Args:
        run: the run's folder.
        keys: keys of the cell files.
        on_progress: called after each batch with the numbers of cells read and of all cells, unless
            one batch holds them all.

    Returns:
        The content of the Parquet file of each relation.
    """
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    store, name = Store(run / "cells"), run.resolve().name
    buffers = {relation: pa.BufferOutputStream() for relation in RELATIONS}
    writers = {
        relation: pq.ParquetWriter(buffer, schema(RELATIONS[relation]), compression="zstd")
        for relation, buffer in buffers.items()
    }
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        for relation, table in _batch_tables(name, store, batch).items():
            writers[relation].write_table(table)
        if len(keys) > _BATCH:
            on_progress(start + len(batch), len(keys))
    for writer in writers.values():
        writer.close()
    return {relation: buffer.getvalue().to_pybytes() for relation, buffer in buffers.items()}


def _batch_tables(run: str, store: Store, keys: Iterable[str]) -> dict[str, Table]:
    """Build the rows of each relation for some cells; invalid cells are left out.

    Args:
        run: name of the run.
        store: the run's cells.
        keys: keys of the cells.
    """
    cells: list[dict[str, Any]] = []
    rounds: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for key, record in store.records(keys):
        identity = _identity(run, key, record)
        cells.append(_cell(identity, key, record))
        if record["status"] == "ok":
            rounds += _rounds(identity, record)
            labels.append(_labels(identity, record))
    return {
        "cells": from_rows(CELLS, cells),
        "rounds": from_rows(ROUNDS, rounds),
        "labels": concat_parts(LABELS, labels),
    }


def _write_cache(files: Mapping[str, Path], tables: Mapping[str, bytes]) -> None:
    """Write a run's tables into the cache and remove the outdated ones beside them."""
    for relation, file in files.items():
        write_atomic(file, tables[relation])
    for file in set(files["cells"].parent.glob("*.parquet")) - set(files.values()):
        file.unlink(missing_ok=True)


def _identity(run: str, key: str, record: CellRecord) -> dict[str, Any]:
    """Return the columns that all relations share."""
    labels = record["labels"]
    return {
        "run": run,
        "key": key,
        "environment": labels["environment"],
        "design": labels["design"],
        "seed": record["cell"]["seed"],
    }


def _cell(identity: Mapping[str, Any], key: str, record: CellRecord) -> dict[str, Any]:
    """Return the row of a cell."""
    cell, provenance = record["cell"], record["made"]
    environment, design = cell["environment"], cell["design"]
    git = provenance["git"] or {}
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
        "version": provenance["versions"]["pairbench"],
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "machine": provenance["host"]["platform"],
    }


def _rounds(identity: Mapping[str, Any], record: CellRecord) -> Iterable[dict[str, Any]]:
    """Yield the row of each round of a cell."""
    bought = generated = 0
    for index, (round_, usage) in enumerate(
        zip(record["results"]["rounds"], record["usage"], strict=True)
    ):
        score = round_["score"]
        sampled = score.get("sampled") or {}
        bought += len(round_["labels"])
        generated += len(round_["generated"])
        yield {
            **identity,
            "round": index,
            **{name: score[name] for name in _SCORES},
            **{name: sampled[name]["value"] if sampled else None for name in ("kl", "reward")},
            "budget": round_["budget"],
            "bought": bought,
            "generated": generated,
            "tokens_read": round_["tokens_read"],
            "spent": round_["spent"],
            "select_seconds": usage["selection"]["seconds"],
            "select_bytes": usage["selection"]["peak_bytes"],
            "train_seconds": usage["training"]["seconds"],
            "train_bytes": usage["training"]["peak_bytes"],
        }


_SCORES = ("gap", "pool_gap", "estimation", "win_rate", "estimation_error", "design_efficiency")


def _labels(identity: Mapping[str, Any], record: CellRecord) -> dict[str, Any]:
    """Return a cell's labels by column, for :func:`pairbench._util.arrow.concat_parts`."""
    rounds = record["results"]["rounds"]
    counts = [len(round_["labels"]) for round_ in rounds]
    pairs = np.array([index for round_ in rounds for index in round_["pairs"]], dtype=np.int64)
    prompt, first, second = pairs.reshape(-1, 3).T
    values = [label for round_ in rounds for label in round_["labels"]]
    return {
        **identity,
        "round": np.repeat(np.arange(len(rounds)), counts),
        "prompt": prompt,
        "first": first,
        "second": second,
        "label": np.array(values, dtype=np.float64),  # None becomes NaN
    }


def _json(value: Any) -> str:
    """Serialise a value as JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
