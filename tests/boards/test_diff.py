"""What became of boards, and boards as files."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pybtex.database import parse_string  # type: ignore[import-untyped]

from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.diff import HEADINGS, diff, diff_json, diff_markdown
from pairbench.boards.entry import BoardEntry, Verification, read_entry, write_entry
from pairbench.boards.export import export
from pairbench.boards.standings import Standing, standings
from pairbench.boards.tables import gap_table, standings_markdown, standings_table
from pairbench.errors import InvalidParameter, InvalidSubmission, UnknownBoard
from pairbench.stats.text import savings_text
from tests.tiny_board import DESIGNS, NAME, TOML, played

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played(tmp_path_factory.getbasetemp())[0]


@pytest.fixture
def changed(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the boards, of which some entries are changed or taken away."""

    def change(**changes: Callable[[BoardEntry], BoardEntry | None]) -> Path:
        copy = tmp_path / "leaderboards"
        shutil.copytree(root, copy)
        for slug, how in changes.items():
            file = copy / NAME / "entries" / f"{slug.replace('_', '-')}.json"
            entry = how(read_entry(file.read_bytes(), file.name))
            file.unlink()
            if entry is not None:
                write_entry(entry, file)
        return copy

    return change


def gone(entry: BoardEntry) -> None:
    return None


def verified(entry: BoardEntry) -> BoardEntry:
    verification = Verification(level="recomputed", date=entry.date, pairbench="0.1.0", cells=16)
    return entry.model_copy(update={"verification": verification})


def times(factor: float) -> Callable[[BoardEntry], BoardEntry]:
    """The same entry with so many times the gaps."""

    def how(entry: BoardEntry) -> BoardEntry:
        curves = tuple(
            curve.model_copy(
                update={"gaps": tuple(tuple(factor * gap for gap in row) for row in curve.gaps)}
            )
            for curve in entry.curves
        )
        return entry.model_copy(update={"curves": curves, "bundle": "0" * 64})

    return how


def placed(root: Path) -> dict[str, Standing]:
    board = load_board(NAME, root)
    return {s.entry.design.slug: s for s in standings(board, load_entries(NAME, root)).closed}


def test_the_same_boards_do_not_differ(root: Path, changed: Callable[..., Path]) -> None:
    assert diff(root, changed()) == ()
    assert diff_markdown(()) == "No entry differs.\n"
    assert diff_json(()) == []


def test_what_came_and_went_is_told_with_its_place(
    root: Path, changed: Callable[..., Path]
) -> None:
    less = changed(leverage=gone)
    (board,) = diff(less, root)
    new = board.designs[0]
    standing = placed(root)["leverage"]
    assert (board.board, board.rules) == (NAME, False)
    assert (new.kind, new.slug, new.before, new.fields) == ("new", "leverage", None, ())
    assert new.after is not None
    assert (new.after.rank, new.after.savings) == (standing.rank, standing.savings)
    ends = [np.mean([row[-1] for row in curve.gaps]) for curve in standing.entry.curves]
    assert new.after.gap == pytest.approx(np.sqrt(np.prod(ends)))
    (back,) = diff(root, less)
    assert back.designs[0].kind == "gone"
    assert (back.designs[0].before, back.designs[0].after) == (new.after, None)


def test_a_design_that_others_moved_is_told_apart_from_one_that_changed(
    root: Path, changed: Callable[..., Path]
) -> None:
    other = changed(uniform_prompts=times(0.01))
    (board,) = diff(root, other)
    before, after = placed(root), placed(other)
    found = {design.slug: design for design in board.designs}
    assert found["uniform-prompts"].kind == "changed"
    assert found["uniform-prompts"].fields == ("bundle", "curves")
    assert after["uniform-prompts"].savings.value > before["uniform-prompts"].savings.value
    moved = {
        slug
        for slug in before.keys() - {"uniform-prompts"}
        if (before[slug].rank, before[slug].tied) != (after[slug].rank, after[slug].tied)
    }
    assert moved  # it overtook others
    assert {slug for slug, design in found.items() if design.kind == "moved"} == moved
    assert board.summary() == f"1 changed, {len(moved)} moved"


def test_a_changed_reference_changes_the_savings_of_all(
    root: Path, changed: Callable[..., Path]
) -> None:
    (board,) = diff(root, changed(uniform=times(0.5)))
    found = {design.slug: design for design in board.designs}
    assert (found["uniform"].kind, found["leverage"].kind) == ("changed", "moved")
    # The reference is played beyond the board's last budget, and does not stand there.
    curves = placed(root)["uniform"].entry.curves
    at = [np.mean([row[curve.budgets.index(16)] for row in curve.gaps]) for curve in curves]
    assert found["uniform"].before is not None
    assert found["uniform"].before.gap == pytest.approx(np.sqrt(np.prod(at)))


