"""A published board that is played in a second, with entries of real runs."""

import datetime
from functools import cache
from pathlib import Path

from pairbench import run
from pairbench.boards.entry import write_entry
from pairbench.submission.submit import make_submission
from tests.small_board import small_board

NAME = "tiny-v1"
WORLD = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
DESIGNS = ("first-two", "leverage", "uniform", "uniform-prompts")
SEEDS, BUDGETS = (0, 1, 2, 3), (8, 16)
TOML = f"""
title = "A tiny board"
description = "Two worlds that are played in a second."
published = "2026-11-28"
reference = "uniform"
designs = ["first-two", "leverage", "uniform-prompts"]
controls = ["first-two"]
open = ["ridge"]
seeds = "0:4"
budgets = [8, 16]

[[environments]]
spec = "{WORLD}"

[[environments]]
spec = "{WORLD[:-1]}, misspecification=1.0)"
"""


@cache
def played(base: Path) -> tuple[Path, Path]:
    """A folder of boards with entries, and a folder of runs that they come from; not to be changed.

    Args:
        base: the folder of all temporary folders, so that a session plays them once.
    """
    root, runs = base / "tiny-board" / "leaderboards", base / "tiny-board" / "runs"
    board = small_board(root, NAME, TOML)
    run(board.run_spec(), runs / NAME, jobs=1)
    for design in DESIGNS:
        made = make_submission(
            board,
            runs / NAME,
            design,
            author="Somebody",
            link="https://example.org/paper",
            date=datetime.date(2026, 11, 28),
        )
        write_entry(made.entry, root / NAME / "entries" / f"{made.entry.design.slug}.json")
    return root, runs
