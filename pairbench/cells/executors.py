"""Execution of cells in several worker processes."""

import math
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from pairbench.cells.plan import Cell
from pairbench.cells.store import Store
from pairbench.cells.worker import failure_record, play_cells, watchdog_log
from pairbench.errors import InvalidParameter, RunError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ATTEMPTS = 2  # per cell, because a worker may be killed for other reasons than its cell
_MIN_BATCH = 16  # cells, so that the start of a process pays off
_MAX_TIME_LIMIT = 1e6  # seconds; the watchdog's clock overflows at much larger limits
_POLL_INTERVAL = 0.2  # seconds between updates of the progress


def check_time_limit(time_limit: float) -> None:
    """Check that the watchdog can enforce a time limit, in seconds.

    Raises:
        InvalidParameter: If the time limit is not positive, or too large.
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
    provenance: dict[str, Any],
    on_progress: Callable[[int], None],
) -> None:
    """Play all cells in worker processes and store their records.

    Each worker plays a batch of cells and writes the records itself, so that nothing is lost if the
    parent dies. If a worker dies, the first cell of its batch without a record is blamed, and
    another worker plays the rest. Workers are spawned with one thread each, so that they do not
    compete for the cores.

    Args:
        cells: the cells; those of one world are adjacent, so that each world is drawn once.
        store: the store of the records.
        jobs: number of worker processes.
        time_limit: seconds that a design may take for a round.
        provenance: versions, machine and Git state, for the records.
        on_progress: called repeatedly with the number of cells that have a record.

    Raises:
        RunError: If workers die before they begin.
    """
    keys = {cell.key for cell in cells}
    pool = _WorkerPool(cells, store, jobs, time_limit, provenance)
    with limit_child_threads():
        try:
            while pool.pending or pool.running:
                pool.start_workers()
                pool.collect_ended()
                on_progress(len(keys & store.keys()))
        finally:
            pool.kill()


class _WorkerPool:
    """Worker processes, and the cells that are still to be played.

    Attributes:
        pending: the cells that no worker plays.
        running: process and batch of each worker, by the process's sentinel.
        crashes: number of workers that died on a cell, by the cell's key.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store,
        jobs: int,
        time_limit: float,
        provenance: dict[str, Any],
    ) -> None:
        """Queue the cells; for the arguments see :func:`execute`."""
        self._store, self._jobs = store, jobs
        self._time_limit, self._provenance = time_limit, provenance
        self._context = multiprocessing.get_context("spawn")
        self.pending = deque(cells)
        self.running: dict[int, tuple[BaseProcess, list[Cell]]] = {}
        self.crashes: Counter[str] = Counter()

    def start_workers(self) -> None:
        """Start workers on pending cells until as many run as there are jobs."""
        while self.pending and len(self.running) < self._jobs:
            # The first batches are large, the last ones small, so that no worker is idle.
            size = max(_MIN_BATCH, math.ceil(len(self.pending) / (1.5 * self._jobs)))
            batch = [self.pending.popleft() for _ in range(min(size, len(self.pending)))]
            arguments = (
                batch,
                self._store.folder,
                self._time_limit,
                self._provenance,
                os.getpid(),
            )
            process: BaseProcess = self._context.Process(target=play_cells, args=arguments)
            with _block_sigint():
                process.start()
            self.running[process.sentinel] = (process, batch)

    def collect_ended(self) -> None:
        """Wait briefly for workers to end, and put their unplayed cells back first in the queue."""
        for sentinel in wait(list(self.running), timeout=_POLL_INTERVAL):
            assert isinstance(sentinel, int)
            process, batch = self.running.pop(sentinel)
            process.join()
            stored = self._store.keys()
            rest = [cell for cell in batch if cell.key not in stored]
            if rest and self._record_crash(rest[0], process.exitcode):
                rest = rest[1:]
            self.pending.extendleft(reversed(rest))

    def _record_crash(self, cell: Cell, exit_code: int | None) -> bool:
        """Store a failure record of a crashed worker's cell, unless the cell is to be retried."""
        self.crashes[cell.key] += 1
        record = _crash_record(
            cell, self._store, self._time_limit, self.crashes[cell.key], exit_code
        )
        if record is None:
            return False
        self._store.write(cell.key, record | {"made": self._provenance})
        return True

    def kill(self) -> None:
        """Kill the running workers."""
        for process, _ in self.running.values():
            process.kill()
            process.join()


def _crash_record(
    cell: Cell, store: Store, time_limit: float, crashes: int, exit_code: int | None
) -> dict[str, Any] | None:
    """Build the failure record of a crashed worker's cell, or return None to retry the cell.

    Args:
        cell: the first cell of the worker's batch without a record.
        store: the store of the records.
        time_limit: seconds that the design may take for a round.
        crashes: number of workers that have died on this cell.
        exit_code: exit code of the process, negative for a signal.

    Raises:
        RunError: If the worker died before it began the cell, and no attempt is left.
    """
    log = watchdog_log(store.folder, cell)
    round_, _, stack = log.read_text().partition("\n") if log.exists() else ("", "", "")
    log.unlink(missing_ok=True)
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
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