def test_a_level_is_told_as_old_and_new(root: Path, changed: Callable[..., Path]) -> None:
    (board,) = diff(root, changed(leverage=verified))
    (design,) = board.designs
    assert (design.kind, design.fields) == ("changed", ("verification",))
    (row,) = board.rows()
    assert row[5] == "claimed → recomputed"
    assert "→" not in row[2] + row[3] + row[4]  # its figures are the same


def test_a_board_that_says_something_else_is_told(root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, text in ((one, TOML), (other, TOML.replace("A tiny board", "Another one"))):
        (folder / "bare-v1").mkdir(parents=True)
        (folder / "bare-v1" / "board.toml").write_text(text)
    (board,) = diff(one, other)
    assert (board.board, board.rules, board.designs) == ("bare-v1", True, ())
    assert diff_markdown([board]) == "**bare-v1**: board.toml changed\n"
    # Of a board that is new, its entries are told.
    assert [d.kind for d in diff(one, root)[0].designs] == ["new"] * len(DESIGNS)


def test_folders_checkouts_boards_and_entries_can_be_compared(
    root: Path, changed: Callable[..., Path]
) -> None:
    copy = changed(leverage=times(0.5))
    expected = diff(root, copy)
    assert expected
    assert diff(root / NAME, copy / NAME) == expected
    assert diff(root.parent, copy.parent) == expected  # where `leaderboards` is
    file = Path(NAME) / "entries" / "leverage.json"
    (board,) = diff(root / file, copy / file)
    (design,) = board.designs
    assert (design.kind, design.fields) == ("changed", ("bundle", "curves"))
    assert design.before is not None
    assert design.after is not None
    assert design.after.gap == pytest.approx(design.before.gap / 2)
    assert (design.after.rank, design.after.savings) == (None, None)


def test_what_is_no_board_is_refused(root: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", root / NAME / "entries"):
        with pytest.raises(InvalidParameter, match="is no folder of boards, no board and no entry"):
            diff(root, path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InvalidSubmission, match=r"bad\.json"):
        diff(root, tmp_path / "bad.json")


def test_a_diff_can_be_a_comment_and_json(root: Path, changed: Callable[..., Path]) -> None:
    found = diff(root, changed(leverage=gone, uniform_prompts=times(0.5)))
    lines = diff_markdown(found).splitlines()
    assert lines[0] == f"**{NAME}**: {found[0].summary()}"
    assert lines[2] == f"| {' | '.join(HEADINGS)} |"
    assert len(lines) == 4 + len(found[0].designs)
    assert all(line.count("|") == len(HEADINGS) + 1 for line in lines[2:])
    assert "| gone | `leverage` |" in lines[4]
    told = json.loads(json.dumps(diff_json(found), allow_nan=False))
    assert [design["kind"] for design in told[0]["designs"]] == [
        design.kind for design in found[0].designs
    ]


def test_a_board_is_written_as_tables(root: Path) -> None:
    board, entries = load_board(NAME, root), load_entries(NAME, root)
    standing, gaps = standings_table(board, entries), gap_table(entries)
    assert pq.read_table(io.BytesIO(export(NAME, "parquet", root))) == standing
    assert pq.read_table(io.BytesIO(export(NAME, "parquet", root, cells=True))) == gaps
    assert len(json.loads(export(NAME, "json", root))) == len(DESIGNS)
    assert len(export(NAME, "csv", root, cells=True).splitlines()) == gaps.num_rows + 1


def test_a_board_is_written_to_be_read_and_to_be_cited(root: Path) -> None:
    board, entries = load_board(NAME, root), load_entries(NAME, root)
    shown = export(NAME, "markdown", root).decode()
    assert shown == standings_markdown(standings(board, entries))
    for standing in placed(root).values():
        assert f"| `{standing.entry.design.label}` | {savings_text(standing.savings)} |" in shown
    found = parse_string(export(NAME, "bibtex", root).decode(), "bibtex").entries
    assert "leverage" in str(found["das2024active"].fields["keywords"])
    assert re.search(r"first-two|Bai", str(found["bai2022training"].fields))


def test_what_cannot_be_written_is_told(root: Path, changed: Callable[..., Path]) -> None:
    with pytest.raises(InvalidParameter, match="cells are written as parquet, csv, json"):
        export(NAME, "bibtex", root, cells=True)
    with pytest.raises(InvalidParameter, match=r"written as .* or bibtex; got 'xml'"):
        export(NAME, "xml", root)
    with pytest.raises(UnknownBoard, match=rf"Did you mean '{NAME}'"):
        export("tiny-v2", "csv", root)
    without = changed(uniform=gone)
    with pytest.raises(InvalidParameter, match="its reference 'uniform' has no entry"):
        export(NAME, "markdown", without)
    shutil.rmtree(without / NAME / "entries")
    with pytest.raises(InvalidParameter, match="has no entries"):
        export(NAME, "csv", without)
