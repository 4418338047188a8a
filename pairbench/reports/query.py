"""SQL queries over the cells of runs and the entries of boards, executed by DuckDB.

Only the relations that a statement names are read. Statements are read-only: DuckDB runs without
access to files, network and extensions, and with locked settings.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairbench._util.arrow import Columns, Table, import_pyarrow, schema
from pairbench.boards.board import board_names, load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.tables import CURVES, ENTRIES, gap_table, standings_table
from pairbench.cells import tables as cell_tables
from pairbench.cells.tables import CELLS, LABELS, ROUNDS, run_folders, run_tables
from pairbench.errors import InvalidParameter


@dataclass(frozen=True)
class Relation:
    """A table that a statement can select from.

    Attributes:
        about: description of a row.
        columns: the columns.
    """

    about: str
    columns: Columns


RELATIONS: Mapping[str, Relation] = {
    "cells": Relation("the cells of all runs", CELLS),
    "rounds": Relation("the rounds of all cells that did not fail", ROUNDS),
    "labels": Relation("the questions of all rounds, with their labels", LABELS),
    "entries": Relation("the entries of all boards, with their standings", ENTRIES),
    "curves": Relation("the gaps of all entries", CURVES),
}
"""The relations, by name."""


@dataclass(frozen=True)
class QueryResult:
    """Result of a statement.

    Attributes:
        table: the rows.
        notes: notes on files that were left out.
    """

    table: Table
    notes: tuple[str, ...]


def query(
    statement: str,
    runs: Path,
    root: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> QueryResult:
    """Execute a SELECT over runs and boards.

    Args:
        statement: one SELECT in DuckDB's SQL, over :data:`RELATIONS`; DESCRIBE and SUMMARIZE count
            as SELECT.
        runs: a folder of runs, or of one run.
        root: a folder of boards; those that ship with pairbench if None.
        on_progress: called with the number of cells read and their total, while a large run that is
            not in the cache is read.

    Raises:
        InvalidParameter: If the statement is not one SELECT, names an unknown relation or column,
            or fails; or duckdb is not installed.
        RunError: If it selects from cells and there are no runs.
        InvalidSubmission: If it selects from entries and one is invalid.
    """
    duckdb = _duckdb()
    with duckdb.connect(config=_ISOLATED) as connection:
        try:
            kinds = [part.type for part in connection.extract_statements(statement)]
            if kinds != [duckdb.StatementType.SELECT]:
                names = ", ".join(kind.name for kind in kinds) or "nothing"
                raise InvalidParameter(
                    f"expected one SELECT, got {names}. Runs and boards are read-only."
                )
            used = _used_relations(connection, statement)
            tables, notes = _read(used, runs, root, on_progress)
            for name, table in tables.items():
                connection.execute(f"DROP TABLE {name}")
                connection.register(name, table)
            connection.execute("SET lock_configuration = true")
            table = connection.sql(statement).to_arrow_table()
            return QueryResult(table.rename_columns(_deduplicate(table.column_names)), tuple(notes))
        except duckdb.Error as error:
            raise InvalidParameter(str(error)) from error


def _deduplicate(names: Sequence[str]) -> list[str]:
    """Append numbers to repeated column names, as in ``gap_2``."""
    unique: list[str] = []
    for name in names:
        number, numbered = 2, name
        while numbered in unique:
            number, numbered = number + 1, f"{name}_{number}"
        unique.append(numbered)
    return unique


_ISOLATED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
}


def _used_relations(connection: Any, statement: str) -> set[str]:
    """Return the relations that a statement reads, according to DuckDB's plan.

    Creates all relations without rows, so that a mistake in the statement raises before any file
    is read.
    """
    for name, relation in RELATIONS.items():
        connection.register("columns_of", schema(relation.columns).empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM columns_of")
    connection.unregister("columns_of")
    connection.sql(statement)
    # The optimiser would drop relations without rows from the plan.
    connection.execute("PRAGMA disable_optimizer")
    ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {statement}").fetchall()
    connection.execute("PRAGMA enable_optimizer")
    return set(re.findall(r'"Table": "(?:\w+\.)*(\w+)"', plan)) & RELATIONS.keys()


def _read(
    used: Set[str], runs: Path, root: Path | None, on_progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[str]]:
    """Read relations for DuckDB, and return them by name with notes on files left out."""
    pa = import_pyarrow()
    import pyarrow.dataset as ds

    relations: dict[str, Any] = {}
    notes: list[str] = []
    if used & cell_tables.RELATIONS.keys():
        tables = [run_tables(run, on_progress) for run in run_folders(runs)]
        for name in used & cell_tables.RELATIONS.keys():
            relations[name] = ds.dataset([str(run.files[name]) for run in tables])
        notes += [
            f"{run.invalid} files of {run.run} are no valid cells and were left out."
            for run in tables
            if run.invalid
        ]
    if used & {"entries", "curves"}:
        boards = {name: load_entries(name, root) for name in board_names(root)}
        relations["curves"] = gap_table(entry for entries in boards.values() for entry in entries)
    if "entries" in used:
        standings = [standings_table(load_board(name, root), boards[name]) for name in boards]
        relations["entries"] = pa.concat_tables([schema(ENTRIES).empty_table(), *standings])
    return relations, notes


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise InvalidParameter(
            "queries need duckdb, which is not installed: pip install 'pairbench[site]'."
        ) from error
    return duckdb
