"""Playing cells in several processes."""

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from typing import Any

from pebble import ProcessExpired, ProcessPool

from pairbench.errors import RunError
from pairbench.harness.plan import Cell
from pairbench.harness.store import Store
from pairbench.harness.worker import diary_file, failure, play_cells

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ATTEMPTS = 2  # a worker may be killed for reasons that are not the cell's


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

    Processes are spawned with one thread each: two that share the cores otherwise get in each
    other's way. They write the records themselves, so that nothing is lost if this one dies.

    Args:
        cells: those of one world next to each other.
        store: where the records go.
        jobs: number of processes.
        time_limit: seconds that a design may take for a round.
        made: provenance, for the records.
        on_progress: called every now and then with the number of cells done.
    """
    todo = deque(_batches(cells, jobs))
    attempts: dict[str, int] = {}
    running: dict[Future[None], list[Cell]] = {}
    wanted = {cell.key for cell in cells}
    # Children inherit this process's environment, and read it before numpy is loaded.
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = ProcessPool(max_workers=jobs, context=multiprocessing.get_context("spawn"))
    try:
        while todo or running:
            while todo and len(running) < jobs:
                batch = todo.popleft()
                arguments = (batch, store.folder, time_limit, made, os.getpid())
                running[pool.schedule(play_cells, args=arguments)] = batch
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            finished = store.keys()
            on_progress(len(wanted & finished))
            for future in done:
                batch = [cell for cell in running.pop(future) if cell.key not in finished]
                error = future.exception()
                if error is not None and not isinstance(error, ProcessExpired):
                    raise error
                if batch:  # the process died at its first unfinished cell
                    attempts[batch[0].key] = attempts.get(batch[0].key, 0) + 1
                    if _settled(batch[0], store, time_limit, made, attempts, error):
                        batch = batch[1:]
                if batch:
                    todo.append(batch)
        on_progress(len(wanted & store.keys()))
        pool.close()  # type: ignore[no-untyped-call]
    except BrokenProcessPool:
        raise RunError(
            "worker processes die before they begin. In a script, call run() under "
            '`if __name__ == "__main__":`, because workers load the script again.'
        ) from None
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _settled(
    cell: Cell,
    store: Store,
    time_limit: float,
    made: dict[str, Any],
    attempts: dict[str, int],
    error: BaseException | None,
) -> bool:
    """Whether a cell whose process died is to be left alone, with a failure on record."""
    diary = diary_file(store.folder, cell)
    round_, _, stack = diary.read_text().partition("\n") if diary.exists() else ("", "", "")
    diary.unlink(missing_ok=True)
    if stack:  # the watchdog has spoken
        message = f"the design did not return within {time_limit:g} s in round {round_}."
        record = failure(cell, "TimeLimit", message, stack)
    elif attempts[cell.key] < _ATTEMPTS:
        return False
    else:
        code = getattr(error, "exitcode", None)
        where = f" in round {round_}" if round_ not in ("", "0") else ""
        message = (
            f"the process that played it died{where} (exit code {code}), {_ATTEMPTS} times. "
            "A negative code is a signal: -9 is what running out of memory looks like."
        )
        record = failure(cell, "WorkerDied", message)
    store.write(cell.key, record | {"made": made})
    return True


def _batches(cells: Sequence[Cell], jobs: int) -> list[list[Cell]]:
    """Cells of one world together, but in pieces small enough that no process stands idle."""
    size = math.ceil(len(cells) / (4 * jobs))
    return [
        world[i : i + size]
        for _, group in groupby(cells, key=lambda cell: (cell.environment.label, cell.seed))
        for world in [list(group)]
        for i in range(0, len(world), size)
    ]
