"""Worker processes: play cells and store their records."""

import faulthandler
import io
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import rfc8785

from pairbench.cells.plan import Cell
from pairbench.cells.play import play
from pairbench.cells.store import CellRecord, Store
from pairbench.design.registry import design_from
from pairbench.worlds.registry import environment_from


def play_cells(
    cells: Sequence[Cell], folder: Path, time_limit: float, made: dict[str, Any], parent: int
) -> None:
    """Play cells one after the other; each record is on disk before the next cell begins.

    Args:
        cells: the cells; those of one world are adjacent, so that it is drawn once.
        folder: the folder of the store.
        time_limit: seconds that a design may take for a round.
        made: provenance, for the records.
        parent: process id of the parent; the worker stops before the next cell once it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    store = Store(folder)
    for cell in cells:
        if os.getppid() != parent:
            return
        diary = diary_file(folder, cell)
        diary.write_text("0\n")
        record = play_cell(cell, time_limit, diary)
        try:
            store.write(cell.key, record | {"made": made})
        except rfc8785.CanonicalizationError as error:  # such as a score that is NaN
            message = f"the result cannot be put on record: {error}"
            store.write(
                cell.key, failure_record(cell, type(error).__name__, message) | {"made": made}
            )
        diary.unlink(missing_ok=True)


# Why: docs/decisions/034-workers-are-plain-processes.md
def play_cell(cell: Cell, time_limit: float, diary: Path) -> CellRecord:
    """Play a cell and return its record, which may be that of a failure."""
    worker_id = os.getpid()

    @contextmanager
    def guard(round_: int) -> Iterator[None]:
        # The watchdog of the interpreter ends the process even if the design never releases the
        # interpreter, and leaves the stack in a file, which the parent reads.
        with diary.open("w") as file:
            file.write(f"{round_ + 1}\n")
            file.flush()
            faulthandler.dump_traceback_later(time_limit, exit=True, file=file)
            try:
                yield
            except BaseException as error:
                error.add_note(f"in round {round_ + 1}")
                raise
            finally:
                if os.getpid() != worker_id:  # the child of a design that forked
                    os._exit(0)
                faulthandler.cancel_dump_traceback_later()

    try:
        # A design's output would garble the progress bar; closing it would break the next design.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            episode = play(
                environment_from(cell.environment),
                design_from(cell.design),
                cell.seed,
                cell.budgets,
                horizon=cell.horizon,
                name=cell.design.label,
                guard=guard,
            )
    except BaseException as error:  # SystemExit too: a design must not end the run
        details = "".join(traceback.format_exception(error))
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        return failure_record(cell, type(error).__name__, f"{error}{notes}", details)
    return {
        **_record_header(cell),
        "status": "ok",
        "results": episode.results(),
        "usage": episode.usage(),
    }


def failure_record(cell: Cell, kind: str, message: str, details: str = "") -> CellRecord:
    """Build the record of a cell that could not be played."""
    # JSON cannot hold lone surrogates.
    message, details = (text.encode("utf-8", "replace").decode() for text in (message, details))
    error = {"type": kind, "message": message, "traceback": details}
    return {**_record_header(cell), "status": "failed", "error": error}


def _record_header(cell: Cell) -> CellRecord:
    """Return the part of a record that is known before the cell is played."""
    labels = {"environment": cell.environment.label, "design": cell.design.label}
    return {"cell": cell.identity(), "labels": labels, "control": cell.design.control}


def diary_file(folder: Path, cell: Cell) -> Path:
    """Return the file to which a worker writes its round, and the watchdog its stack on timeout."""
    return folder / f".{cell.key}.diary"
