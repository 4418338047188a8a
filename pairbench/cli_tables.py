"""The command line of tables: queries, and boards compared and taken elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from pairbench.cli_boards import Boards
from pairbench.cli_options import Force, Json

Out = Annotated[Path | None, typer.Option(help="File to write. [default: standard output]")]
Rows = Annotated[bool, typer.Option("--json", help="JSON, a list of objects.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV.")]
Parquet = Annotated[bool, typer.Option("--parquet", help="Parquet.")]


def query_command(
    statement: Annotated[
        str | None,
        typer.Argument(help="A SELECT in DuckDB's SQL. [default: list what can be selected]"),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs, or of one.")] = Path("runs"),
    boards: Boards = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows that are shown; 0 shows all.")] = 40,
    as_csv: Csv = False,
    as_json: Rows = False,
    as_parquet: Parquet = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Ask all cells, all labels and all entries a question in SQL."""
    from pairbench.console import console, progress
    from pairbench.console_tables import hand_over, print_answer, print_notes, print_relations
    from pairbench.query import query
    from pairbench.tables import WRITERS

    if statement is None:
        print_relations()
        return
    form = _form(out, csv=as_csv, json=as_json, parquet=as_parquet)
    with progress(console(stderr=True), "reading") as on_progress:
        answer = query(statement, runs, boards, on_progress)
    if form is None:
        print_answer(answer, rows)
    else:
        hand_over(WRITERS[form](answer.table), out, force=force)
        print_notes(answer)


def diff_command(
    old: Annotated[
        Path, typer.Argument(help="Folder of boards, a checkout, one board's folder, or an entry.")
    ],
    new: Annotated[Path, typer.Argument(help="The same at another time.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell which designs came, went and changed, and whom they moved."""
    from pairbench.console import say_json
    from pairbench.console_tables import hand_over, print_diff
    from pairbench.leaderboard import diff, diff_json, diff_markdown

    found = diff(old, new)
    if as_json:
        say_json(diff_json(found))
    elif markdown:
        hand_over(diff_markdown(found).encode(), None)
    else:
        print_diff(found)


def export_board_command(
    board: Annotated[str, typer.Argument(help="A board; `pairbench boards` lists them.")],
    cells: Annotated[
        bool, typer.Option("--cells", help="Every gap by seed and budget, not the standings.")
    ] = False,
    as_csv: Csv = False,
    as_json: Rows = False,
    as_parquet: Parquet = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The standings, to read.")] = False,
    bibtex: Annotated[
        bool, typer.Option("--bibtex", help="The publications that designs are from.")
    ] = False,
    boards: Boards = None,
    out: Out = None,
    force: Force = False,
) -> None:
    """Take a board elsewhere: its standings, its cells, or what to cite."""
    from pairbench.console_tables import hand_over
    from pairbench.errors import InvalidParameter
    from pairbench.leaderboard import export

    given = {
        "csv": as_csv,
        "json": as_json,
        "parquet": as_parquet,
        "markdown": markdown,
        "bibtex": bibtex,
    }
    form = _form(out, **given)
    if form is None:
        names = ", ".join(f"--{name}" for name in given)
        raise InvalidParameter(f"say how a board is to be written: one of {names}.")
    hand_over(export(board, form, boards, cells=cells), out, force=force)


_FORMS = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".md": "markdown",
    ".bib": "bibtex",
}


def _form(out: Path | None, **given: bool) -> str | None:
    """The form that is asked for, or that the file's name tells; None where neither does."""
    from pairbench.errors import InvalidParameter

    asked = [name for name, wanted in given.items() if wanted]
    if len(asked) > 1:
        raise InvalidParameter(f"--{asked[0]} and --{asked[1]} cannot be had at once. Give one.")
    if asked or out is None:
        return asked[0] if asked else None
    told = _FORMS.get(out.suffix)
    if told not in given:
        raise InvalidParameter(
            f"cannot tell from {out} what to write. Give --{', --'.join(given)} with it."
        )
    return told
