"""A small board with a run, and bundles of it that can be tampered with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairbench.boards.board import Board
from pairbench.boards.strict import validate_model
from pairbench.submission.admission import admitted
from pairbench.submission.bundle import Bundle, Packed, packed
from pairbench.submission.submit import Submission, make_submission
from pairbench.submission.verify import Verdict, verify_bundles
from tests.small_board import TOML, played, small_board

MINE = '''"""Take prompts at random, and two of their completions.

Family: baseline
Source: none
Assumes: nothing
Cost: none
"""
import numpy as np


def select(view, n, shift=1.0):
    """Draw prompts."""
    prompts = view.rng.integers(view.pool.n_prompts, size=n)
    return np.column_stack([prompts, np.zeros(n, int), np.full(n, int(shift))])
'''
"""A design of a stranger's."""


def verify_bundle(
    data: bytes,
    name: str,
    *,
    entry: bytes | None = None,
    board_root: Path | None = None,
    **how: Any,
) -> Verdict:
    """The verdict on a single bundle."""
    return verify_bundles([admitted(data, name, entry=entry, board_root=board_root)], **how)[0]


@dataclass(frozen=True)
class Played:
    """A board, and a run of it.

    Attributes:
        root: the folder of boards.
        board: the only one in it.
        run: the folder of the run.
        designs: of strangers, by the names of their files.
    """

    root: Path
    board: Board
    run: Path

    def submitted(self, design: str, **said: Any) -> Submission:
        """What a design of the run is submitted as."""
        usual = {"author": "Ada Lovelace", "link": "https://example.org"}
        return make_submission(self.board, self.run, design, **(usual | said))

    def with_design(self, source: str, name: str = "my_design.py", **said: Any) -> Submission:
        """Run a stranger's design, and submit it."""
        file = self.root / name
        file.write_text(source, encoding="utf-8")
        played(self.board, self.run, [str(file)])
        return self.submitted(str(file), **said)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Two worlds, two seeds of each, two budgets; the reference and a design are played."""
    return played_board(tmp_path_factory.mktemp("boards"), "100:102", "[6, 12]")


def played_board(root: Path, seeds: str, budgets: str) -> Played:
    """A small board with these seeds and budgets, whose reference and greedy-d are played."""
    toml = TOML.replace('"100:104"', f'"{seeds}"').replace("[10, 20, 40]", budgets)
    board = small_board(root, toml=toml)
    return Played(root, board, played(board, root / "run", ["greedy-d"]))


def repacked(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> Packed:
    """The bundle with something changed in its JSON, in proper form."""
    content = bundle.model_dump(mode="json")
    change(content)
    return packed(validate_model(Bundle, content, "the changed bundle"))
