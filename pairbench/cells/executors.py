"""Execution of cells in several worker processes."""

import math
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from pairbench.cells.plan import Cell
from pairbench.cells.store import Store
from pairbench.cells.worker import diary_file, failure_record, play_cells
from pairbench.errors import InvalidParameter, RunError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ATTEMPTS = 2  # a worker may be killed for reasons other than its cell
_MIN_BATCH = 16  # cells; fewer are not worth the start of a process
_MAX_TIME_LIMIT = 1e6  # seconds; the watchdog's clock overflows far beyond


def check_time_limit(time_limit: float) -> None:
    """Raise unless the watchdog can keep a time limit, in seconds.

    Raises:
        InvalidParameter: If it is not positive, or too large.
    """
    if not 0 < time_limit <= _MAX_TIME_LIMIT:
        raise InvalidParameter(
            f"time_limit must be a positive number of seconds up to {_MAX_TIME_LIMIT:.0e}, "
            f"got {time_limit}."
        )


# Why: docs/decisions/034-workers-are-plain-processes.md
def execute(
    cells: Sequence[Cell],
    store: Store,
    *,
    jobs: int,
    time_limit: float,
    made: dict[str, Any],
    on_progress: Callable[[int], None],
) -> None:
    """Play all cells in worker processes and store their records.

    Each worker plays a batch of cells and writes the records itself, so that nothing is lost if the
    parent dies. If a worker dies, the first cell of its batch without a record is blamed, and
    another worker plays the rest. Workers are spawned with one thread each, so that they do not
    compete for the cores.

    Args:
        cells: the cells; those of one world are adjacent, so that it is drawn once.
        store: the store of the records.
        jobs: number of worker processes.
        time_limit: seconds that a design may take for a round.
        made: provenance, for the records.
        on_progress: called repeatedly with the number of cells done.

    Raises:
        RunError: If workers die before they begin.
    """
    context = multiprocessing.get_context("spawn")
    pending, planned = deque(cells), {cell.key for cell in cells}
    crashes: dict[str, int] = {}
    running: dict[int, tuple[BaseProcess, list[Cell]]] = {}
    with limit_child_threads():
        try:
            while pending or running:
                while pending and len(running) < jobs:
                    # Large batches first, small ones last, so that no worker is idle.
                    size = max(_MIN_BATCH, math.ceil(len(pending) / (1.5 * jobs)))
                    batch = [pending.popleft() for _ in range(min(size, len(pending)))]
                    arguments = (batch, store.folder, time_limit, made, os.getpid())
                    process: BaseProcess = context.Process(target=play_cells, args=arguments)
                    with _block_sigint():
                        process.start()
                    running[process.sentinel] = (process, batch)
                for sentinel in wait(list(running), timeout=0.2):
                    assert isinstance(sentinel, int)
                    process, batch = running.pop(sentinel)
                    process.join()
                    done = store.keys()
                    rest = [cell for cell in batch if cell.key not in done]
                    if rest:
                        crashes[rest[0].key] = crashes.get(rest[0].key, 0) + 1
                        record = _crash_record(
                            rest[0], store, time_limit, crashes[rest[0].key], process.exitcode
                        )
                        if record is not None:
                            store.write(rest[0].key, record | {"made": made})
                            rest = rest[1:]
                        pending.extendleft(reversed(rest))
                on_progress(len(planned & store.keys()))
        finally:
            for process, _ in running.values():
                process.kill()
                process.join()


def _crash_record(
    cell: Cell, store: Store, time_limit: float, crashes: int, exit_code: int | None
) -> dict[str, Any] | None:
    """Build the failure record of a crashed worker's cell, or return None to retry the cell."""
    diary = diary_file(store.folder, cell)
    round_, _, stack = diary.read_text().partition("\n") if diary.exists() else ("", "", "")
    diary.unlink(missing_ok=True)
    if stack:  # written by the watchdog
        message = f"the design did not return within {time_limit:g} s in round {round_}."
        return failure_record(cell, "TimeLimit", message, stack)
    if crashes < _ATTEMPTS:
        return None
    if not round_:
        raise RunError(
            "worker processes die before they begin. In a script, call run() under "
            '`if __name__ == "__main__":`, because workers load the script again.'
        )
    where = f" in round {round_}" if round_ != "0" else ""
    message = (
        f"the process that played it died{where} (exit code {exit_code}), {_ATTEMPTS} times. "
        "A negative code is a signal: -9 is what running out of memory looks like."
    )
    return failure_record(cell, "WorkerDied", message)


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Block SIGINT while child processes start, so that only the parent handles Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def limit_child_threads() -> Iterator[None]:
    """Limit child processes to one thread, by variables that they inherit and numpy reads."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
