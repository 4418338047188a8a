"""Differences between versions of boards, and exports of boards."""

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
    """Return a function that copies the boards, and changes or removes some entries."""

    def copy_changed(**changes: Callable[[BoardEntry], BoardEntry | None]) -> Path:
        copy = tmp_path / "leaderboards"
        shutil.copytree(root, copy)
        for slug, change in changes.items():
            file = copy / NAME / "entries" / f"{slug.replace('_', '-')}.json"
            entry = change(read_entry(file.read_bytes(), file.name))
            file.unlink()
            if entry is not None:
                write_entry(entry, file)
        return copy

    return copy_changed


def removed(entry: BoardEntry) -> None:
    return None


def verified(entry: BoardEntry) -> BoardEntry:
    verification = Verification(level="recomputed", date=entry.date, pairbench="0.1.0", cells=16)
    return entry.model_copy(update={"verification": verification})


def times(factor: float) -> Callable[[BoardEntry], BoardEntry]:
    """Return a change that multiplies all gaps of an entry by a factor."""

    def change(entry: BoardEntry) -> BoardEntry:
        curves = tuple(
            curve.model_copy(
                update={"gaps": tuple(tuple(factor * gap for gap in row) for row in curve.gaps)}
            )
            for curve in entry.curves
        )
        return entry.model_copy(update={"curves": curves, "bundle": "0" * 64})

    return change


def closed_standings(root: Path) -> dict[str, Standing]:
    board = load_board(NAME, root)
    return {s.entry.design.slug: s for s in standings(board, load_entries(NAME, root)).closed}


def test_the_same_boards_do_not_differ(root: Path, changed: Callable[..., Path]) -> None:
    assert diff(root, changed()) == ()
    assert diff_markdown(()) == "No entry differs.\n"
    assert diff_json(()) == []


def test_new_and_removed_designs_are_listed_with_their_state(
    root: Path, changed: Callable[..., Path]
) -> None:
    smaller = changed(leverage=removed)
    (board,) = diff(smaller, root)
    new = board.designs[0]
    standing = closed_standings(root)["leverage"]
    assert (board.board, board.rules) == (NAME, False)
    assert (new.kind, new.slug, new.before, new.fields) == ("new", "leverage", None, ())
    assert new.after is not None
    assert (new.after.rank, new.after.savings) == (standing.rank, standing.savings)
    ends = [np.mean([row[-1] for row in curve.gaps]) for curve in standing.entry.curves]
    assert new.after.gap == pytest.approx(np.sqrt(np.prod(ends)))
    (reverse,) = diff(root, smaller)
    assert reverse.designs[0].kind == "gone"
    assert (reverse.designs[0].before, reverse.designs[0].after) == (new.after, None)


def test_a_design_whose_entry_changed_is_distinguished_from_those_that_it_moved(
    root: Path, changed: Callable[..., Path]
) -> None:
    other = changed(uniform_prompts=times(0.01))
    (board,) = diff(root, other)
    before, after = closed_standings(root), closed_standings(other)
    differences = {design.slug: design for design in board.designs}
    assert differences["uniform-prompts"].kind == "changed"
    assert differences["uniform-prompts"].fields == ("bundle", "curves")
    assert after["uniform-prompts"].savings.value > before["uniform-prompts"].savings.value
    moved = {
        slug
        for slug in before.keys() - {"uniform-prompts"}
        if (before[slug].rank, before[slug].tied) != (after[slug].rank, after[slug].tied)
    }
    assert moved  # it overtook others
    assert {slug for slug, design in differences.items() if design.kind == "moved"} == moved
    assert board.summary() == f"1 changed, {len(moved)} moved"


def test_a_changed_reference_changes_the_savings_of_all(
    root: Path, changed: Callable[..., Path]
) -> None:
    (board,) = diff(root, changed(uniform=times(0.5)))
    differences = {design.slug: design for design in board.designs}
    kinds = (differences["uniform"].kind, differences["leverage"].kind)
    assert kinds == ("changed", "moved")
    # The reference's curve continues beyond the board's last budget, where its gap is compared.
    curves = closed_standings(root)["uniform"].entry.curves
    at = [np.mean([row[curve.budgets.index(16)] for row in curve.gaps]) for curve in curves]
    assert differences["uniform"].before is not None
    assert differences["uniform"].before.gap == pytest.approx(np.sqrt(np.prod(at)))


