"""Loading of a board's entries from its folder."""

from collections import Counter
from pathlib import Path

from pairbench.boards.board import board_folder, load_board
from pairbench.boards.entry import BoardEntry, read_entry
from pairbench.errors import InvalidSubmission


def load_entries(name: str, root: Path | None = None) -> list[BoardEntry]:
    """Load the entries of a board, sorted by file name.

    Args:
        name: name of the board.
        root: folder of boards; the one that ships with pairbench if None.

    Raises:
        UnknownBoard: If no board has that name.
        InvalidSubmission: If an entry is malformed, belongs to another board or to another version
            of this one's file, is not named after its design, or has the same design and changes as
            another entry.
    """
    board, folder = load_board(name, root), board_folder(name, root).joinpath("entries")
    if not folder.is_dir():
        return []
    entries = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        entry = read_entry(file.read_bytes(), file.name)
        if file.name != f"{entry.design.slug}.json":
            raise InvalidSubmission(
                f"{file.name} is the entry of {entry.design.slug!r}. Rename the file to "
                f"{entry.design.slug}.json."
            )
        if (entry.board, entry.board_digest) != (board.name, board.digest):
            raise InvalidSubmission(
                f"{file.name} is an entry of another board than {board.name!r}, or of another "
                "version of its board.toml. Submit it again."
            )
        entries.append(entry)
    counts = Counter(f"{e.design.label} with {e.changes}" for e in entries)
    if duplicates := [variant for variant, count in counts.items() if count > 1]:
        raise InvalidSubmission(
            f"two entries of {board.name!r} are of {duplicates[0]}. Remove one of them."
        )
    return entries
