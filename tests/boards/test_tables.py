"""Tables of boards, and the files they are written to."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st
from markdown_it import MarkdownIt

from pairbench._util.arrow import schema, to_csv, to_json, to_parquet
from pairbench._util.files import replace_nonfinite
from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import BoardEntry
from pairbench.boards.standings import standings
from pairbench.boards.tables import (
    CURVES,
    ENTRIES,
    code_span,
    gap_table,
    rank_bounds_text,
    rank_text,
    standings_markdown,
    standings_table,
)
from pairbench.stats.text import savings_text
from tests.tiny_board import BUDGETS, DESIGNS, NAME, SEEDS, played


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played(tmp_path_factory.getbasetemp())[0]


@pytest.fixture(scope="module")
def entries(root: Path) -> list[BoardEntry]:
    return load_entries(NAME, root)


def test_every_gap_of_every_entry_has_a_row(entries: list[BoardEntry]) -> None:
    table = gap_table(entries)
    assert table.schema == schema(CURVES)
    gaps = {
        (r["slug"], r["environment"], r["seed"], r["budget"]): (r["gap"], r["spent"])
        for r in table.to_pylist()
    }
    assert len(gaps) == table.num_rows
    expected = {
        (entry.design.slug, curve.environment, seed, budget): (curve.gaps[i][j], curve.spent[j])
        for entry in entries
        for curve in entry.curves
        for i, seed in enumerate(curve.seeds)
        for j, budget in enumerate(curve.budgets)
    }
    assert gaps == expected
    # The reference has three more budgets than the others.
    n_budgets = len(BUDGETS) * len(DESIGNS) + 3
    assert table.num_rows == 2 * len(SEEDS) * n_budgets
    assert {(r["board"], r["division"], r["unit"]) for r in table.to_pylist()} == {
        (NAME, "closed", "labels")
    }


def test_the_table_of_no_entries_has_no_rows() -> None:
    table = gap_table([])
    assert (table.num_rows, table.schema) == (0, schema(CURVES))


def test_the_table_of_standings_has_the_figures_of_the_standings(
    root: Path, entries: list[BoardEntry]
) -> None:
    board = load_board(NAME, root)
    results, table = standings(board, entries), standings_table(board, entries)
    assert table.schema == schema(ENTRIES)
    lines = table.to_pylist()
    assert len(lines) == len(results.closed) == len(DESIGNS)
    for line, standing in zip(lines, results.closed, strict=True):
        assert line["design"] == standing.entry.design.label
        assert (line["rank"], line["tied"]) == (standing.rank, standing.tied)
        assert line["savings"] == standing.savings.value
        assert (line["savings_low"], line["savings_high"]) == (
            standing.savings.low,
            standing.savings.high,
        )
        assert line["aulc"] == standing.aulc.value
        assert line["worst"] == standing.worst.environment
        assert line["level"] == "claimed"
        assert line["date"].isoformat() == "2026-11-28"
    (control,) = [line for line in lines if line["control"]]
    assert (control["design"], control["rank"]) == ("first-two", None)


def test_without_the_reference_entries_are_listed_without_figures(
    root: Path, entries: list[BoardEntry]
) -> None:
    others = [entry for entry in entries if entry.design.label != "uniform"]
    lines = standings_table(load_board(NAME, root), others).to_pylist()
    assert [line["design"] for line in lines] == [entry.design.label for entry in others]
    assert {(line["rank"], line["savings"], line["worst"]) for line in lines} == {(None,) * 3}


def test_standings_are_formatted_as_a_markdown_table(root: Path, entries: list[BoardEntry]) -> None:
    results = standings(load_board(NAME, root), entries)
    rows = _cells(standings_markdown(results))
    assert [row[1] for row in rows] == [s.entry.design.label for s in results.closed]
    for row, standing in zip(rows, results.closed, strict=True):
        assert len(row) == 7
        control = standing.entry.design.label == "first-two"
        assert row[0] == ("control" if control else rank_bounds_text(standing.rank_bounds))
        assert row[2] == savings_text(standing.savings)
        assert row[4].endswith(standing.worst.environment)


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" |`\\*<&"), min_size=1)
)
def test_text_of_an_entry_is_never_markup(text: str) -> None:
    name = " ".join(text.split())  # Markdown, too, trims spaces and joins them
    if name:
        assert _cells(f"| a | b |\n|---|---|\n| {code_span(name)} | x |") == [[name, "x"]]


def test_rank_bounds_are_formatted_as_a_range() -> None:
    assert [rank_bounds_text(bounds) for bounds in ((1, 8), (3, 3), None)] == ["1–8", "3", "–"]


def test_ranks_are_formatted_with_their_ties() -> None:
    texts = [rank_text(1, False), rank_text(3, True), rank_text(None, False)]
    assert [*texts, rank_text(None, False, control=True)] == ["1", "3=", "–", "control"]


def test_parquet_holds_the_table_and_is_reproducible(entries: list[BoardEntry]) -> None:
    table = gap_table(entries)
    data = to_parquet(table)
    assert pq.read_table(io.BytesIO(data)) == table
    assert to_parquet(gap_table(list(entries))) == data
    assert to_parquet(gap_table(entries[1:])) != data


VALUES = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "text": st.text(st.characters(exclude_categories=["Cs"])),
        "flag": st.booleans(),
    }
)


@given(st.lists(VALUES, min_size=1))
def test_json_and_csv_hold_the_values_of_the_table(rows: list[dict[str, Any]]) -> None:
    types = [("number", pa.float64()), ("count", pa.int64()), ("text", pa.string())]
    table = pa.Table.from_pylist(rows, schema=pa.schema([*types, ("flag", pa.bool_())]))
    assert json.loads(to_json(table)) == replace_nonfinite(rows)
    lines = list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))
    assert lines[0] == ["number", "count", "text", "flag"]
    for line, row in zip(lines[1:], rows, strict=True):
        number = None if line[0] == "" else float(line[0])
        nan = isinstance(row["number"], float) and math.isnan(row["number"])
        assert math.isnan(number or 0) if nan else number == row["number"]
        assert line[1:] == [
            "" if row["count"] is None else str(row["count"]),
            row["text"],
            "true" if row["flag"] else "false",
        ]


def test_nested_values_are_json_in_csv() -> None:
    table = pa.table({"list": [[1.0, np.inf]], "struct": [{"a": "x"}]})
    assert to_csv(table).decode().splitlines()[1] == '"[1.0, null]","{""a"": ""x""}"'


def test_sums_and_dates_are_plain_in_json() -> None:
    values = [Decimal("7"), Decimal("7.5"), datetime.date(2026, 11, 28)]
    table = pa.table({str(k): [value] for k, value in enumerate(values)})
    assert json.loads(to_json(table)) == [{"0": 7, "1": 7.5, "2": "2026-11-28"}]


def test_an_empty_table_has_headings_and_no_rows() -> None:
    table = gap_table([])
    assert json.loads(to_json(table)) == []
    assert to_csv(table).decode().splitlines() == [",".join(CURVES)]


def _cells(markdown: str) -> list[list[str]]:
    """Return the texts in the bodies of a page's tables, code without its delimiters."""
    rows: list[list[str]] = []
    body = False
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type in ("tbody_open", "tbody_close"):
            body = token.type == "tbody_open"
        elif body and token.type == "tr_open":
            rows.append([])
        elif body and token.type == "inline":
            texts = [c.content for c in token.children or () if c.type != "html_inline"]
            rows[-1].append("".join(texts))
    return rows
