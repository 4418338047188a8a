"""Playing cells in several processes."""

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

from pairbench.errors import InvalidParameter, RunError
from pairbench.harness.plan import Cell
from pairbench.harness.store import Store
from pairbench.harness.worker import diary_file, failure, play_cells

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ATTEMPTS = 2  # a worker may be killed for reasons that are not the cell's
_LEAST = 16  # cells that are worth the start of a process
_LONGEST = 1e6  # seconds, what the watchdog's clock can hold and then some


def check_time_limit(time_limit: float) -> None:
    """Refuse a number of seconds that the watchdog cannot keep.

    Raises:
        InvalidParameter: If it is not positive, or too large.
    """
    if not 0 < time_limit <= _LONGEST:
        raise InvalidParameter(
            f"time_limit must be a positive number of seconds up to {_LONGEST:.0e}, "
            f"got {time_limit}."
        )


def execute(
    cells: Sequence[Cell],
    store: Store,
    *,
    jobs: int,
    time_limit: float,
    made: dict[str, Any],
    on_progress: Callable[[int], None],
) -> None:
    """Play all cells and keep their records; what a design does to its process harms no other cell.

    Each process plays a stretch of cells and writes the records itself, so that nothing is lost if
    this one dies. If it dies, the first cell of its stretch without a record is to blame, and the
    rest is played by another. Processes are spawned, with one thread each: two that share the cores
    otherwise get in each other's way.

    Args:
        cells: those of one world next to each other, so that it is drawn once.
        store: where the records go.
        jobs: number of processes.
        time_limit: seconds that a design may take for a round.
        made: provenance, for the records.
        on_progress: called every now and then with the number of cells done.

    Raises:
        RunError: If processes die before they begin.
    """
    context = multiprocessing.get_context("spawn")
    todo, wanted = deque(cells), {cell.key for cell in cells}
    deaths: dict[str, int] = {}
    running: dict[int, tuple[BaseProcess, list[Cell]]] = {}
    with one_thread():
        try:
            while todo or running:
                while todo and len(running) < jobs:
                    # Long stretches first, short ones last, so that no process stands idle.
                    size = max(_LEAST, math.ceil(len(todo) / (1.5 * jobs)))
                    stretch = [todo.popleft() for _ in range(min(size, len(todo)))]
                    arguments = (stretch, store.folder, time_limit, made, os.getpid())
                    process: BaseProcess = context.Process(target=play_cells, args=arguments)
                    with _deaf_to_ctrl_c():
                        process.start()
                    running[process.sentinel] = (process, stretch)
                for sentinel in wait(list(running), timeout=0.2):
                    assert isinstance(sentinel, int)
                    process, stretch = running.pop(sentinel)
                    process.join()
                    done = store.keys()
                    rest = [cell for cell in stretch if cell.key not in done]
                    if rest:
                        deaths[rest[0].key] = deaths.get(rest[0].key, 0) + 1
                        record = _obituary(
                            rest[0], store, time_limit, deaths[rest[0].key], process.exitcode
                        )
                        if record is not None:
                            store.write(rest[0].key, record | {"made": made})
                            rest = rest[1:]
                        todo.extendleft(reversed(rest))
                on_progress(len(wanted & store.keys()))
        finally:
            for process, _ in running.values():
                process.kill()
                process.join()


def _obituary(
    cell: Cell, store: Store, time_limit: float, deaths: int, exit_code: int | None
) -> dict[str, Any] | None:
    """The record of a cell whose process died, None if it is to be tried once more."""
    diary = diary_file(store.folder, cell)
    round_, _, stack = diary.read_text().partition("\n") if diary.exists() else ("", "", "")
    diary.unlink(missing_ok=True)
    if stack:  # the watchdog has spoken
        message = f"the design did not return within {time_limit:g} s in round {round_}."
        return failure(cell, "TimeLimit", message, stack)
    if deaths < _ATTEMPTS:
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
    return failure(cell, "WorkerDied", message)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started inside never sees Ctrl-C, not even while it starts; here it only waits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Children inherit this process's environment, and read it before numpy is loaded."""
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
