"""Answers to queries, and what became of boards, on a terminal."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.console import console, say

if TYPE_CHECKING:
    from pairbench.leaderboard import BoardDiff
    from pairbench.query import Answer

_WIDEST = 100_000  # columns; more than any table that can be shown has
_DIGEST = re.compile("[0-9a-f]{64}")
_STYLES = {"new": "green", "gone": "red", "changed": "yellow", "moved": "dim"}


def print_answer(answer: "Answer", most: int) -> None:
    """The rows of an answer, no more than so many, and how many there are.

    Rows that are wider than the screen are shown one below the other, column by column.

    Args:
        answer: what came of the statement.
        most: rows that are shown; 0 shows all.
    """
    found, screen = answer.table, console()
    shown = found.slice(0, most) if most else found
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for field in found.schema:
        table.add_column(escape(field.name), justify="right" if _is_number(field.type) else "left")
    rows = [
        [escape(_text(value)) for value in row]
        for row in zip(*(column.to_pylist() for column in shown.columns), strict=True)
    ]
    for row in rows:
        table.add_row(*row)
    if screen.measure(table, options=screen.options.update(width=_WIDEST)).maximum > screen.width:
        for number, row in enumerate(rows, 1):
            table = Table.grid(padding=(0, 2))
            table.title, table.title_justify = f"\n[bold cyan]row {number}[/]", "left"
            table.title_style = ""
            for name, value in zip(found.column_names, row, strict=True):
                table.add_row(f"[bold]{escape(name)}[/]", value)
            screen.print(table)
    else:
        screen.print(table)
    count = f"{found.num_rows:,} row{'s' * (found.num_rows != 1)}"
    cut = f", the first {shown.num_rows:,} shown; --rows 0 shows all"
    say(count + cut * (shown.num_rows < found.num_rows))
    print_notes(answer)


def hand_over(data: bytes, out: Path | None, *, force: bool = False) -> None:
    """Write what was made to a file, or to standard output where no file is named.

    Args:
        data: the bytes.
        out: the file.
        force: whether one that is there may be overwritten.

    Raises:
        FileThere: If there is one and it may not.
        InvalidParameter: If they are no text and would go to a terminal.
    """
    from pairbench.errors import InvalidParameter
    from pairbench.files import check_writable, write_whole

    if out is not None:
        check_writable([out], force=force)
        write_whole(out, data)
        say(f"{len(data):,} bytes in {escape(str(out))}", stderr=True)
        return
    if data.startswith(b"PAR1") and sys.stdout.isatty():
        raise InvalidParameter("Parquet is no text for a terminal. Name a file by --out.")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_notes(answer: "Answer") -> None:
    """What was left out, on standard error."""
    for note in answer.notes:
        say(f"[yellow]note:[/] {escape(note)}", stderr=True)


def print_relations() -> None:
    """What a statement can select from."""
    from pairbench.query import RELATIONS

    for name, relation in RELATIONS.items():
        say(f"\n[bold cyan]{name}[/]: {relation.about}")
        for column, what in relation.columns.items():
            say(f"  [bold]{column:<20}[/][dim]{what.type:<8}[/]{escape(what.about)}")


def print_diff(found: "Sequence[BoardDiff]") -> None:
    """What became of boards."""
    from pairbench.leaderboard import HEADINGS

    if not found:
        say("no entry differs")
    for board in found:
        say(f"[bold]{escape(board.board)}[/]: {board.summary()}")
        if board.designs:
            table = Table(box=box.SIMPLE_HEAD)
            for heading in HEADINGS:
                table.add_column(heading, no_wrap=heading == "", overflow="fold")
            for row in board.rows():
                table.add_row(*map(escape, row), style=_STYLES[row[0]])
            console().print(table)


def _is_number(type_: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    )


def _text(value: Any) -> str:
    """A value as it is shown: of a digest its beginning, by which `pairbench show` finds a cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:12]}…"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