def test_a_changed_level_is_shown_as_old_and_new(root: Path, changed: Callable[..., Path]) -> None:
    (board,) = diff(root, changed(leverage=verified))
    (design,) = board.designs
    assert (design.kind, design.fields) == ("changed", ("verification",))
    (row,) = board.rows()
    assert row[5] == "claimed → recomputed"
    assert "→" not in row[2] + row[3] + row[4]  # its figures are the same


def test_a_changed_board_file_is_reported(root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, text in ((one, TOML), (other, TOML.replace("A tiny board", "Another one"))):
        (folder / "bare-v1").mkdir(parents=True)
        (folder / "bare-v1" / "board.toml").write_text(text)
    (board,) = diff(one, other)
    assert (board.board, board.rules, board.designs) == ("bare-v1", True, ())
    assert diff_markdown([board]) == "**bare-v1**: board.toml changed\n"
    # The entries of a new board are listed as new designs.
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


def test_a_path_without_boards_is_refused(root: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", root / NAME / "entries"):
        with pytest.raises(InvalidParameter, match="is no folder of boards, no board and no entry"):
            diff(root, path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InvalidSubmission, match=r"bad\.json"):
        diff(root, tmp_path / "bad.json")


def test_a_diff_is_written_as_markdown_and_json(root: Path, changed: Callable[..., Path]) -> None:
    differences = diff(root, changed(leverage=removed, uniform_prompts=times(0.5)))
    lines = diff_markdown(differences).splitlines()
    assert lines[0] == f"**{NAME}**: {differences[0].summary()}"
    assert lines[2] == f"| {' | '.join(HEADINGS)} |"
    assert len(lines) == 4 + len(differences[0].designs)
    assert all(line.count("|") == len(HEADINGS) + 1 for line in lines[2:])
    assert "| gone | `leverage` |" in lines[4]
    boards = json.loads(json.dumps(diff_json(differences), allow_nan=False))
    assert [design["kind"] for design in boards[0]["designs"]] == [
        design.kind for design in differences[0].designs
    ]


def test_a_board_is_exported_as_tables(root: Path) -> None:
    board, entries = load_board(NAME, root), load_entries(NAME, root)
    standing, gaps = standings_table(board, entries), gap_table(entries)
    assert pq.read_table(io.BytesIO(export(NAME, "parquet", root))) == standing
    assert pq.read_table(io.BytesIO(export(NAME, "parquet", root, cells=True))) == gaps
    assert len(json.loads(export(NAME, "json", root))) == len(DESIGNS)
    assert len(export(NAME, "csv", root, cells=True).splitlines()) == gaps.num_rows + 1


def test_a_board_is_exported_as_markdown_and_bibtex(root: Path) -> None:
    board, entries = load_board(NAME, root), load_entries(NAME, root)
    page = export(NAME, "markdown", root).decode()
    assert page == standings_markdown(standings(board, entries))
    for standing in closed_standings(root).values():
        assert f"| `{standing.entry.design.label}` | {savings_text(standing.savings)} |" in page
    publications = parse_string(export(NAME, "bibtex", root).decode(), "bibtex").entries
    assert "leverage" in str(publications["das2024active"].fields["keywords"])
    assert re.search(r"first-two|Bai", str(publications["bai2022training"].fields))


def test_an_impossible_export_is_refused(root: Path, changed: Callable[..., Path]) -> None:
    with pytest.raises(InvalidParameter, match="cells are written as parquet, csv, json"):
        export(NAME, "bibtex", root, cells=True)
    with pytest.raises(InvalidParameter, match=r"written as .* or bibtex; got 'xml'"):
        export(NAME, "xml", root)
    with pytest.raises(UnknownBoard, match=rf"Did you mean '{NAME}'"):
        export("tiny-v2", "csv", root)
    without = changed(uniform=removed)
    with pytest.raises(InvalidParameter, match="its reference 'uniform' has no entry"):
        export(NAME, "markdown", without)
    shutil.rmtree(without / NAME / "entries")
    with pytest.raises(InvalidParameter, match="has no entries"):
        export(NAME, "csv", without)
