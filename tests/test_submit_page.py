"""docs/submit.md: from nothing to a submitted, verified design, by its commands alone."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pairbench.boards.collection import load_entries
from pairbench.boards.entry import LEVELS, read_entry


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "submit.md").read_text()


def commands(page: str) -> list[list[str]]:
    """The four that follow the design's file, which is written by hand."""
    block = page.split("Then:\n\n")[1].split("\n\n")[0]
    return [shlex.split(line) for line in block.splitlines()]


def test_it_is_five_steps(page: str) -> None:
    names = [command[1] for command in commands(page)]
    assert names == ["check", "run", "submit", "verify"]
    assert [line[:3] for line in page.splitlines() if re.match(r"\d\. ", line)] == [
        f"{step}. " for step in range(1, 6)
    ]


def test_the_levels_are_those_that_there_are(page: str) -> None:
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(LEVELS)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_its_commands_submit_and_verify_a_design(page: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_design.py").write_text(code)
    for program, *arguments in commands(page):
        assert program == "pairbench"
        done = subprocess.run(
            [sys.executable, "-m", "pairbench", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    entries = tmp_path / "submission" / "synthetic-v1" / "entries"
    entry = read_entry((entries / "my-design.json").read_bytes(), "my-design.json")
    assert entry.level == "reproduced"
    assert entry.verification is not None
    assert entry.verification.cells == 240
    assert len(entry.verification.fresh) > 1
    assert (entries / "my-design.bundle").stat().st_size < 2_000_000
    # What a pull request would copy.
    board = tmp_path / "leaderboards" / "synthetic-v1"
    shutil.copytree(entries, board / "entries")
    shutil.copy(Path(__file__).parents[1] / "leaderboards/synthetic-v1/board.toml", board)
    assert load_entries("synthetic-v1", tmp_path / "leaderboards") == [entry]
