"""Submissions: entries computed from runs, and runs that are refused."""

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairbench import load_report, run
from pairbench._util.files import seal
from pairbench.boards.board import Board, load_board, read_board
from pairbench.boards.entry import read_entry
from pairbench.cells.store import Store
from pairbench.design.registry import design_spec
from pairbench.errors import InvalidParameter, InvalidSubmission
from pairbench.estimators import ESTIMATORS
from pairbench.submission.bundle import pack_bundle, unpack_bundle
from pairbench.submission.submit import (
    Submission,
    board_cells,
    entry_from_bundle,
    make_slug,
    make_submission,
)
from tests.conftest import Install
from tests.small_board import TOML, played, small_board

MINE = '''"""Take the first two completions of prompts drawn at random."""
import numpy as np


def select(view, n, shift=0):
    prompts = view.rng.integers(view.pool.n_prompts, size=n)
    return np.column_stack([prompts, np.full(n, shift), np.full(n, shift + 1)])
'''


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boards")


@pytest.fixture(scope="module")
def board(root: Path) -> Board:
    return small_board(root)


@pytest.fixture(scope="module")
def mine(root: Path) -> str:
    path = root / "my_design.py"
    path.write_text(MINE)
    return str(path)


@pytest.fixture(scope="module")
def folder(root: Path, board: Board, mine: str) -> Path:
    return played(board, root / "run", [f"{mine}(shift=1)", "first-two"])


def submitted(board: Board, folder: Path, design: str, **kwargs: Any) -> Submission:
    usual = {"author": "Ada Lovelace", "link": "https://example.org"}
    return make_submission(board, folder, design, **(usual | kwargs))


def test_a_submission_holds_what_the_run_reports(board: Board, folder: Path, mine: str) -> None:
    made = submitted(board, folder, f"{mine}(shift=1)", date=datetime.date(2026, 1, 31))
    entry, report = made.entry, load_report(folder)
    assert (entry.board, entry.board_digest) == (board.name, board.digest)
    assert (entry.design.name, entry.design.params) == ("my_design.py", {"shift": 1})
    assert entry.design.slug == "my-design-shift-1"
    assert entry.design.summary == "Take the first two completions of prompts drawn at random."
    assert (entry.level, entry.division) == ("claimed", "closed")
    assert entry.date == datetime.date(2026, 1, 31)
    assert made.bundle.source == MINE
    assert [curve.environment for curve in entry.curves] == [
        environment.spec for environment in board.environments
    ]
    for curve in entry.curves:
        (section,) = (s for s in report.sections if s.environment == curve.environment)
        (row,) = (row for row in section.rows if row.design == entry.design.label)
        assert curve.seeds == board.seeds
        assert curve.budgets == board.budgets
        means = np.mean(curve.gaps, axis=0)
        assert means == pytest.approx([p.gap.value for p in row.curve], rel=1e-5)
        assert curve.spent == curve.budgets
        assert curve.start == pytest.approx(section.start, rel=1e-5)
        assert curve.efficiency == pytest.approx(row.efficiency, rel=1e-5)
        assert curve.win_rate == pytest.approx(row.win_rate, rel=1e-5)
        assert curve.seconds == pytest.approx(row.selection_seconds, rel=1e-5)


def test_the_reference_reaches_beyond_the_board(board: Board, folder: Path) -> None:
    entry = submitted(board, folder, "uniform").entry
    assert entry.curves[0].budgets == (10, 20, 40, 80, 160, 320)
    assert entry.curves[0].spent[-1] == 320
    one, other = (
        curve.efficiency
        for curve in (entry.curves[0], submitted(board, folder, "first-two").entry.curves[0])
    )
    assert one != other


def test_packing_is_reproducible_and_unpacking_inverts_it(board: Board, folder: Path) -> None:
    day = datetime.date(2026, 1, 31)
    one, other = (submitted(board, folder, "first-two", date=day) for _ in range(2))
    assert one.packed == other.packed
    found, digest = unpack_bundle(one.packed.data, "first-two.bundle")
    assert (found, digest) == (one.bundle, one.packed.digest)
    assert pack_bundle(found) == one.packed
    assert entry_from_bundle(found, digest) == one.entry
    assert read_entry(one.entry.to_bytes(), "first-two.json") == one.entry


def test_an_open_entry_says_what_it_changes(board: Board, tmp_path: Path) -> None:
    changes = {"trainer": "ipo", "ridge": 0.5}
    run(board.run_spec("first-two", changes=changes), tmp_path, jobs=1)
    made = submitted(board, tmp_path, "first-two", changes=changes)
    assert (made.entry.division, made.entry.changes) == ("open", changes)
    assert made.entry.design.slug == "first-two-open-ridge-0-5-trainer-ipo"
    with pytest.raises(InvalidSubmission, match="8 missing"):
        submitted(board, tmp_path, "first-two")
    with pytest.raises(InvalidParameter, match="does not leave 'dim' open to change"):
        submitted(board, tmp_path, "first-two", changes={"dim": 4})


