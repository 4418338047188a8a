"""A run: plan, store and executor together."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pairbench._util.files import write_atomic
from pairbench._util.provenance import provenance
from pairbench.cells.executors import check_time_limit, execute
from pairbench.cells.plan import PROTOCOL, RunEnvironment, RunSpec, stated_protocol, version_for
from pairbench.cells.store import Failure, Store, failure_from_record
from pairbench.design.registry import design_spec
from pairbench.errors import InvalidParameter, RunError

__all__ = ["RunEnvironment", "RunResult", "RunSpec", "run"]


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        folder: where its cells are.
        planned: number of cells of the plan.
        played: how many of them were played now; the others were there already.
        failed: those that could not be played.
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
    """Play what is missing of a plan.

    Worker processes are spawned: in a script, call this under ``if __name__ == "__main__":``.

    Args:
        spec: what to run.
        folder: where the cells go; those already there and valid are not played again.
        jobs: number of processes; the machine's cores if None.
        time_limit: seconds that a design may take for a round.
        retry_failed: also play the cells again that are on record as failed.
        on_progress: called every now and then with the cells done and the cells planned.

    Raises:
        RunError: If another run is writing into the folder.
        InvalidParameter: If ``jobs`` or ``time_limit`` cannot be.
        PairbenchError: If the plan cannot be made, see :meth:`RunSpec.cells`.
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise InvalidParameter(f"jobs must be 1 or more, got {jobs}.")
    check_time_limit(time_limit)
    cells, notes = spec.cells()
    folder = Path(folder).resolve()  # a design may change the directory
    store = Store(folder / "cells")
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {store.folder}: {error.strerror}.") from error
    try:
        # Released by the operating system if this process is killed.
        with FileLock(folder / ".lock", blocking=False):
            store.sweep()
            notes += store.set_aside_invalid(cell.key for cell in cells)
            notes += _other_protocol(folder)
            header = {
                "name": spec.name,
                "protocol": PROTOCOL,
                "reference": design_spec(spec.reference).label,
                "cells": [cell.key for cell in cells],
            }
            write_atomic(folder / "run.json", json.dumps(header, indent=1).encode() + b"\n")
            known = {cell.key: store.read(cell.key) for cell in cells}
            missing = [
                cell
                for cell in cells
                if (record := known[cell.key]) is None
                or (retry_failed and record["status"] == "failed")
            ]
            for cell in missing:
                store.path(cell.key).unlink(missing_ok=True)
            there = len(cells) - len(missing)
            on_progress(there, len(cells))
            if missing:
                execute(
                    missing,
                    store,
                    jobs=min(jobs, len(missing)),
                    time_limit=time_limit,
                    made=provenance(),
                    on_progress=lambda done: on_progress(there + done, len(cells)),
                )
    except Timeout:
        raise RunError(
            f"another run is writing into {folder}. Wait for it, or give another --out."
        ) from None
    # What was there was read above; only what was played now is new.
    known |= {cell.key: store.read(cell.key) for cell in missing}
    failed = [failure_from_record(k, r) for k, r in known.items() if r and r["status"] == "failed"]
    return RunResult(folder, len(cells), len(missing), failed, notes)


def _other_protocol(folder: Path) -> list[str]:
    """Note that the cells of an earlier run in the folder count no more, if they do not."""
    try:
        protocol = stated_protocol(json.loads((folder / "run.json").read_bytes()))
    except (OSError, ValueError):  # no run, or a header that is written anew anyway
        return []
    if protocol is None or protocol == PROTOCOL:
        return []
    return [
        f"the cells of the last run in {folder} are of protocol {protocol}, where {PROTOCOL} is "
        f"known: they stay there, and are played again. Read them with {version_for(protocol)}"
    ]
