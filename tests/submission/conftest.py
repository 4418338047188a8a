"""Fixtures: a small board, a run of it, and bundles to tamper with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairbench.boards.board import Board
from pairbench.boards.strict import validate_model
from pairbench.submission.admission import admit_bundle
from pairbench.submission.bundle import Bundle, PackedBundle, pack_bundle
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
"""Source of an untrusted design."""


def verify_bundle(
    data: bytes,
    name: str,
    *,
    entry: bytes | None = None,
    board_root: Path | None = None,
    **options: Any,
) -> Verdict:
    """Verify a single bundle."""
    return verify_bundles(
        [admit_bundle(data, name, entry=entry, board_root=board_root)], **options
    )[0]


@dataclass(frozen=True)
class PlayedBoard:
    """A board and a run of it.

    Attributes:
        root: folder of boards.
        board: the only board in the folder.
        run: folder of the run.
    """

    root: Path
    board: Board
    run: Path

    def submitted(self, design: str, **metadata: Any) -> Submission:
        """Submit a design of the run."""
        default = {"author": "Ada Lovelace", "link": "https://example.org"}
        return make_submission(self.board, self.run, design, **(default | metadata))

    def with_design(self, source: str, name: str = "my_design.py", **metadata: Any) -> Submission:
        """Run an untrusted design and submit it."""
        file = self.root / name
        file.write_text(source, encoding="utf-8")
        played(self.board, self.run, [str(file)])
        return self.submitted(str(file), **metadata)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> PlayedBoard:
    """Provide a board of two environments, two seeds and two budgets, with a run of two designs."""
    return played_board(tmp_path_factory.mktemp("boards"), "100:102", "[6, 12]")


def played_board(root: Path, seeds: str, budgets: str) -> PlayedBoard:
    """Make a small board with these seeds and budgets, and run its reference and greedy-d."""
    toml = TOML.replace('"100:104"', f'"{seeds}"').replace("[10, 20, 40]", budgets)
    board = small_board(root, toml=toml)
    return PlayedBoard(root, board, played(board, root / "run", ["greedy-d"]))


def repacked(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> PackedBundle:
    """Change the JSON of a bundle and pack it again."""
    content = bundle.model_dump(mode="json")
    change(content)
    return pack_bundle(validate_model(Bundle, content, "the changed bundle"))
