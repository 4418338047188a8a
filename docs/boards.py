"""Fill a published board with all designs that ship with pairbench, verified.

    pairbench run synthetic-v1 --design all
    python docs/boards.py synthetic-v1

The first command plays the board, which can be stopped and goes on where it was; the second makes
an entry of each design in ``leaderboards/`` and verifies it (but with ``--level claimed``), some
designs at a time, which share the worlds that they are run on. Unless designs are named, those
whose entries are there at the level that is asked for, of the same source, are left out. Their
bundles are not kept: the first command makes them again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pairbench.boards import board_folder, load_board
from pairbench.harness.store import Store
from pairbench.registry import design_spec
from pairbench.submission.admission import admitted
from pairbench.submission.collection import load_entries
from pairbench.submission.entry import LEVELS, write_entry
from pairbench.submission.submit import make_submission
from pairbench.submission.verify import verify_bundles

ROOT = Path(__file__).resolve().parent.parent
AUTHOR = "The pairbench maintainers"
LINK = "https://github.com/pairbench/pairbench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the board that the command line names; 1 if a design did not reach its level."""
    order = list(LEVELS)
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("board")
    parser.add_argument("designs", nargs="*", help="labels (default: what is missing)")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/BOARD)")
    parser.add_argument("--level", choices=order, default="reproduced")
    parser.add_argument(
        "--together", type=int, default=26, help="designs that are verified at a time"
    )
    parser.add_argument("--cells", type=int, help="of a design, to compute again (default: all)")
    parser.add_argument("--jobs", type=int, help="processes (default: the cores)")
    parser.add_argument("--boards", type=Path, default=ROOT / "leaderboards")
    given = parser.parse_intermixed_args(arguments)
    root = given.boards
    board = load_board(given.board, root)
    run = given.run or Path("runs") / board.name
    there = {entry.design.label: entry for entry in load_entries(board.name, root)}
    folder = Path(str(board_folder(board.name, root))) / "entries"
    labels = given.designs or [
        label
        for label in sorted(played(run))
        if (known := there.get(label)) is None
        or known.design.source != design_spec(label).source
        or order.index(known.level) < order.index(given.level)
    ]
    failed = 0
    for start in range(0, len(labels), given.together):
        some = [
            make_submission(board, run, label, author=AUTHOR, link=LINK)
            for label in labels[start : start + given.together]
        ]
        if given.level == "claimed":
            for one in some:
                write_entry(one.entry, folder / f"{one.entry.design.slug}.json")
            continue
        verdicts = verify_bundles(
            [
                admitted(
                    one.packed.data,
                    one.entry.design.label,
                    entry=one.entry.to_bytes(),
                    board_root=root,
                )
                for one in some
            ],
            level=given.level,
            jobs=given.jobs,
            cells=given.cells,
            on_progress=progress,
        )
        for one, verdict in zip(some, verdicts, strict=True):
            sys.stdout.write(f"{verdict.design}: {verdict.level}\n")
            if verdict.failure is not None:
                sys.stdout.write(f"  {verdict.failure}\n")
                failed += 1
                continue
            entry = one.entry.model_copy(update={"verification": verdict.verification()})
            write_entry(entry, folder / f"{entry.design.slug}.json")
        sys.stdout.write(f"{len(some)} designs in {verdicts[0].seconds:.0f} s\n")
        sys.stdout.flush()
    return min(failed, 1)


def played(run: Path) -> set[str]:
    """The designs of a run that have cells without failure."""
    return {
        record["labels"]["design"]
        for _, record in Store(run / "cells").records()
        if record["status"] == "ok"
    }


def progress(what: str, done: int, total: int) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{what}: {done:,} of {total:,}\n")


if __name__ == "__main__":
    sys.exit(main())
