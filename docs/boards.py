"""Fill a published board with all designs that ship with pairbench, verified.

    pairbench run synthetic-v1 --design all
    python docs/boards.py synthetic-v1

The first command plays the board, which can be stopped and goes on where it was; the second makes
an entry of each design in ``leaderboards/`` and verifies it, one after the other, leaving out those
that are there at the level that is asked for. Their bundles are not kept: the first command makes
them again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pairbench.boards import board_folder, load_board
from pairbench.harness.store import Store
from pairbench.submission.collection import load_entries
from pairbench.submission.entry import LEVELS, write_entry
from pairbench.submission.submit import make_submission
from pairbench.submission.verify import verify_bundle

ROOT = Path(__file__).resolve().parent.parent
AUTHOR = "The pairbench maintainers"
LINK = "https://github.com/pairbench/pairbench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the board that the command line names; 1 if a design did not reach its level."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("board")
    parser.add_argument("designs", nargs="*", help="labels (default: all of the run)")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/BOARD)")
    parser.add_argument("--level", choices=["recomputed", "reproduced"], default="reproduced")
    parser.add_argument("--jobs", type=int, help="processes (default: the cores)")
    parser.add_argument("--boards", type=Path, default=ROOT / "leaderboards")
    given = parser.parse_intermixed_args(arguments)
    root = given.boards
    board = load_board(given.board, root)
    run = given.run or Path("runs") / board.name
    order = list(LEVELS)
    there = {entry.design.label: entry for entry in load_entries(board.name, root)}
    labels = given.designs or sorted(
        {
            record["labels"]["design"]
            for _, record in Store(run / "cells").records()
            if record["status"] == "ok"
        }
    )
    failed = 0
    for label in labels:
        known = there.get(label)
        if known is not None and order.index(known.level) >= order.index(given.level):
            continue
        made = make_submission(board, run, label, author=AUTHOR, link=LINK)
        verdict = verify_bundle(
            made.packed.data,
            label,
            entry=made.entry.to_bytes(),
            board_root=root,
            level=given.level,
            jobs=given.jobs,
        )
        sys.stdout.write(f"{label}: {verdict.level} in {verdict.seconds:.0f} s\n")
        sys.stdout.flush()
        if verdict.failure is not None:
            sys.stdout.write(f"  {verdict.failure}\n")
            failed += 1
            continue
        entry = made.entry.model_copy(update={"verification": verdict.verification()})
        folder = Path(str(board_folder(board.name, root))) / "entries"
        write_entry(entry, folder / f"{entry.design.slug}.json")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
