"""Export of a board's standings, gaps or bibliography to a file."""

from pathlib import Path

from pairbench._util.arrow import WRITERS
from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.references import bibtex
from pairbench.boards.standings import standings
from pairbench.boards.tables import gap_table, standings_markdown, standings_table
from pairbench.errors import InvalidParameter


def export(name: str, file_format: str, root: Path | None = None, *, cells: bool = False) -> bytes:
    """Export a board, and return the content of the file.

    Args:
        name: name of the board.
        file_format: ``"parquet"``, ``"csv"`` or ``"json"`` for a table of the standings with one
            row per design; ``"markdown"`` for the standings as a page; or ``"bibtex"`` for the
            bibliography of the designs.
        root: folder of boards; the one that ships with pairbench if None.
        cells: whether to export, instead of the standings, a table with one row for each gap of
            each design.

    Raises:
        UnknownBoard: If no board has that name.
        InvalidParameter: If the board has no entries, if the format is unknown, or if gaps are
            requested in a format that is no table.
        InvalidSubmission: If an entry is malformed.
    """
    board, entries = load_board(name, root), load_entries(name, root)
    if not entries:
        raise InvalidParameter(
            f"board {name!r} has no entries. Make one by `pairbench submit`, or name another "
            "folder of boards by --boards."
        )
    if file_format in WRITERS:
        table = gap_table(entries) if cells else standings_table(board, entries)
        return WRITERS[file_format](table)
    if cells:
        raise InvalidParameter(f"cells are written as {', '.join(WRITERS)}; got {file_format!r}.")
    if file_format == "markdown":
        results = standings(board, entries)
        if results.reference is None:
            raise InvalidParameter(
                f"board {name!r} has no standings, because its reference {board.reference!r} has "
                "no entry. Export another format, or submit the reference."
            )
        return standings_markdown(results).encode()
    if file_format == "bibtex":
        return bibtex({entry.design.label: entry.design.citation for entry in entries}).encode()
    raise InvalidParameter(
        f"a board is written as {', '.join(WRITERS)}, markdown or bibtex; got {file_format!r}."
    )
