"""Boards with plausible entries, made from a seeded generator."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pairbench.boards.board import Board, load_board
from pairbench.boards.entry import (
    BoardEntry,
    Curve,
    SubmittedDesign,
    Verification,
    round_figure,
    write_entry,
)
from pairbench.cells.plan import PROTOCOL

ENVIRONMENTS = (
    "pairbench/Isotropic-v1",
    "pairbench/PowerLaw-v1(annotator='b-pref-skip')",
    "pairbench/NearDuplicates-v1",
)
FAMILIES = ("optimal design", "uncertainty", "diversity", "reward rank", None)
BUDGETS = (50, 100, 200, 400)
LEVELS: tuple[Literal["recomputed", "reproduced"] | None, ...] = (None, "recomputed", "reproduced")


def make_board(
    root: Path,
    name: str = "small-v1",
    environments: Sequence[str] = ENVIRONMENTS,
    seeds: int = 6,
    *,
    published: bool = True,
) -> Board:
    """A board in a folder of boards, without entries."""
    lines = [
        f'title = "A small board, {name}"',
        'description = "Made for tests."',
        'reference = "uniform"',
        "designs = []",
        'controls = ["first-two"]',
        'open = ["trainer", "ridge"]',
        f'seeds = "100:{100 + seeds}"',
        f"budgets = {list(BUDGETS)}",
        *(['published = "2026-11-28"'] if published else []),
    ]
    for spec in environments:
        lines += ["", "[[environments]]", f'spec = "{spec}"']
    (root / name).mkdir(parents=True)
    (root / name / "board.toml").write_text("\n".join(lines) + "\n")
    return load_board(name, root)


def make_entry(
    board: Board, slug: str, strength: float, seed: int = 0, **changed: Any
) -> BoardEntry:
    """An entry whose mean gap is the reference's over its strength, about.

    Args:
        board: the board.
        slug: the design's.
        strength: how much better it is than the reference.
        seed: of the generator.
        **changed: fields of the entry, or of its design, that are not the made ones.
    """
    rng = np.random.default_rng([seed, len(slug), *slug.encode()])
    marks = [*BUDGETS, *(800, 1600, 3200)] if slug == board.reference else list(BUDGETS)
    curves = []
    for k, environment in enumerate(board.environments):
        hard = np.random.default_rng(k).lognormal(0, 0.25, size=len(board.seeds))
        luck = rng.lognormal(0, 0.12, size=(len(board.seeds), len(marks)))
        advantage = strength ** rng.uniform(0.4, 1.4) if strength != 1 else 1.0
        gaps = 20 / np.array(marks) / advantage * hard[:, None] * luck
        curves.append(
            Curve(
                environment=environment.spec,
                unit="labels",
                budgets=tuple(marks),
                seeds=board.seeds,
                gaps=tuple(tuple(round_figure(gap) for gap in row) for row in gaps.tolist()),
                spent=tuple(float(mark) for mark in marks),
                start=0.9 + k,
                floor=0.02 * k,
                efficiency=float(rng.uniform(0.2, 0.9)),
                win_rate=float(rng.uniform(0.6, 0.9)),
                seconds=float(rng.lognormal(-3, 1.5)),
                memory=int(rng.integers(1, 400)) * 2**20,
            )
        )
    own_fields = SubmittedDesign.model_fields.keys() & changed.keys()
    design = SubmittedDesign(
        **{
            "name": slug,
            "params": {"ridge": 1.0},
            "source": "ab" * 32,
            "label": slug,
            "slug": slug,
            "family": FAMILIES[int(rng.integers(len(FAMILIES)))],
            "summary": f"Chooses pairs as {slug} does.",
            "citation": "Someone 2024, On choosing pairs, arXiv 2401.00001",
            **{name: changed.pop(name) for name in own_fields},
        }
    )
    level = LEVELS[int(rng.integers(len(LEVELS)))]
    checked = level and Verification(
        level=level, date=datetime.date(2026, 11, 28), pairbench="0.1.0", cells=12
    )
    return BoardEntry(
        **{
            "protocol": PROTOCOL,
            "board": board.name,
            "board_digest": board.digest,
            "design": design,
            "author": "The authors",
            "link": "https://example.org/design",
            "date": datetime.date(2026, 11, 28),
            "versions": {"python": "3.12.1", "pairbench": "0.1.0"},
            "machine": "a machine",
            "commit": "0123456789abcdef",
            "dirty": True,
            "bundle": "cd" * 32,
            "curves": tuple(curves),
            "verification": checked,
            **changed,
        }
    )


def enter(root: Path, board: Board, *entries: BoardEntry) -> None:
    """Put entries into a board's folder."""
    for entry in entries:
        write_entry(entry, root / board.name / "entries" / f"{entry.design.slug}.json")


def fill(root: Path, board: Board, designs: int) -> None:
    """Enter the reference, a control, one of the open division, and so many designs."""
    enter(root, board, make_entry(board, "uniform", 1.0, family="plain"))
    enter(root, board, make_entry(board, "first-two", 0.6, family="control"))
    opened = make_entry(
        board, "opened", 2.0, division="open", changes={"trainer": "ipo"}, family="plain"
    )
    enter(root, board, opened)
    strengths = np.geomspace(0.3, 5.0, designs)
    names = ("greedy", "leverage", "duel", "spread", "posterior", "rank")
    for number, strength in enumerate(strengths.tolist()):
        slug = f"{names[number % len(names)]}-{number}"
        enter(root, board, make_entry(board, slug, strength))
