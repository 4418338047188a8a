"""Questions in SQL to all that was played and all that was submitted, answered by DuckDB.

Only the relations that a statement names are read. It can select and do nothing else: while it is
run, DuckDB reaches no file, no network and no extension, and settings cannot be changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairbench import cell_tables
from pairbench.boards import board_names, load_board
from pairbench.cell_tables import CELLS, LABELS, ROUNDS, run_folders, run_tables
from pairbench.errors import InvalidParameter
from pairbench.submission.collection import load_entries
from pairbench.tables import CURVES, ENTRIES, Columns, Table, arrow, rows, schema, standing_rows


@dataclass(frozen=True)
class Relation:
    """What a statement can select from.

    Attributes:
        about: what a row of it is.
        columns: its columns.
    """

    about: str
    columns: Columns


RELATIONS: Mapping[str, Relation] = {
    "cells": Relation("the cells of all runs", CELLS),
    "rounds": Relation("the rounds of those that could be played", ROUNDS),
    "labels": Relation("the questions that were asked in them", LABELS),
    "entries": Relation("the entries of all boards, with their standings", ENTRIES),
    "curves": Relation("the gaps of all entries", CURVES),
}
"""The relations, by name."""


@dataclass(frozen=True)
class Answer:
    """What came of a statement.

    Attributes:
        table: the rows.
        notes: what was left out.
    """

    table: Table
    notes: tuple[str, ...]


def query(
    statement: str,
    runs: Path,
    root: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Answer:
    """Answer a question about runs and boards.

    Args:
        statement: one SELECT in DuckDB's SQL, over :data:`RELATIONS`; DESCRIBE and SUMMARIZE are,
            too.
        runs: a folder of runs, or a run's own.
        root: a folder of boards; those that ship with pairbench if None.
        on_progress: told of the cells read and those that there are, while many of a run that is
            new or has changed are read.

    Raises:
        InvalidParameter: If it is not one SELECT, names what is not there, or fails; or duckdb is
            not installed.
        RunError: If it asks for cells and there are no runs.
        InvalidSubmission: If it asks for entries and one is not what it must be.
    """
    duckdb = _duckdb()
    with duckdb.connect(config=_ALONE) as connection:
        try:
            kinds = [part.type for part in connection.extract_statements(statement)]
            if kinds != [duckdb.StatementType.SELECT]:
                told = ", ".join(kind.name for kind in kinds) or "nothing"
                raise InvalidParameter(
                    f"expected one SELECT, got {told}. Runs and boards can be asked, not changed."
                )
            tables, notes = _read(_named(connection, statement), runs, root, on_progress)
            for name, table in tables.items():
                connection.execute(f"DROP TABLE {name}")
                connection.register(name, table)
            connection.execute("SET lock_configuration = true")
            table = connection.sql(statement).to_arrow_table()
            return Answer(table.rename_columns(_distinct(table.column_names)), tuple(notes))
        except duckdb.Error as error:
            raise InvalidParameter(str(error)) from error


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of columns, with a number where one came before, as in ``gap_2``."""
    found: list[str] = []
    for name in names:
        number, own = 2, name
        while own in found:
            number, own = number + 1, f"{name}_{number}"
        found.append(own)
    return found


_ALONE = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
}


def _named(connection: Any, statement: str) -> set[str]:
    """The relations that a statement reads, which DuckDB's plan for it tells.

    They are there without rows from now on, so that a mistake shows before anything is read.
    """
    for name, relation in RELATIONS.items():
        connection.register("columns_of", schema(relation.columns).empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM columns_of")
    connection.unregister("columns_of")
    connection.sql(statement)
    # The optimiser leaves out what has no rows.
    connection.execute("PRAGMA disable_optimizer")
    ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {statement}").fetchall()
    connection.execute("PRAGMA enable_optimizer")
    return set(re.findall(r'"Table": "(?:\w+\.)*(\w+)"', plan)) & RELATIONS.keys()


def _read(
    named: Set[str], runs: Path, root: Path | None, on_progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[str]]:
    """The relations of these names, as DuckDB takes them, and what is to be said of them."""
    pa = arrow()
    import pyarrow.dataset as ds

    found: dict[str, Any] = {}
    notes: list[str] = []
    if named & cell_tables.RELATIONS.keys():
        played = [run_tables(run, on_progress) for run in run_folders(runs)]
        for name in named & cell_tables.RELATIONS.keys():
            found[name] = ds.dataset([str(run.files[name]) for run in played])
        notes += [
            f"{run.invalid} files of {run.run} are no valid cells and were left out."
            for run in played
            if run.invalid
        ]
    if named & {"entries", "curves"}:
        boards = {name: load_entries(name, root) for name in board_names(root)}
        found["curves"] = rows(entry for entries in boards.values() for entry in entries)
    if "entries" in named:
        placed = [standing_rows(load_board(name, root), boards[name]) for name in boards]
        found["entries"] = pa.concat_tables([schema(ENTRIES).empty_table(), *placed])
    return found, notes


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise InvalidParameter(
            "queries need duckdb, which is not installed: pip install 'pairbench[site]'."
        ) from error
    return duckdb
