"""Questions in SQL to runs and boards."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pairbench import load_report
from pairbench.boards.board import load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.standings import standings
from pairbench.errors import InvalidParameter, InvalidSubmission, RunError
from pairbench.reports.query import RELATIONS, query
from tests.tiny_board import DESIGNS, NAME, SEEDS, played

Places = tuple[Path, Path]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A folder of boards, and a folder of runs."""
    return played(tmp_path_factory.getbasetemp())


def asked(statement: str, places: Places) -> list[dict[str, Any]]:
    root, runs = places
    result: list[dict[str, Any]] = query(statement, runs, root).table.to_pylist()
    return result


def test_means_are_those_of_the_report(places: Places) -> None:
    report = load_report(places[1] / NAME)
    expected = {
        (section.environment, row.design, point.budget): point.gap.value
        for section in report.sections
        for row in section.rows
        for point in row.curve
    }
    result = asked(
        "select environment, design, budget, avg(gap) as gap from rounds group by all", places
    )
    assert len(result) == len(expected)
    for row in result:
        key = (row["environment"], row["design"], row["budget"])
        assert row["gap"] == pytest.approx(expected[key], rel=1e-12)


def test_relations_can_be_joined(places: Places) -> None:
    result = asked(
        "with ends as (select * from rounds where budget = 16) "
        "select any_value(bought) as bought, count(*) as n, "
        "any_value(c.environment_params->>'dim') as dim "
        "from labels l join ends using (run, key) join cells c using (run, key) "
        "where l.round <= ends.round group by key",
        places,
    )
    assert len(result) == 2 * len(SEEDS) * len(DESIGNS)
    assert {(row["bought"], row["n"], row["dim"]) for row in result} == {(16, 16, "3")}


def test_entries_stand_with_their_ranks_and_curves_with_their_gaps(places: Places) -> None:
    root, _ = places
    board = load_board(NAME, root)
    result = asked("select design, rank, savings from entries", places)
    assert [(row["design"], row["rank"], row["savings"]) for row in result] == [
        (s.entry.design.label, s.rank, s.savings.value)
        for s in standings(board, load_entries(NAME, root)).closed
    ]
    # Entries keep six digits of the gaps of their run.
    (row,) = asked(
        "select count(*) as n, max(abs(c.gap / r.gap - 1)) as off from curves c "
        "join rounds r using (design, environment, seed, budget)",
        places,
    )
    assert row["n"] == asked("select count(*) as n from rounds", places)[0]["n"]
    assert row["off"] < 1e-5


def test_columns_of_one_name_are_told_apart(places: Places) -> None:
    (row,) = asked("select 1 as a, 2 as a, 3 as a_2, 4 as a", places)
    assert row == {"a": 1, "a_2": 2, "a_2_2": 3, "a_3": 4}
    joined = asked("select * from cells c join rounds r on c.key = r.key limit 1", places)[0]
    assert {"key", "key_2", "seed_2", "gap"} <= joined.keys()


@pytest.mark.parametrize("name", RELATIONS)
def test_a_relation_has_the_columns_that_are_told(places: Places, name: str) -> None:
    rows = asked(f"describe {name}", places)
    assert [row["column_name"] for row in rows] == list(RELATIONS[name].columns)
    assert asked(f'SELECT * FROM main."{name.upper()}" LIMIT 1', places)


def test_runs_beside_each_other_are_told_apart(places: Places, tmp_path: Path) -> None:
    root, runs = places
    for name in ("one", "two"):
        shutil.copytree(runs / NAME, tmp_path / name)
    roots = (root, tmp_path)
    count = "select run, count(*) as n from cells group by run order by run"
    n = 2 * len(SEEDS) * len(DESIGNS)
    assert asked(count, roots) == [{"run": "one", "n": n}, {"run": "two", "n": n}]
    assert asked(count, (root, tmp_path / "two")) == [{"run": "two", "n": n}]


