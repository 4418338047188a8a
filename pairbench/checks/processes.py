"""Subprocesses for checks: time limits, and choices of a design in a new process."""

import faulthandler
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from pairbench.cells.executors import limit_child_threads
from pairbench.checks.cases import CASES, with_truth
from pairbench.design.design import Design
from pairbench.design.registry import design_from
from pairbench.pool.pairs import check_pairs
from pairbench.pool.pool import Pairs
from pairbench.spec.record import Spec

_TIMEOUT = 60.0  # seconds for two rounds in another process


@contextmanager
def spawn_process(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[Any, Any]]:
    """Spawn a process; yield it and the connection on which it sends, and kill it on exit.

    Args:
        target: function that the process calls with its end of the connection, then the arguments.
        arguments: further arguments, which must be picklable.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender, *arguments))
    with limit_child_threads():
        process.start()
    sender.close()
    try:
        yield process, receiver
    finally:
        process.kill()
        process.join()
        receiver.close()


@contextmanager
def exit_after(seconds: float, stack: Path) -> Iterator[None]:
    """Exit this process if the block exceeds a time limit, and write its stack to a file.

    What the block prints is discarded.

    Args:
        seconds: time limit.
        stack: file that is overwritten, and stays empty if the block ends in time.
    """
    with stack.open("w") as file, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def choose_in_new_process(spec: Spec, rounds: list[str]) -> dict[str, Pairs] | str:
    """Return the pairs that a design chooses in a new process, or a message why it fails there.

    Args:
        spec: spec of the design.
        rounds: names of the rounds, keys of ``CASES``.

    Returns:
        The pairs of each round, ``(m, 3)``, or a sentence about the design.
    """
    with spawn_process(_send_choices, spec, rounds) as (process, connection):
        if not connection.poll(_TIMEOUT):
            return f"it does not answer within {_TIMEOUT:g} s."
        try:
            choices: dict[str, Pairs] | str = connection.recv()
        except EOFError:
            process.join()
            return f"it ends its process (exit code {process.exitcode})."
        return choices


def _send_choices(connection: Connection, spec: Spec, rounds: list[str]) -> None:
    """Build a design as workers do, and send the pairs that it chooses, or an error message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with exit_after(_TIMEOUT, Path(os.devnull)), threadpool_limits(limits=1):
        try:
            choices: dict[str, Pairs] | str = _choices(design_from(spec), rounds)
        except (Exception, SystemExit) as error:
            choices = f"it fails with {type(error).__name__}: {str(error).removesuffix('.')}."
    connection.send(choices)


def _choices(design: Design, rounds: list[str]) -> dict[str, Pairs]:
    """Return the pairs that a design chooses in each round, checked."""
    choices = {}
    for case in rounds:
        view = CASES[case].view()
        pairs = design.select(with_truth(view) if design.control else view, view.budget_left)
        choices[case] = check_pairs(pairs, view.pool, view.budget_left)
    return choices
