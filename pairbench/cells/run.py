"""Runs: plan cells, play those that are missing, and store their records."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pairbench._util.checks import check_at_least
from pairbench._util.files import write_atomic
from pairbench._util.provenance import provenance
from pairbench.cells.executors import check_time_limit, execute
from pairbench.cells.plan import (
    PROTOCOL,
    Cell,
    RunEnvironment,
    RunSpec,
    stated_protocol,
    version_for,
)
from pairbench.cells.store import CellRecord, Failure, Store, failure_from_record
from pairbench.design.registry import design_spec
from pairbench.errors import RunError

__all__ = ["RunEnvironment", "RunResult", "RunSpec", "run"]


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run.

    Attributes:
        folder: the run's folder; the cells are in its subfolder ``cells``.
        planned: number of cells in the plan.
        played: number of cells played by this call; the others were already stored.
        failed: the cells of the plan that could not be played, by this call or an earlier one.
        notes: what was left out or set aside, and why.
    """

    folder: Path
    planned: int
    played: int
    failed: list[Failure]
    notes: list[str]


def run(
    spec: RunSpec,
    folder: str | Path,
    *,
    jobs: int | None = None,
    time_limit: float = 300.0,
    retry_failed: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RunResult:
    """Play the cells of a plan that are not stored yet.

    Worker processes are spawned: in a script, call this under ``if __name__ == "__main__":``.

    Args:
        spec: the specification of the run.
        folder: the run's folder; valid cells that it holds are not played again.
        jobs: number of worker processes; the number of cores if None.
        time_limit: seconds that a design may take for a round.
        retry_failed: whether to play cells again whose stored record is a failure.
        on_progress: called repeatedly with the numbers of stored cells and of planned cells.

    Raises:
        RunError: If another run is writing into the folder, or the folder cannot be created.
        InvalidParameter: If ``jobs`` or ``time_limit`` is out of range.
        PairbenchError: If the plan is invalid, see :meth:`RunSpec.cells`.
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    check_at_least(1, jobs=jobs)
    check_time_limit(time_limit)
    cells, notes = spec.cells()
    folder = Path(folder).resolve()  # a design may change the working directory
    store = _create_store(folder)
    with _exclusive_access(folder):
        store.sweep()
        notes += store.set_aside_invalid(cell.key for cell in cells)
        notes += _other_protocol(folder)
        _write_header(folder, spec, cells)
        records = {cell.key: store.read(cell.key) for cell in cells}
        missing = [cell for cell in cells if _is_missing(records[cell.key], retry_failed)]
        for cell in missing:
            store.path(cell.key).unlink(missing_ok=True)
        n_stored = len(cells) - len(missing)
        on_progress(n_stored, len(cells))
        if missing:
            execute(
                missing,
                store,
                jobs=min(jobs, len(missing)),
                time_limit=time_limit,
                provenance=provenance(),
                on_progress=lambda n_played: on_progress(n_stored + n_played, len(cells)),
            )
    # The other records were read above and have not changed.
    records |= {cell.key: store.read(cell.key) for cell in missing}
    failed = [
        failure_from_record(key, record)
        for key, record in records.items()
        if record and record["status"] == "failed"
    ]
    return RunResult(folder, len(cells), len(missing), failed, notes)


def _create_store(folder: Path) -> Store:
    """Create the store of a run's cells, unless it exists."""
    store = Store(folder / "cells")
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {store.folder}: {error.strerror}.") from error
    return store


@contextmanager
def _exclusive_access(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other runs; the system unlocks it if this process is killed."""
    try:
        lock = FileLock(folder / ".lock", blocking=False).acquire()
    except Timeout:
        raise RunError(
            f"another run is writing into {folder}. Wait for it, or give another --out."
        ) from None
    with lock:
        yield


def _write_header(folder: Path, spec: RunSpec, cells: Sequence[Cell]) -> None:
    """Write ``run.json``, from which a report reads the reference and the keys of the cells."""
    header = {
        "name": spec.name,
        "protocol": PROTOCOL,
        "reference": design_spec(spec.reference).label,
        "cells": [cell.key for cell in cells],
    }
    write_atomic(folder / "run.json", json.dumps(header, indent=1).encode() + b"\n")


def _is_missing(record: CellRecord | None, retry_failed: bool) -> bool:
    """Tell whether a cell has to be played, given its stored record."""
    return record is None or (retry_failed and record["status"] == "failed")


def _other_protocol(folder: Path) -> list[str]:
    """Return a note if the folder holds cells of another protocol, which are played again."""
    try:
        protocol = stated_protocol(json.loads((folder / "run.json").read_bytes()))
    except (OSError, ValueError):  # no run yet, or a damaged header, which is rewritten
        return []
    if protocol is None or protocol == PROTOCOL:
        return []
    return [
        f"the cells of the last run in {folder} are of protocol {protocol}, where {PROTOCOL} is "
        f"known: they stay there, and are played again. Read them with {version_for(protocol)}"
    ]
