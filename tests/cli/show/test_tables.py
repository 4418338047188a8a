"""Answers and differences on a terminal, and files handed over."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pairbench._util.arrow import to_parquet
from pairbench.boards.diff import BoardDiff, DesignDiff, DesignState
from pairbench.boards.tables import gap_table
from pairbench.cli.show.tables import print_diff, print_query_result, print_relations, write_output
from pairbench.errors import OutputExists
from pairbench.reports.query import RELATIONS, QueryResult
from pairbench.stats.bootstrap import Estimate

STATE = DesignState(3, True, False, Estimate(2.0, 1.5, 2.5), 0.0123456, "claimed", "0" * 64)


def test_an_answer_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"name": ["[red]a[/]", None, "c"], "gap": [0.123456789, 1.0, None]})
    print_query_result(QueryResult(table, ("one file is broken",)), 2)
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines() if line.strip()][2:] == [
        ["[red]a[/]", "0.123457"],
        ["–", "1"],
        "3 rows, the first 2 shown; --rows 0 shows all".split(),
    ]
    assert err == "note: one file is broken\n"
    print_query_result(QueryResult(table, ()), 0)
    assert capsys.readouterr().out.splitlines()[-1] == "3 rows"
    print_query_result(QueryResult(table.slice(0, 1), ()), 5)
    assert capsys.readouterr().out.splitlines()[-1] == "1 row"


def test_rows_that_are_too_wide_stand_column_by_column(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pa.table({"key": ["0123456789abcdef" * 4], "long": ["word " * 30], "n": [1]})
    print_query_result(QueryResult(table, ()), 0)
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.strip()][:3] == [
        "row",
        "key",
        "long",
    ]
    assert "0123456789ab… " in out
    assert out.count("word") == 30


def test_all_relations_are_told_with_their_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_relations()
    words = capsys.readouterr().out.split()
    for name, relation in RELATIONS.items():
        assert {f"{name}:", *relation.columns} <= set(words)


def test_a_difference_is_told_as_old_and_new(capsys: pytest.CaptureFixture[str]) -> None:
    after = replace(STATE, rank=1, tied=False)
    designs = (
        DesignDiff("a", "a", None, STATE, ()),
        DesignDiff("b", "b[x]", STATE, after, ()),
    )
    print_diff([BoardDiff("tiny-v1", True, designs)])
    out = " ".join(capsys.readouterr().out.split())
    assert "tiny-v1: board.toml changed, 1 new, 1 moved" in out
    assert "new a 3= 2.0× (1.5 to 2.5) 0.01235 claimed" in out
    assert "moved b[x] 3= → 1 2.0× (1.5 to 2.5) 0.01235 claimed" in out
    print_diff([])
    assert capsys.readouterr().out == "no entry differs\n"


def test_a_difference_of_long_names_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    after = replace(STATE, rank=1, tied=False)
    label = "generate-first(design='per-cost(design=uncertainty)',completions=4)"
    print_diff([BoardDiff("tiny-v1", False, (DesignDiff("a", label, STATE, after, ()),))])
    out = capsys.readouterr().out
    assert "…" not in out
    assert "2.0×" in out


def test_bytes_go_to_a_file_or_to_standard_output(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = to_parquet(gap_table([]))
    write_output(data, None)
    assert capfdbinary.readouterr().out == data
    write_output(data, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == data
    assert capfdbinary.readouterr().out == b""
    with pytest.raises(OutputExists, match="--force"):
        write_output(b"x", tmp_path / "a.parquet")
    write_output(b"x", tmp_path / "a.parquet", force=True)
    assert (tmp_path / "a.parquet").read_bytes() == b"x"
