"""Code of worker processes, which play cells and store their records."""

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
from pairbench.cells.play import Guard, play
from pairbench.cells.store import CellRecord, Store
from pairbench.design.registry import design_from
from pairbench.worlds.registry import environment_from


def play_cells(
    cells: Sequence[Cell], folder: Path, time_limit: float, provenance: dict[str, Any], parent: int
) -> None:
    """Play cells in turn and store each record before the next cell begins.

    Args:
        cells: the cells; those of one world are adjacent, so that each world is drawn once.
        folder: folder of the store.
        time_limit: seconds that a design may take for a round.
        provenance: versions, machine and Git state, for the records.
        parent: process id of the parent; once the parent has ended, no further cell is played.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    store = Store(folder)
    for cell in cells:
        if os.getppid() != parent:
            return
        log = watchdog_log(folder, cell)
        log.write_text("0\n")
        record = play_cell(cell, time_limit, log)
        try:
            store.write(cell.key, record | {"made": provenance})
        except rfc8785.CanonicalizationError as error:  # such as a score that is NaN
            message = f"the result cannot be put on record: {error}"
            record = failure_record(cell, type(error).__name__, message)
            store.write(cell.key, record | {"made": provenance})
        log.unlink(missing_ok=True)


# Why: docs/decisions/034-workers-are-plain-processes.md
def play_cell(cell: Cell, time_limit: float, log: Path) -> CellRecord:
    """Play a cell and return its record, which is a failure record if the design raises.

    Args:
        cell: the cell.
        time_limit: seconds that the design may take for a round; the process is ended after them.
        log: the file to which the watchdog writes the round, and at the time limit the stack.
    """
    try:
        # A design's output would garble the progress bar, and a design that closed the standard
        # output would break the next one.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            episode = play(
                environment_from(cell.environment),
                design_from(cell.design),
                cell.seed,
                cell.budgets,
                horizon=cell.horizon,
                name=cell.design.label,
                guard=_watchdog(time_limit, log),
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


def _watchdog(time_limit: float, log: Path) -> Guard:
    """Build a guard that ends the process if a call of the design exceeds the time limit.

    The watchdog of the interpreter ends the process even if the design never releases the
    interpreter. It leaves the stack in the log, which the parent reads.

    Args:
        time_limit: seconds.
        log: the file to which the number of the round is written, from 1, and then the stack.
    """
    worker_id = os.getpid()

    @contextmanager
    def guard(round_: int) -> Iterator[None]:
        with log.open("w") as file:
            file.write(f"{round_ + 1}\n")
            file.flush()
            faulthandler.dump_traceback_later(time_limit, exit=True, file=file)
            try:
                yield
            except BaseException as error:
                error.add_note(f"in round {round_ + 1}")
                raise
            finally:
                if os.getpid() != worker_id:  # a child process that the design forked
                    os._exit(0)
                faulthandler.cancel_dump_traceback_later()

    return guard


def failure_record(cell: Cell, kind: str, message: str, details: str = "") -> CellRecord:
    """Build the record of a cell that could not be played.

    Args:
        cell: the cell.
        kind: name of the error's type.
        message: message of the error.
        details: the traceback, or the stack at the time limit.
    """
    # JSON cannot hold lone surrogates.
    message, details = (text.encode("utf-8", "replace").decode() for text in (message, details))
    error = {"type": kind, "message": message, "traceback": details}
    return {**_record_header(cell), "status": "failed", "error": error}


def _record_header(cell: Cell) -> CellRecord:
    """Build the part of a record that does not depend on the outcome."""
    labels = {"environment": cell.environment.label, "design": cell.design.label}
    return {"cell": cell.identity(), "labels": labels, "control": cell.design.control}


def watchdog_log(folder: Path, cell: Cell) -> Path:
    """Return the path of a cell's watchdog log; see :func:`play_cell`."""
    return folder / f".{cell.key}.log"