def test_only_what_is_named_is_read(places: Places, tmp_path: Path) -> None:
    root, runs = places
    shutil.copytree(root, tmp_path / "boards")
    broken = tmp_path / "boards"
    (broken / NAME / "entries" / "leverage.json").write_text("{}")
    nowhere = tmp_path / "nowhere"
    assert asked("select 1 as one", (broken, nowhere)) == [{"one": 1}]
    boards = "with labels as (from curves) select count(*) as cells from labels -- rounds"
    assert asked(boards, (root, nowhere))[0]["cells"] > 0
    assert asked("select count(*) as n from cells", (broken, runs))[0]["n"] > 0
    with pytest.raises(InvalidSubmission, match=r"leverage\.json"):
        asked("select * from entries", (broken, runs))
    for statement in (
        "from Labels",
        "from query('from cells')",
        "select 1 where exists (from rounds)",
    ):
        with pytest.raises(RunError, match="nowhere is no folder"):
            asked(statement, (root, nowhere))
    # A mistake shows before anything is read.
    with pytest.raises(InvalidParameter, match="gapp"):
        asked("select gapp from rounds", (root, nowhere))


def test_broken_files_are_left_out_with_a_note(places: Places, tmp_path: Path) -> None:
    shutil.copytree(places[1] / NAME, tmp_path / "copy")
    for path in sorted((tmp_path / "copy" / "cells").glob("*.json"))[:2]:
        path.write_text("{")
    answer = query("select count(*) as n from cells", tmp_path, places[0])
    assert answer.table.to_pylist() == [{"n": 2 * len(SEEDS) * len(DESIGNS) - 2}]
    (note,) = answer.notes
    assert note == f"2 files of {tmp_path / 'copy'} are no valid cells and were left out."


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("", "expected one SELECT, got nothing"),
        ("-- nothing", "expected one SELECT, got nothing"),
        ("select 1; select 2", "expected one SELECT, got SELECT, SELECT"),
        ("create table mine as select 1", "got CREATE"),
        ("insert into cells values (1)", "got INSERT"),
        ("drop view cells", "got DROP"),
        ("copy (select 1) to '{out}'", "got COPY"),
        ("export database '{out}'", "got EXPORT"),
        ("attach '{out}'", "got ATTACH"),
        ("install httpfs", "got LOAD"),
        ("load httpfs", "got LOAD"),
        ("set enable_external_access = true", "got SET"),
        ("pragma version", "got PRAGMA"),
        ("select 1; copy (select 1) to '{out}'", "got SELECT, COPY"),
        ("select * from query('copy (select 1) to ''{out}''')", "Expected a single SELECT"),
        ("select * from '{there}'", "Cannot access file"),
        ("select * from read_text('{there}')", "Cannot access file"),
        ("select * from read_csv('{there}')", "Cannot access file"),
        ("select * from glob('{there}')", "Cannot access file"),
        ("select * from read_parquet('https://example.org/a.parquet')", "Cannot access file"),
        ("select * from st_read('{there}')", "st_read"),
        ("select * from statement", "Table with name statement does not exist"),
        ("select getenv('HOME')", "getenv does not exist"),
    ],
)
def test_a_statement_selects_and_does_nothing_else(
    places: Places, tmp_path: Path, statement: str, told: str
) -> None:
    existing, out = tmp_path / "there.csv", tmp_path / "out"
    existing.write_text("secret\n1\n")
    with pytest.raises(InvalidParameter, match=told):
        asked(statement.format(there=existing, out=out), places)
    assert not out.exists()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("select * from cell", 'Did you mean "cells"'),
        ("select * from entrys", 'Did you mean "entries"'),
        ("select gapp from rounds", 'Candidate bindings: "gap"'),
        ("selec gap from rounds", r"(?s)syntax error.*\^"),
        ("select 'a'::int", "Could not convert string 'a'"),
    ],
)
def test_a_mistake_is_told_with_what_is_near(places: Places, statement: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        asked(statement, places)


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_a_package_that_is_missing_is_named(
    places: Places, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"need {package}, .*pip install 'pairbench\[site\]'"
    with pytest.raises(InvalidParameter, match=message):
        asked("select 1", places)


def test_statements_on_the_page_about_boards_can_be_asked(places: Places, root: Path) -> None:
    page = (root / "docs" / "query.md").read_text(encoding="utf-8")
    statements = re.findall(r"^```sql\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(statements) == 3
    best, levels, worse = (asked(statement, places) for statement in statements)
    assert {row["design"] for row in best} == set(DESIGNS) - {"first-two"}  # a control
    assert levels == [{"level": "claimed", "entries": len(DESIGNS), "authors": 1}]
    ratios = [row["ratio"] for row in worse]
    assert all(ratio > 1 for ratio in ratios)
    assert ratios == sorted(ratios, reverse=True)
