"""Tables of runs, and their cache."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairbench import RunSpec, run
from pairbench._util.arrow import schema
from pairbench.cells.store import CellRecord, Store
from pairbench.cells.tables import RELATIONS, RunTables, run_folders, run_tables
from pairbench.errors import RunError
from tests.tiny_board import BUDGETS, SEEDS, WORLD

RAISES = "def select(view, n):\n    raise RuntimeError('no')\n"
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    (runs / "bad.py").write_text(RAISES)
    designs = ["leverage", str(runs / "bad.py")]
    run(RunSpec("custom", [WORLD], designs, SEEDS, "uniform", BUDGETS), runs / "one", jobs=1)
    return runs / "one"


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "one")
    return tmp_path / "one"


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, CellRecord]:
    return dict(Store(folder / "cells").records())


def read(tables: RunTables, relation: str) -> Rows:
    rows: Rows = pq.read_table(tables.files[relation]).to_pylist()
    return rows


def test_every_cell_has_a_row(folder: Path, records: dict[str, CellRecord]) -> None:
    tables = run_tables(folder)
    assert tables.invalid == 0
    rows = {row["key"]: row for row in read(tables, "cells")}
    assert rows.keys() == records.keys()
    for key, record in records.items():
        row, cell = rows[key], record["cell"]
        assert (row["run"], row["seed"], row["status"]) == ("one", cell["seed"], record["status"])
        assert (row["environment"], row["environment_id"]) == (WORLD, "pairbench/LogLinear-v1")
        assert (row["unit"], row["horizon"], row["control"]) == ("labels", 16, False)
        assert row["version"] == record["made"]["versions"]["pairbench"]
        if record["status"] == "ok":
            start = record["results"]["start"]
            assert (row["start_gap"], row["floor"]) == (start["gap"], start["floor"])
            assert row["error"] is None
        else:
            assert (row["start_gap"], row["error"]) == (None, "RuntimeError: no (in round 1)")
    assert {row["design"]: row["status"] for row in rows.values()} == {
        "uniform": "ok",
        "leverage": "ok",
        "bad.py": "failed",
    }


def test_every_round_has_a_row(folder: Path, records: dict[str, CellRecord]) -> None:
    rows = read(run_tables(folder), "rounds")
    by_round = {(row["key"], row["round"]): row for row in rows}
    assert len(by_round) == len(rows) == len(SEEDS) * (2 + 5)
    for key, record in records.items():
        if record["status"] != "ok":
            assert (key, 0) not in by_round
            continue
        for number, round_ in enumerate(record["results"]["rounds"]):
            row = by_round[key, number]
            for name in ("gap", "pool_gap", "win_rate", "estimation_error", "design_efficiency"):
                assert row[name] == round_["score"][name]
            assert row["bought"] == row["budget"] == record["cell"]["budgets"][number]
            assert (row["kl"], row["reward"], row["generated"]) == (None, None, 0)
            assert row["tokens_read"] == round_["tokens_read"]
            use = record["usage"][number]
            assert row["select_seconds"] == use["selection"]["seconds"]
            assert row["train_seconds"] == use["training"]["seconds"]


def test_every_question_has_a_row(folder: Path, records: dict[str, CellRecord]) -> None:
    questions: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for row in read(run_tables(folder), "labels"):
        question = (row["prompt"], row["first"], row["second"], row["label"])
        questions.setdefault((row["key"], row["round"]), []).append(question)
    for key, record in records.items():
        for number, round_ in enumerate(record.get("results", {}).get("rounds", [])):
            bought = questions.pop((key, number))
            assert [index for question in bought for index in question[:3]] == round_["pairs"]
            assert [question[3] for question in bought] == round_["labels"]
    assert not questions


def test_a_skipped_question_and_a_sampled_score_are_in_the_tables(copied: Path) -> None:
    def change(record: CellRecord) -> None:
        for round_ in record["results"]["rounds"]:
            round_["labels"][0] = None
            round_["score"]["sampled"] = {"kl": {"value": 2.5}, "reward": {"value": -1}}
            round_["score"]["estimation_error"] = None
            round_["generated"] = [0, 3]

    _edit(copied, change)
    tables = run_tables(copied)
    labels = [row["label"] for row in read(tables, "labels")]
    rounds = read(tables, "rounds")
    assert labels.count(None) == len(rounds) == len(SEEDS) * (2 + 5)
    assert not any(isinstance(label, float) and math.isnan(label) for label in labels)
    assert {(row["kl"], row["reward"], row["estimation_error"]) for row in rounds} == {
        (2.5, -1.0, None)
    }
    assert {row["generated"] - 2 * row["round"] for row in rounds} == {2}


def test_tables_have_the_columns_that_are_declared(folder: Path) -> None:
    tables = run_tables(folder)
    assert tables.files.keys() == RELATIONS.keys()
    for relation, file in tables.files.items():
        assert pq.read_schema(file) == schema(RELATIONS[relation])


def test_tables_are_cached_until_a_file_changes(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairbench.cells.tables._BATCH", 5)
    progress: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        progress.append((done, total))

    first = run_tables(copied, on_progress)
    assert progress == [(5, 12), (10, 12), (12, 12)]
    progress.clear()
    assert run_tables(copied, on_progress) == first
    assert not progress

    def better(record: CellRecord) -> None:
        record["results"]["rounds"][0]["score"]["gap"] = 0

    _edit(copied, better)
    second = run_tables(copied, on_progress)
    assert progress
    assert second.files != first.files
    assert all(row["gap"] == 0 for row in read(second, "rounds") if row["round"] == 0)
    # The outdated files are removed.
    assert set(second.files["cells"].parent.iterdir()) == set(second.files.values())


def test_files_that_are_no_cells_are_counted_and_left_out(copied: Path) -> None:
    cells = sorted((copied / "cells").glob("*.json"))
    cells[0].write_bytes(cells[0].read_bytes()[:-9])
    cells[1].write_text("{}")
    cells[2].rename(cells[2].with_name(f"{'0' * 64}.json"))
    (copied / "cells" / ".half.json.1.tmp").write_text("{")
    (copied / "cells" / "old.json.invalid").write_text("{")
    tables = run_tables(copied)
    assert tables.invalid == 3
    assert {row["key"] for row in read(tables, "cells")} == {path.stem for path in cells[3:]}


def test_an_empty_run_has_tables_without_rows(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    tables = run_tables(tmp_path)
    assert tables.invalid == 0
    assert [read(tables, relation) for relation in RELATIONS] == [[], [], []]


def test_runs_are_found_in_a_folder_or_are_one(folder: Path, tmp_path: Path) -> None:
    assert run_folders(folder) == [folder]
    assert run_folders(folder.parent) == [folder]
    with pytest.raises(RunError, match=r"holds no runs\. `pairbench run` makes one"):
        run_folders(tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        run_folders(tmp_path / "nowhere")


def test_a_cache_that_cannot_be_written_is_an_error(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        RunError, match=r"cannot cache the tables of .* Set PAIRBENCH_CACHE to another"
    ):
        run_tables(copied)


def _edit(folder: Path, change: Callable[[CellRecord], None]) -> None:
    """Change the successful records of a run, and seal them again."""
    store = Store(folder / "cells")
    for key, record in list(store.records()):
        if record["status"] == "ok":
            change(record)
            store.write(key, record)
