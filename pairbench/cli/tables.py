"""Commands that query runs and boards, and compare and export leaderboards."""

from pathlib import Path
from typing import Annotated

import typer

from pairbench.cli.boards import Boards
from pairbench.cli.options import Force, Json

Out = Annotated[Path | None, typer.Option(help="File to write.", show_default="standard output")]
Records = Annotated[bool, typer.Option("--json", help="Write JSON, a list of objects.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV.")]
Parquet = Annotated[bool, typer.Option("--parquet", help="Write Parquet.")]


def query_command(
    statement: Annotated[
        str | None,
        typer.Argument(help="A SELECT in DuckDB's SQL.", show_default="list the relations"),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs, or of one run.")] = Path("runs"),
    boards: Boards = None,
    rows: Annotated[int, typer.Option(min=0, help="Maximal number of rows to print; 0: all.")] = 40,
    as_csv: Csv = False,
    as_json: Records = False,
    as_parquet: Parquet = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Query cells, rounds, labels and entries in SQL."""
    from pairbench._util.arrow import WRITERS
    from pairbench.cli.show.tables import (
        print_notes,
        print_query_result,
        print_relations,
        write_output,
    )
    from pairbench.cli.show.terminal import console, progress
    from pairbench.reports.query import query

    if statement is None:
        print_relations()
        return
    file_format = _file_format(out, csv=as_csv, json=as_json, parquet=as_parquet)
    with progress(console(stderr=True), "reading") as on_progress:
        result = query(statement, runs, boards, on_progress)
    if file_format is None:
        print_query_result(result, rows)
    else:
        write_output(WRITERS[file_format](result.table), out, force=force)
        print_notes(result)


def diff_command(
    old: Annotated[
        Path,
        typer.Argument(help="Earlier folder of boards, checkout, folder of a board, or entry."),
    ],
    new: Annotated[Path, typer.Argument(help="Later version of it.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown for a pull request.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two versions of boards: new, removed, changed and moved designs."""
    from pairbench.boards.diff import diff, diff_json, diff_markdown
    from pairbench.cli.show.tables import print_diff, write_output
    from pairbench.cli.show.terminal import say_json

    differences = diff(old, new)
    if as_json:
        say_json(diff_json(differences))
    elif markdown:
        write_output(diff_markdown(differences).encode(), None)
    else:
        print_diff(differences)


def export_board_command(
    board: Annotated[str, typer.Argument(help="Name of a board; `pairbench boards` lists them.")],
    cells: Annotated[
        bool,
        typer.Option(
            "--cells", help="Export the gap of each seed and budget instead of the standings."
        ),
    ] = False,
    as_csv: Csv = False,
    as_json: Records = False,
    as_parquet: Parquet = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the standings as a Markdown table.")
    ] = False,
    bibtex: Annotated[
        bool, typer.Option("--bibtex", help="Write the publications of the designs as BibTeX.")
    ] = False,
    boards: Boards = None,
    out: Out = None,
    force: Force = False,
) -> None:
    """Export a board: its standings, its cells, or its bibliography."""
    from pairbench.boards.export import export
    from pairbench.cli.show.tables import write_output
    from pairbench.errors import InvalidParameter

    requested = {
        "csv": as_csv,
        "json": as_json,
        "parquet": as_parquet,
        "markdown": markdown,
        "bibtex": bibtex,
    }
    file_format = _file_format(out, **requested)
    if file_format is None:
        options = ", ".join(f"--{name}" for name in requested)
        raise InvalidParameter(f"no format to export the board in. Give one of {options}.")
    write_output(export(board, file_format, boards, cells=cells), out, force=force)


_FORMATS = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".md": "markdown",
    ".bib": "bibtex",
}


def _file_format(out: Path | None, **requested: bool) -> str | None:
    """Return the requested format, else that of the file's suffix, else None.

    Args:
        out: file to write.
        **requested: whether each format was requested by its option.

    Raises:
        InvalidParameter: If several are requested, or the file's suffix is unknown.
    """
    from pairbench.errors import InvalidParameter

    formats = [name for name, is_requested in requested.items() if is_requested]
    if len(formats) > 1:
        raise InvalidParameter(f"--{formats[0]} and --{formats[1]} exclude each other. Give one.")
    if formats or out is None:
        return formats[0] if formats else None
    by_suffix = _FORMATS.get(out.suffix)
    if by_suffix not in requested:
        raise InvalidParameter(
            f"cannot infer the format from the name {out}. Give --{', --'.join(requested)} with it."
        )
    return by_suffix