def test_missing_cells_are_counted_with_the_command_that_completes_them(
    board: Board, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    store = Store(tmp_path / "run" / "cells")
    keys = [one.cell.key for one in board_cells(board, design_spec("first-two"))]
    store.path(keys[0]).unlink()
    store.path(keys[1]).write_bytes(store.path(keys[1]).read_bytes().replace(b"0.", b"1."))
    record = store.read(keys[2])
    assert record is not None
    store.write(keys[2], {k: v for k, v in record.items() if k != "results"} | {"status": "failed"})
    with pytest.raises(InvalidSubmission) as caught:
        submitted(board, tmp_path / "run", "first-two")
    for part in (
        "of the 8 cells that 'small-v1' asks of 'first-two'",
        "1 missing",
        "1 not valid",
        "1 failed",
        f"pairbench run small-v1 --design 'first-two' --out {tmp_path / 'run'} --retry-failed",
    ):
        assert part in str(caught.value)


def test_cells_of_other_seeds_are_named_as_the_cause(
    board: Board, root: Path, tmp_path: Path
) -> None:
    other = read_board("small-v1", TOML.replace("100:104", "200:204"))
    assert other.digest != board.digest
    played(other, tmp_path / "run", ["first-two"])
    with pytest.raises(InvalidSubmission, match=r"seeds 200 to 203, the board's being 100 to 103"):
        submitted(board, tmp_path / "run", "first-two")
    assert load_board("small-v1", root).digest == board.digest


def test_an_edited_design_is_another_design(board: Board, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my_design.py").write_text(MINE.replace("shift + 1", "shift + 2"))
    with pytest.raises(InvalidSubmission, match=r"8 missing .* another source"):
        submitted(board, folder, f"{tmp_path / 'my_design.py'}(shift=1)")


def test_a_design_whose_docstring_was_edited_is_the_same(
    board: Board, folder: Path, mine: str, tmp_path: Path
) -> None:
    text = MINE.replace("two", "2") + "# The end.\n"
    (tmp_path / "my_design.py").write_text(text)
    made = submitted(board, folder, f"{tmp_path / 'my_design.py'}(shift=1)")
    before = submitted(board, folder, f"{mine}(shift=1)")
    assert made.bundle.source == text
    assert made.entry.design.source == before.entry.design.source
    assert made.entry.curves == before.entry.curves
    assert unpack_bundle(made.packed.data, "mine.bundle")[0] == made.bundle


def test_cells_of_several_versions_are_refused(board: Board, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    store = Store(tmp_path / "run" / "cells")
    key = board_cells(board, design_spec("first-two"))[3].cell.key
    record = json.loads(json.dumps(store.read(key)))
    record["made"]["versions"]["numpy"] = "1.0"
    store.path(key).write_bytes(seal(record))
    with pytest.raises(InvalidSubmission, match="different versions"):
        submitted(board, tmp_path / "run", "first-two")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"author": " \n"}, "manifest.author"),
        ({"link": "example.org"}, "manifest.link: .*https://"),
    ],
)
def test_invalid_metadata_is_refused(
    board: Board, folder: Path, kwargs: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidSubmission, match=message):
        submitted(board, folder, "first-two", **kwargs)


def test_studies_take_no_entries_and_folders_must_be_runs(board: Board, tmp_path: Path) -> None:
    study = read_board("small", TOML.replace('published = "2026-01-31"\n', ""))
    with pytest.raises(InvalidSubmission, match="is a study and takes no entries"):
        submitted(study, tmp_path, "first-two")
    with pytest.raises(InvalidSubmission, match=r"is no run folder\. `pairbench run small-v1"):
        submitted(board, tmp_path, "first-two")


def test_a_design_with_parts_of_third_parties_is_refused(
    board: Board, folder: Path, install: Install
) -> None:
    source = """
        from dataclasses import dataclass
        from pairbench import Laplace

        @dataclass(frozen=True)
        class Narrow(Laplace):
            '''Another estimator.'''
    """
    install(ESTIMATORS.group, {"narrow": "their_narrow_code:Narrow"}, their_narrow_code=source)
    with pytest.raises(InvalidSubmission, match=r"uses their_narrow_code\.Narrow, which"):
        submitted(board, folder, "bald(estimator='narrow')")


@pytest.mark.parametrize(
    ("label", "changes", "expected"),
    [
        ("greedy-d", {}, "greedy-d"),
        ("My Design.py:Best(a=2.5, b='x')", {}, "my-design-best-a-2-5-b-x"),
        ("été.py", {}, "ete"),
        ("最適.py", {}, "design"),
        ("x" * 100, {}, "x" * 64),
        ("greedy-d", {"trainer": "ipo"}, "greedy-d-open-trainer-ipo"),
    ],
)
def test_labels_become_parts_of_file_names(
    label: str, changes: dict[str, Any], expected: str
) -> None:
    assert make_slug(label, changes) == expected
