"""Tables of query results and of differences between boards."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.cli.show.terminal import console, say

if TYPE_CHECKING:
    from pairbench.boards.diff import BoardDiff
    from pairbench.reports.query import QueryResult

_UNLIMITED_WIDTH = 100_000  # columns, to measure the natural width of a table
_DIGEST = re.compile("[0-9a-f]{64}")
_STYLES = {"new": "green", "gone": "red", "changed": "yellow", "moved": "dim"}


def print_query_result(result: "QueryResult", max_rows: int) -> None:
    """Print the first rows of a query's result, and their number.

    Rows that are wider than the screen are printed one below the other, a line for each column.

    Args:
        result: result of the query.
        max_rows: number of rows to print; 0 prints all.
    """
    data, screen = result.table, console()
    head = data.slice(0, max_rows) if max_rows else data
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for field in data.schema:
        table.add_column(escape(field.name), justify="right" if _is_number(field.type) else "left")
    rows = [
        [escape(_text(value)) for value in row]
        for row in zip(*(column.to_pylist() for column in head.columns), strict=True)
    ]
    for row in rows:
        table.add_row(*row)
    options = screen.options.update(width=_UNLIMITED_WIDTH)
    if screen.measure(table, options=options).maximum > screen.width:
        for number, row in enumerate(rows, 1):
            table = Table.grid(padding=(0, 2))
            table.title, table.title_justify = f"\n[bold cyan]row {number}[/]", "left"
            table.title_style = ""
            for name, value in zip(data.column_names, row, strict=True):
                table.add_row(f"[bold]{escape(name)}[/]", value)
            screen.print(table)
    else:
        screen.print(table)
    count = f"{data.num_rows:,} row{'s' * (data.num_rows != 1)}"
    truncated = f", the first {head.num_rows:,} shown; --rows 0 shows all"
    say(count + truncated * (head.num_rows < data.num_rows))
    print_notes(result)


def write_output(data: bytes, out: Path | None, *, force: bool = False) -> None:
    """Write bytes to a file, or to standard output if ``out`` is None.

    Args:
        data: bytes to write.
        out: file to write.
        force: whether an existing file may be overwritten.

    Raises:
        OutputExists: If the file exists and may not be overwritten.
        InvalidParameter: If binary data would go to a terminal.
    """
    from pairbench._util.files import check_writable, write_atomic
    from pairbench.errors import InvalidParameter

    if out is not None:
        check_writable([out], force=force)
        write_atomic(out, data)
        say(f"{len(data):,} bytes in {escape(str(out))}", stderr=True)
        return
    if data.startswith(b"PAR1") and sys.stdout.isatty():
        raise InvalidParameter(
            "Parquet is binary and cannot be printed on a terminal. Name a file by --out."
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_notes(result: "QueryResult") -> None:
    """Print a result's notes on omitted files to standard error."""
    for note in result.notes:
        say(f"[yellow]note:[/] {escape(note)}", stderr=True)


def print_relations() -> None:
    """Print the relations and columns that a statement can select from."""
    from pairbench.reports.query import RELATIONS

    for name, relation in RELATIONS.items():
        say(f"\n[bold cyan]{name}[/]: {relation.about}")
        for column_name, column in relation.columns.items():
            say(f"  [bold]{column_name:<20}[/][dim]{column.type:<8}[/]{escape(column.about)}")


def print_diff(differences: "Sequence[BoardDiff]") -> None:
    """Print the differences between two versions of boards."""
    from pairbench.boards.diff import HEADINGS

    if not differences:
        say("no entry differs")
    for board in differences:
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
    """Format a value; a digest is cut to a prefix that `pairbench show` accepts."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:12]}…"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
