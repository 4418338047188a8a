"""Console, messages and progress: formatted on a terminal, plain lines in a pipe."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer
from rich.console import Console


class OnProgress(Protocol):
    """Callback that receives progress."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps are done, with a note on the current one."""


def console(*, stderr: bool = False) -> Console:
    """Create a console on standard output or error; a pipe gets lines of 120 columns."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, highlight=False, emoji=False, width=None if stream.isatty() else 120
    )


def say(text: str, *, stderr: bool = False) -> None:
    """Print a line of rich markup without wrapping it, so that paths can be copied."""
    console(stderr=stderr).print(text, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def resumable(units: str) -> Iterator[None]:
    """Exit with status 130 on Ctrl-C, and say that the command can be resumed.

    Args:
        units: the units of work that are kept, such as ``"Finished cells"``.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. {units} are kept: the same command goes on from there.", stderr=True)
        raise typer.Exit(130) from None


@contextmanager
def progress(screen: Console, doing: str = "playing", what: str = "cells") -> Iterator[OnProgress]:
    """Show a progress bar on a terminal, or a line for every tenth elsewhere.

    Args:
        screen: console to print on.
        doing: the activity.
        what: the unit of progress, in the plural.
    """
    if screen.is_terminal:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(what),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=screen, transient=True) as bar:
            task = bar.add_task("", total=None)

            def move(done: int, total: int, note: str = "") -> None:
                bar.update(task, completed=done, total=total, description=note)

            yield move
        return
    start, last_tenth = time.monotonic(), -1

    def line(done: int, total: int, note: str = "") -> None:
        nonlocal last_tenth
        if (tenth := done * 10 // max(total, 1)) > last_tenth:
            last_tenth = tenth
            elapsed = f"{time.monotonic() - start:.0f} s"
            screen.print(", ".join(filter(None, [f"{done} of {total} {what}", elapsed, note])))

    yield line
