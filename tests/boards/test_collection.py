"""Loading of a board's entries from its folder."""

from pathlib import Path

import pytest

from pairbench.boards.collection import load_entries
from pairbench.boards.entry import BoardEntry, write_entry
from pairbench.errors import InvalidSubmission, UnknownBoard
from tests.boards.test_entry import GOOD, read
from tests.small_board import small_board


@pytest.fixture
def entry(tmp_path: Path) -> BoardEntry:
    return read(GOOD | {"board_digest": small_board(tmp_path).digest})


def test_a_board_without_entries_has_none(tmp_path: Path) -> None:
    small_board(tmp_path)
    assert load_entries("small-v1", tmp_path) == []
    with pytest.raises(UnknownBoard, match=r"Did you mean 'small-v1'\?"):
        load_entries("smal-v1", tmp_path)


def test_entries_are_sorted_by_file_name(tmp_path: Path, entry: BoardEntry) -> None:
    folder = tmp_path / "small-v1" / "entries"
    design = entry.design.model_copy(update={"slug": "another", "label": "another"})
    other = entry.model_copy(update={"design": design})
    for one in (entry, other):
        write_entry(one, folder / f"{one.design.slug}.json")
    (folder / "greedy-d.bundle").write_bytes(b"not an entry")
    assert load_entries("small-v1", tmp_path) == [other, entry]


def test_an_entry_of_another_design_or_board_is_refused(tmp_path: Path, entry: BoardEntry) -> None:
    folder = tmp_path / "small-v1" / "entries"
    write_entry(entry, folder / "other.json")
    with pytest.raises(InvalidSubmission, match=r"other.json is the entry of 'greedy-d'"):
        load_entries("small-v1", tmp_path)
    (folder / "other.json").unlink()
    for change in ({"board": "other-v1"}, {"board_digest": "0" * 64}):
        write_entry(entry.model_copy(update=change), folder / "greedy-d.json")
        with pytest.raises(InvalidSubmission, match=r"of another board .* Submit it again"):
            load_entries("small-v1", tmp_path)


def test_one_design_has_one_entry_for_each_division(tmp_path: Path, entry: BoardEntry) -> None:
    folder = tmp_path / "small-v1" / "entries"
    write_entry(entry, folder / "greedy-d.json")
    renamed = entry.design.model_copy(update={"slug": "greedy-d-again"})
    duplicate = entry.model_copy(update={"design": renamed})
    open_entry = duplicate.model_copy(update={"division": "open", "changes": {"trainer": "ipo"}})
    write_entry(open_entry, folder / "greedy-d-again.json")
    assert len(load_entries("small-v1", tmp_path)) == 2
    write_entry(duplicate, folder / "greedy-d-again.json")
    with pytest.raises(InvalidSubmission, match="two entries of 'small-v1' are of greedy-d"):
        load_entries("small-v1", tmp_path)
