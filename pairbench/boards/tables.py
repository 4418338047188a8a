"""Tables of a board's gaps and standings, as Arrow tables and as Markdown.

The columns of each :class:`pyarrow.Table` are declared here with their types and meanings, which
exported files, SQL queries and their documentation share.
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
    "environment": Column("string", "the environment, with the parameters that are not defaults"),
    "unit": Column("string", "unit of the budget: labels or money"),
    "seed": Column("int64", "seed of the world"),
    "budget": Column("int64", "cumulative budget, in labels or money"),
    "gap": Column("double", "suboptimality on held-out prompts, reward units"),
    "spent": Column(
        "double", "labels or money spent by the budget; the mean over seeds in each row"
    ),
}
"""Columns of :func:`gap_table`, which has one row for each gap of an entry."""

ENTRIES: Columns = {
    "board": Column("string", "name of the board"),
    "rank": Column("int64", "1 + number of designs in better tie groups; null if not ranked"),
    "tied": Column("bool", "whether another design has the same rank"),
    "slug": Column("string", "name of the entry's file"),
    "design": Column("string", "the design, with the parameters that are not defaults"),
    "family": Column("string", "family of the design"),
    "division": Column("string", "closed, or open where the entry changes the environments"),
    "changes": Column("string", "environment parameters that an open entry changes, as JSON"),
    "control": Column("bool", "whether the design is listed and never ranked"),
    "level": Column("string", "verification level: claimed, recomputed or reproduced"),
    "savings": Column("double", "label or money savings over the reference, geometric mean"),
    "savings_low": Column("double", "lower end of the 95 % interval of savings"),
    "savings_high": Column("double", "upper end of the 95 % interval of savings"),
    "censored": Column("string", "above or below, if savings lie beyond the measurable range"),
    "aulc": Column("double", "area under the learning curve over the reference's; less is better"),
    "aulc_low": Column("double", "lower end of the 95 % interval of aulc"),
    "aulc_high": Column("double", "upper end of the 95 % interval of aulc"),
    "worst": Column("string", "the environment of least savings"),
    "worst_savings": Column("double", "label or money savings in the environment of least savings"),
    "seconds": Column("double", "mean time of the design's computations per episode, seconds"),
    "memory": Column("int64", "peak memory of the design's computations, bytes"),
    "author": Column("string", "name of a person or a group"),
    "link": Column("string", "page about the design or its author"),
    "date": Column("date32", "day of the submission"),
    "machine": Column("string", "machine that the cells were run on"),
    "commit": Column("string", "commit of the checkout that the cells were run from"),
    "bundle": Column("string", "SHA-256 of the bundle, which holds the design's pairs"),
}
"""Columns of :func:`standings_table`, which has one row for each entry of a board."""


def gap_table(entries: Iterable[BoardEntry]) -> Table:
    """Tabulate every gap of the entries, ordered by entry, environment, seed and budget.

    Args:
        entries: entries of one board or of several.

    Returns:
        A table with the columns :data:`CURVES` and one row for each gap.

    Raises:
        InvalidParameter: If pyarrow is not installed.
    """
    parts = [_curve_columns(entry, curve) for entry in entries for curve in entry.curves]
    return concat_parts(CURVES, parts)


def standings_table(board: Board, entries: Sequence[BoardEntry]) -> Table:
    """Tabulate the standings of a board, in the order of the standings.

    Args:
        board: the board.
        entries: entries of the board. Without the reference's entry there are no standings, and
            their figures are null.

    Returns:
        A table with the columns :data:`ENTRIES` and one row for each design.

    Raises:
        InvalidParameter: If pyarrow is not installed.
    """
    results = standings(board, entries)
    rows = [_standing_row(board, standing) for standing in (*results.closed, *results.open)]
    return from_rows(ENTRIES, rows or [_entry_row(board, entry) for entry in entries])


def standings_markdown(results: Standings) -> str:
    """Format the standings as GitHub Markdown, with a table for each division that has entries."""
    blocks = []
    for division, division_standings in (("Closed", results.closed), ("Open", results.open)):
        if division_standings:
            lines = [
                f"**{division} division of {results.board.name}**",
                "",
                "| place | design | saved | curve over the reference's | worst | select | level |",
                "|---|---|---|---|---|---|---|",
                *(_markdown_row(results.board, standing) for standing in division_standings),
            ]
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n" * bool(blocks)


def rank_bounds_text(bounds: tuple[int, int] | None) -> str:
    """Format the range of ranks that a design may have, ``"1–8"``, or a dash if it is not ranked.

    Args:
        bounds: the first and the last rank.
    """
    if bounds is None:
        return "–"
    first, last = bounds
    return str(first) if first == last else f"{first}–{last}"


def rank_text(rank: int | None, tied: bool, *, control: bool = False) -> str:
    """Format a rank such as ``"3="``, or ``"control"`` or a dash for a design that is not ranked.

    Args:
        rank: the rank, None if the design is not ranked.
        tied: whether another design has the same rank, which ``=`` marks.
        control: whether the design is a control.
    """
    return ("control" if control else "–") if rank is None else f"{rank}{'=' * tied}"


def code_span(text: str) -> str:
    """Format text as code in a cell of a Markdown table, without markup or mentions taking effect.

    Args:
        text: one line of text.
    """
    if not re.search(r"[|`\\]", text):
        return f"`{text}`"
    # These characters end a cell or a code span, and Markdown parsers differ in how to escape them.
    letters = (c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in text)
    return f"<code>{''.join(letters)}</code>"


def _curve_columns(entry: BoardEntry, curve: Curve) -> dict[str, Any]:
    """Return the columns of a curve's gaps: arrays ``(s * b,)``, or one value for all rows."""
    n_seeds, n_budgets = len(curve.seeds), len(curve.budgets)
    return {
        "board": entry.board,
        "slug": entry.design.slug,
        "design": entry.design.label,
        "division": entry.division,
        "environment": curve.environment,
        "unit": curve.unit,
        "seed": np.repeat(np.array(curve.seeds), n_budgets),
        "budget": np.tile(np.array(curve.budgets), n_seeds),
        "gap": np.array(curve.gaps, dtype=np.float64).reshape(-1),
        "spent": np.tile(np.array(curve.spent, dtype=np.float64), n_seeds),
    }


def _entry_row(board: Board, entry: BoardEntry) -> dict[str, Any]:
    """Return the row of an entry, without the figures of its standing."""
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


def _standing_row(board: Board, standing: Standing) -> dict[str, Any]:
    """Return the row of an entry with the figures of its standing."""
    return {
        **_entry_row(board, standing.entry),
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
    interval = f" ({aulc.low:.2f} to {aulc.high:.2f})" if aulc.low != aulc.high else ""
    cells = [
        "control" if is_control(board, entry) else rank_bounds_text(standing.rank_bounds),
        code_span(entry.design.label),
        savings_text(standing.savings),
        f"{aulc.value:.2f}{interval}",
        f"{savings_text(standing.worst.savings)} on {code_span(standing.worst.environment)}",
        f"{standing.seconds:.2f} s",
        entry.level,
    ]
    return f"| {' | '.join(cells)} |"
