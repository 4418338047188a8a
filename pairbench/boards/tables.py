"""Tables of boards: every gap of every entry, the standings, and the files that they go into.

A table is a :class:`pyarrow.Table` whose columns are declared here with their types and meanings,
so that what is written, what is queried and what is said of it are one thing.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pairbench._util.arrow import Column, Columns, Table, concat_parts, from_rows
from pairbench.boards.board import Board
from pairbench.boards.entry import BoardEntry, Curve
from pairbench.boards.standings import Standing, Standings, is_control, standings
from pairbench.stats.bootstrap import Estimate
from pairbench.stats.text import savings_text

CURVES: Columns = {
    "board": Column("string", "name of the board"),
    "slug": Column("string", "name of the entry's file"),
    "design": Column("string", "the design, with the parameters that are not defaults"),
    "division": Column("string", "closed, or open where the entry changes the environments"),
    "environment": Column("string", "the environment, likewise"),
    "unit": Column("string", "what budgets count: labels or money"),
    "seed": Column("int64", "of the world"),
    "budget": Column("int64", "labels or money that could be spent"),
    "gap": Column("double", "suboptimality on held-out prompts, reward units"),
    "spent": Column("double", "labels or money that were, mean over seeds"),
}
"""The columns of :func:`rows`: one row for each gap of an entry."""

ENTRIES: Columns = {
    "board": Column("string", "name of the board"),
    "rank": Column("int64", "1 + the designs in better tie groups; null where not ranked"),
    "tied": Column("bool", "whether another design has the same rank"),
    "slug": Column("string", "name of the entry's file"),
    "design": Column("string", "the design, with the parameters that are not defaults"),
    "family": Column("string", "what kind of rule it is"),
    "division": Column("string", "closed, or open where the entry changes the environments"),
    "changes": Column("string", "what an open entry changes, as JSON"),
    "control": Column("bool", "whether it is shown and never ranked"),
    "level": Column("string", "what is known of the figures: claimed, recomputed or reproduced"),
    "savings": Column("double", "label or money savings over the reference, geometric mean"),
    "savings_low": Column("double", "lower end of its 95 % interval"),
    "savings_high": Column("double", "upper end"),
    "censored": Column("string", "above or below, where savings are beyond what was measured"),
    "aulc": Column("double", "area under the learning curve over the reference's; less is better"),
    "aulc_low": Column("double", "lower end of its 95 % interval"),
    "aulc_high": Column("double", "upper end"),
    "worst": Column("string", "the environment of least savings"),
    "worst_savings": Column("double", "label or money savings there"),
    "seconds": Column("double", "mean time of the design's own work, an episode"),
    "memory": Column("int64", "most memory that its work took, bytes"),
    "author": Column("string", "a person or a group"),
    "link": Column("string", "where to read more"),
    "date": Column("date32", "when it was submitted"),
    "machine": Column("string", "what it was run on"),
    "commit": Column("string", "of the checkout that it was run from"),
    "bundle": Column("string", "SHA-256 of the bundle with its pairs"),
}
"""The columns of :func:`standing_rows`: one row for each entry of a board."""


def rows(entries: Iterable[BoardEntry]) -> Table:
    """Every gap of the entries, one a row, in the order of entries, environments, seeds, budgets.

    Args:
        entries: of one board or of several.

    Returns:
        A table of the columns :data:`CURVES`.

    Raises:
        InvalidParameter: If pyarrow is not installed.
    """
    parts = [_curve(entry, curve) for entry in entries for curve in entry.curves]
    return concat_parts(CURVES, parts)


def standing_rows(board: Board, entries: Sequence[BoardEntry]) -> Table:
    """The standings of a board, one design a row, in their order.

    Args:
        board: the board.
        entries: its entries. Without the reference's there are no standings, and the figures that
            come from them are null.

    Returns:
        A table of the columns :data:`ENTRIES`.

    Raises:
        InvalidParameter: If pyarrow is not installed.
    """
    found = standings(board, entries)
    placed = [_placed(board, standing) for standing in (*found.closed, *found.open)]
    return from_rows(ENTRIES, placed or [_entered(board, entry) for entry in entries])


def standings_markdown(found: Standings) -> str:
    """The standings as tables of GitHub's Markdown, one for each division that has entries."""
    blocks = []
    for division, placed in (("Closed", found.closed), ("Open", found.open)):
        if placed:
            lines = [
                f"**{division} division of {found.board.name}**",
                "",
                "| place | design | saved | curve over the reference's | worst | select | level |",
                "|---|---|---|---|---|---|---|",
                *(_markdown_row(found.board, standing) for standing in placed),
            ]
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n" * bool(blocks)


