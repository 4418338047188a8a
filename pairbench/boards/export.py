"""Export of a board: standings, cells or references in one file."""

from pathlib import Path

from pairbench._util.arrow import WRITERS
from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.references import bibtex
from pairbench.boards.standings import standings
from pairbench.boards.tables import rows, standing_rows, standings_markdown
from pairbench.errors import InvalidParameter


def export(name: str, form: str, root: Path | None = None, *, cells: bool = False) -> bytes:
    """A board as a file.

    Args:
        name: the board's.
        form: ``"parquet"``, ``"csv"`` or ``"json"``, one design a row; ``"markdown"``, the
            standings to be read; or ``"bibtex"``, what the designs are from.
        root: a folder of boards; those that ship with pairbench if None.
        cells: every gap of every design instead, one a row.

    Raises:
        UnknownBoard: If there is no such board.
        InvalidParameter: If it has no entries, or gaps are asked for in a form that has no rows.
        InvalidSubmission: If an entry is not what it must be.
    """
    board, entries = load_board(name, root), load_entries(name, root)
    if not entries:
        raise InvalidParameter(
            f"board {name!r} has no entries. `pairbench submit` makes one; --boards names another "
            "folder of boards."
        )
    if form in WRITERS:
        return WRITERS[form](rows(entries) if cells else standing_rows(board, entries))
    if cells:
        raise InvalidParameter(f"cells are written as {', '.join(WRITERS)}; got {form}.")
    if form == "markdown":
        found = standings(board, entries)
        if found.reference is None:
            raise InvalidParameter(
                f"board {name!r} has no standings: its reference {board.reference!r} has no entry."
            )
        return standings_markdown(found).encode()
    if form == "bibtex":
        return bibtex({entry.design.label: entry.design.citation for entry in entries}).encode()
    raise InvalidParameter(
        f"a board is written as {', '.join(WRITERS)}, markdown or bibtex; got {form!r}."
    )
