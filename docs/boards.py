"""Submit all designs that ship with pairbench to a published board, verified.

    pairbench run synthetic-v1 --design all
    python docs/boards.py synthetic-v1

The first command plays the board and can be interrupted and resumed. The second writes an entry of
each design to ``leaderboards/`` and verifies it (except with ``--level claimed``), several designs
at a time, which share the worlds that they are run on. Unless designs are named, those that already
have an entry of the requested level, of the same source or of an earlier protocol, are skipped.
Bundles are not kept: the first command can create them again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pairbench.boards.board import board_folder, load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import LEVELS, write_entry
from pairbench.cells.plan import PROTOCOL
from pairbench.cells.store import Store
from pairbench.design.registry import design_spec
from pairbench.submission.admission import admit_bundle
from pairbench.submission.submit import Submission, make_submission
from pairbench.submission.verify import verify_bundles

ROOT = Path(__file__).resolve().parent.parent
AUTHOR = "The pairbench maintainers"
LINK = "https://github.com/pairbench/pairbench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit designs to a board, and return 1 if one fails its verification, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("board")
    parser.add_argument("designs", nargs="*", help="labels of designs (default: all without entry)")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/BOARD)")
    parser.add_argument("--level", choices=list(LEVELS), default="reproduced")
    parser.add_argument(
        "--together", type=int, default=26, help="number of designs verified at a time"
    )
    parser.add_argument(
        "--cells", type=int, help="number of cells of a design to recompute (default: all)"
    )
    parser.add_argument("--jobs", type=int, help="worker processes (default: the CPU cores)")
    parser.add_argument("--boards", type=Path, default=ROOT / "leaderboards")
    options = parser.parse_intermixed_args(arguments)
    board = load_board(options.board, options.boards)
    run = options.run or Path("runs") / board.name
    labels = options.designs or designs_to_submit(board.name, run, options.boards, options.level)
    passed = True
    for start in range(0, len(labels), options.together):
        submissions = [
            make_submission(board, run, label, author=AUTHOR, link=LINK)
            for label in labels[start : start + options.together]
        ]
        folder = Path(str(board_folder(board.name, options.boards))) / "entries"
        if options.level == "claimed":
            for submission in submissions:
                write_entry(submission.entry, folder / f"{submission.entry.design.slug}.json")
        else:
            passed &= verify(submissions, folder, options)
    return int(not passed)


def designs_to_submit(board: str, run: Path, root: Path, level: str) -> list[str]:
    """Return the run's designs without an entry of the same source and at least this level."""
    order = list(LEVELS)
    entries = {entry.design.label: entry for entry in load_entries(board, root)}
    return [
        label
        for label in sorted(played_designs(run))
        if (entry := entries.get(label)) is None
        or (entry.protocol == PROTOCOL and entry.design.source != design_spec(label).source)
        or order.index(entry.level) < order.index(level)
    ]


def verify(submissions: Sequence[Submission], folder: Path, options: argparse.Namespace) -> bool:
    """Verify submissions, write the entries that pass, and return whether all did.

    Args:
        submissions: the submissions.
        folder: folder of the entries.
        options: options of the command line.
    """
    verdicts = verify_bundles(
        [
            admit_bundle(
                submission.packed.data,
                submission.entry.design.label,
                entry=submission.entry.to_bytes(),
                board_root=options.boards,
            )
            for submission in submissions
        ],
        level=options.level,
        jobs=options.jobs,
        cells=options.cells,
        on_progress=print_progress,
    )
    for submission, verdict in zip(submissions, verdicts, strict=True):
        sys.stdout.write(f"{verdict.design}: {verdict.level}\n")
        if verdict.failure is not None:
            sys.stdout.write(f"  {verdict.failure}\n")
            continue
        entry = submission.entry.model_copy(update={"verification": verdict.verification()})
        write_entry(entry, folder / f"{entry.design.slug}.json")
    sys.stdout.write(f"{len(submissions)} designs in {verdicts[0].seconds:.0f} s\n")
    sys.stdout.flush()
    return all(verdict.failure is None for verdict in verdicts)


def played_designs(run: Path) -> set[str]:
    """Return the designs of a run that have a successful cell."""
    return {
        record["labels"]["design"]
        for _, record in Store(run / "cells").records()
        if record["status"] == "ok"
    }


def print_progress(what: str, done: int, total: int) -> None:
    """Print the progress of a verification."""
    sys.stderr.write(f"{what}: {done:,} of {total:,}\n")


if __name__ == "__main__":
    sys.exit(main())
