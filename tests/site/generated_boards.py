"""Boards with plausible random entries, generated from seeds."""

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
    """Write a board without entries to a folder of boards, and load it."""
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
    board: Board, slug: str, strength: float, seed: int = 0, **fields: Any
) -> BoardEntry:
    """Generate an entry whose mean gap is about the reference's divided by ``strength``.

    Args:
        board: the board.
        slug: slug of the design.
        strength: ratio of the reference's gap to the design's.
        seed: seed of the generator.
        **fields: fields of the entry or of its design that replace the generated ones.
    """
    rng = np.random.default_rng([seed, len(slug), *slug.encode()])
    budgets = [*BUDGETS, *(800, 1600, 3200)] if slug == board.reference else list(BUDGETS)
    curves = []
    for k, environment in enumerate(board.environments):
        seed_factors = np.random.default_rng(k).lognormal(0, 0.25, size=len(board.seeds))
        noise = rng.lognormal(0, 0.12, size=(len(board.seeds), len(budgets)))
        advantage = strength ** rng.uniform(0.4, 1.4) if strength != 1 else 1.0
        gaps = 20 / np.array(budgets) / advantage * seed_factors[:, None] * noise
        curves.append(
            Curve(
                environment=environment.spec,
                unit="labels",
                budgets=tuple(budgets),
                seeds=board.seeds,
                gaps=tuple(tuple(round_figure(gap) for gap in row) for row in gaps.tolist()),
                spent=tuple(float(budget) for budget in budgets),
                start=0.9 + k,
                floor=0.02 * k,
                efficiency=float(rng.uniform(0.2, 0.9)),
                win_rate=float(rng.uniform(0.6, 0.9)),
                seconds=float(rng.lognormal(-3, 1.5)),
                memory=int(rng.integers(1, 400)) * 2**20,
            )
        )
    design_fields = SubmittedDesign.model_fields.keys() & fields.keys()
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
            **{name: fields.pop(name) for name in design_fields},
        }
    )
    level = LEVELS[int(rng.integers(len(LEVELS)))]
    verification = level and Verification(
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
            "verification": verification,
            **fields,
        }
    )


def write_entries(root: Path, board: Board, *entries: BoardEntry) -> None:
    """Write entries to a board's folder."""
    for entry in entries:
        write_entry(entry, root / board.name / "entries" / f"{entry.design.slug}.json")


def fill_board(root: Path, board: Board, designs: int) -> None:
    """Write the reference's entry, a control's, one of the open division, and those of designs.

    Args:
        root: folder of boards.
        board: the board.
        designs: number of further designs in the closed division.
    """
    write_entries(root, board, make_entry(board, "uniform", 1.0, family="plain"))
    write_entries(root, board, make_entry(board, "first-two", 0.6, family="control"))
    open_entry = make_entry(
        board, "opened", 2.0, division="open", changes={"trainer": "ipo"}, family="plain"
    )
    write_entries(root, board, open_entry)
    strengths = np.geomspace(0.3, 5.0, designs)
    names = ("greedy", "leverage", "duel", "spread", "posterior", "rank")
    for number, strength in enumerate(strengths.tolist()):
        slug = f"{names[number % len(names)]}-{number}"
        write_entries(root, board, make_entry(board, slug, strength))