def places_text(places: tuple[int, int] | None) -> str:
    """The places that a design may have: ``"1–8"``; a dash where it is not ranked."""
    if places is None:
        return "–"
    first, last = places
    return str(first) if first == last else f"{first}–{last}"


def rank_text(rank: int | None, tied: bool, *, control: bool = False) -> str:
    """A rank, with ``=`` where others have it: ``"3="``; a word or a dash where there is none."""
    return ("control" if control else "–") if rank is None else f"{rank}{'=' * tied}"


def code_span(text: str) -> str:
    """Text in a cell of a Markdown table as code, in which nothing in it is mark-up or a mention.

    Args:
        text: on one line.
    """
    if not re.search(r"[|`\\]", text):
        return f"`{text}`"
    # These end a cell or a code span, and not every reader knows the same way to escape them.
    letters = (c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in text)
    return f"<code>{''.join(letters)}</code>"


def _curve(entry: BoardEntry, curve: Curve) -> dict[str, Any]:
    seeds, marks = len(curve.seeds), len(curve.budgets)
    return {
        "board": entry.board,
        "slug": entry.design.slug,
        "design": entry.design.label,
        "division": entry.division,
        "environment": curve.environment,
        "unit": curve.unit,
        "seed": np.repeat(np.array(curve.seeds), marks),
        "budget": np.tile(np.array(curve.budgets), seeds),
        "gap": np.array(curve.gaps, dtype=np.float64).reshape(-1),
        "spent": np.tile(np.array(curve.spent, dtype=np.float64), seeds),
    }


def _entered(board: Board, entry: BoardEntry) -> dict[str, Any]:
    """What an entry says of itself."""
    return {
        "board": entry.board,
        "slug": entry.design.slug,
        "design": entry.design.label,
        "family": entry.design.family,
        "division": entry.division,
        "changes": json.dumps(entry.changes, sort_keys=True, ensure_ascii=False),
        "control": is_control(board, entry),
        "level": entry.level,
        "author": entry.author,
        "link": entry.link,
        "date": entry.date,
        "machine": entry.machine,
        "commit": entry.commit,
        "bundle": entry.bundle,
    }


def _placed(board: Board, standing: Standing) -> dict[str, Any]:
    """The same with what the standings say of it."""
    return {
        **_entered(board, standing.entry),
        "rank": standing.rank,
        "tied": standing.tied,
        **_interval("savings", standing.savings),
        "censored": standing.savings.censored,
        **_interval("aulc", standing.aulc),
        "worst": standing.worst.environment,
        "worst_savings": standing.worst.savings.value,
        "seconds": standing.seconds,
        "memory": standing.memory,
    }


def _interval(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _markdown_row(board: Board, standing: Standing) -> str:
    entry, aulc = standing.entry, standing.aulc
    span = f" ({aulc.low:.2f} to {aulc.high:.2f})" if aulc.low != aulc.high else ""
    told = [
        "control" if is_control(board, entry) else places_text(standing.places),
        code_span(entry.design.label),
        savings_text(standing.savings),
        f"{aulc.value:.2f}{span}",
        f"{savings_text(standing.worst.savings)} on {code_span(standing.worst.environment)}",
        f"{standing.seconds:.2f} s",
        entry.level,
    ]
    return f"| {' | '.join(told)} |"
