"""What a worker process does: play cells and keep their records."""

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

from pairbench.harness.plan import Cell
from pairbench.harness.play import play
from pairbench.harness.store import Record, Store
from pairbench.registry import design_from, environment_from


def play_cells(
    cells: Sequence[Cell], folder: Path, time_limit: float, made: dict[str, Any], parent: int
) -> None:
    """Play cells one after the other; each is on disk before the next begins.

    Args:
        cells: those of one world next to each other, so that it is drawn once.
        folder: the store's.
        time_limit: seconds that a design may take for a round.
        made: provenance, for the records.
        parent: process id of the run; once it is gone, no further cell is begun.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    store = Store(folder)
    for cell in cells:
        if os.getppid() != parent:
            return
        diary = diary_file(folder, cell)
        diary.write_text("0\n")
        record = played(cell, time_limit, diary)
        try:
            store.write(cell.key, record | {"made": made})
        except rfc8785.CanonicalizationError as error:  # a score that is no number, say
            message = f"the result cannot be put on record: {error}"
            store.write(cell.key, failure(cell, type(error).__name__, message) | {"made": made})
        diary.unlink(missing_ok=True)


def played(cell: Cell, time_limit: float, diary: Path) -> Record:
    """The record of a cell; a failure is a record too."""
    owner = os.getpid()

    @contextmanager
    def guard(round_: int) -> Iterator[None]:
        # A watchdog of the interpreter's own ends the process, also when the design never gives
        # the interpreter back; what it was doing is left in a file for the parent to find.
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
                if os.getpid() != owner:  # the design forked, and this is the copy
                    os._exit(0)
                faulthandler.cancel_dump_traceback_later()

    try:
        # What a design prints would spoil the progress bar, and what it closes the next design.
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
    except BaseException as error:  # also SystemExit: a design cannot end the run
        details = "".join(traceback.format_exception(error))
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        return failure(cell, type(error).__name__, f"{error}{notes}", details)
    return {
        **_head(cell),
        "status": "ok",
        "results": episode.results(),
        "usage": episode.usage(),
    }


def failure(cell: Cell, kind: str, message: str, details: str = "") -> Record:
    """The record of a cell that could not be played."""
    # Not every text is Unicode that JSON can hold.
    message, details = (t.encode("utf-8", "replace").decode() for t in (message, details))
    error = {"type": kind, "message": message, "traceback": details}
    return {**_head(cell), "status": "failed", "error": error}


def _head(cell: Cell) -> Record:
    labels = {"environment": cell.environment.label, "design": cell.design.label}
    return {"cell": cell.identity(), "labels": labels, "control": cell.design.control}


def diary_file(folder: Path, cell: Cell) -> Path:
    """Where a worker notes the round it is in, and its watchdog what it was doing when it hung."""
    return folder / f".{cell.key}.diary"
