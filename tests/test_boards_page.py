"""docs/boards.py fills a board, and leaves out what is there."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pairbench.boards.collection import load_entries
from tests.small_board import NAME, played, small_board


@pytest.fixture
def fill(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("boards_page", root / "docs" / "boards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.slow
def test_a_board_is_filled_once(
    fill: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boards = tmp_path / "boards"
    run = played(small_board(boards), tmp_path / "run", ["first-two", "leverage"])
    arguments = [NAME, "--run", str(run), "--boards", str(boards), "--jobs", "1"]
    assert fill([*arguments, "--level", "claimed"]) == 0
    entries = load_entries(NAME, boards)
    assert [entry.design.label for entry in entries] == ["first-two", "leverage", "uniform"]
    assert {entry.level for entry in entries} == {"claimed"}
    assert fill([*arguments, "--level", "claimed"]) == 0
    assert capsys.readouterr().out == ""
    arguments += ["--level", "recomputed"]
    assert fill([*arguments, "uniform"]) == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first == "uniform: recomputed"
    assert rest.startswith("1 designs in ")
    assert fill(arguments) == 0
    out = capsys.readouterr().out
    assert "uniform" not in out
    assert "leverage: recomputed" in out
    assert {entry.level for entry in load_entries(NAME, boards)} == {"recomputed"}
    # All are there; one that is named is made once more.
    assert fill(arguments) == 0
    assert capsys.readouterr().out == ""
    assert fill([*arguments, "leverage", "--together", "1"]) == 0
    assert capsys.readouterr().out.startswith("leverage: recomputed")
    assert fill([*arguments, "leverage", "--cells", "1"]) == 0
    checked = [
        entry.verification and entry.verification.cells for entry in load_entries(NAME, boards)
    ]
    assert checked == [8, 1, 8]
