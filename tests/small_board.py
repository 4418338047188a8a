"""A published board that is played in a second or two, in a folder of boards of its own."""

from collections.abc import Sequence
from pathlib import Path

from pairbench import run
from pairbench.boards.board import Board, load_board

NAME = "small-v1"
TOML = """
title = "A small board"
description = "Two worlds of a few prompts."
published = "2026-01-31"
reference = "uniform"
designs = []
controls = ["first-two"]
open = ["trainer", "ridge"]
seeds = "100:104"
budgets = [10, 20, 40]

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=12, completions=4, dim=3)"

[[environments]]
spec = "pairbench/LogLinear-v1(prompts=12, completions=4, dim=3, duplicates=0.5)"

[testing]
environments = ["pairbench/LogLinear-v1(prompts=12, completions=4, dim=3)"]
seeds = "100:102"
budgets = [10]
"""


def small_board(root: Path, name: str = NAME, toml: str = TOML) -> Board:
    """The board, in a folder of boards."""
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "board.toml").write_text(toml, encoding="utf-8")
    return load_board(name, root)


def played(board: Board, folder: Path, designs: Sequence[str] = (), jobs: int = 1) -> Path:
    """The folder of a run of the board: its reference, and some designs."""
    assert not run(board.run_spec(*designs), folder, jobs=jobs).failed
    return folder
