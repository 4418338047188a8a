"""The entries of a board, as they lie in its folder."""

from collections import Counter
from pathlib import Path

from pairbench.boards.board import board_folder, load_board
from pairbench.boards.entry import BoardEntry, read_entry
from pairbench.errors import InvalidSubmission


def load_entries(name: str, root: Path | None = None) -> list[BoardEntry]:
    """The entries of a board, in the order of their files' names.

    Args:
        name: the board's.
        root: a folder of boards; those that ship with pairbench if None.

    Raises:
        UnknownBoard: If there is no such board.
        InvalidSubmission: If an entry is not what it must be, is of another board or of an earlier
            form of this one, or is not named after its design.
    """
    board, folder = load_board(name, root), board_folder(name, root).joinpath("entries")
    if not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        entry = read_entry(file.read_bytes(), file.name)
        if file.name != f"{entry.design.slug}.json":
            raise InvalidSubmission(
                f"{file.name} is the entry of {entry.design.slug!r}: name it "
                f"{entry.design.slug}.json."
            )
        if (entry.board, entry.board_digest) != (board.name, board.digest):
            raise InvalidSubmission(
                f"{file.name} is an entry of another board than {board.name!r}, or of a board.toml "
                "that said something else. Submit it again."
            )
        found.append(entry)
    played = Counter(f"{e.design.label} with {e.changes}" for e in found)
    if twice := [what for what, count in played.items() if count > 1]:
        raise InvalidSubmission(f"two entries of {board.name!r} are of {twice[0]}.")
    return found
