"""Cell files are written completely or not at all, and altered ones are invalid."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings, strategies as st

from pairbench.cells.plan import PROTOCOL
from pairbench.cells.store import CellRecord, Store, failure_from_record, find_cell, read_record
from pairbench.errors import InvalidCell, RunError

CELL: dict[str, Any] = {"protocol": PROTOCOL, "seed": 0, "budgets": [5, 10]}
RECORD: CellRecord = {
    "cell": CELL,
    "labels": {"environment": "an environment", "design": "ein Entwurf: θ̂"},
    "status": "ok",
    "results": {"rounds": [{"score": {"gap": 0.1 + 0.2, "tiny": 5e-324, "big": 1e22}}]},
}
KEY = hashlib.sha256(rfc8785.dumps(CELL)).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cells")
    store.write(KEY, RECORD)
    return store


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(KEY, RECORD)
    return store.path(KEY).read_bytes()


def test_what_is_written_is_read(store: Store) -> None:
    assert store.read(KEY) == RECORD
    assert store.keys() == {KEY}
    assert list(store.records()) == [(KEY, RECORD)]


def test_a_file_is_json_with_the_digest_of_its_record(store: Store) -> None:
    content = json.loads(store.path(KEY).read_bytes())
    assert content["record"] == RECORD
    assert content["digest"] == hashlib.sha256(rfc8785.dumps(RECORD)).hexdigest()


def test_the_same_record_is_the_same_bytes_whatever_the_order_of_its_fields(
    store: Store, written: bytes
) -> None:
    store.write(KEY, dict(reversed(RECORD.items())))
    assert store.path(KEY).read_bytes() == written


def test_there_is_no_record_of_an_unknown_key(store: Store, tmp_path: Path) -> None:
    assert store.read("0" * 64) is None
    assert Store(tmp_path / "nowhere").keys() == set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_file_is_invalid_at_every_length(data: st.DataObject, written: bytes) -> None:
    length = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(InvalidCell, match="cut off or was edited"):
        read_record(written[:length], "cell.json")


def test_a_cut_file_is_invalid_at_each_length_in_turn(written: bytes) -> None:
    for length in range(len(written)):
        with pytest.raises(InvalidCell):
            read_record(written[:length], "cell.json")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_byte_changed_is_invalid(data: st.DataObject, written: bytes) -> None:
    position = data.draw(st.integers(0, len(written) - 1))
    flip = data.draw(st.integers(1, 255))
    edited = bytearray(written)
    edited[position] ^= flip
    with pytest.raises(InvalidCell):
        read_record(bytes(edited), "cell.json")


@given(more=st.binary(min_size=1, max_size=20), front=st.booleans())
def test_a_file_with_bytes_added_is_invalid(more: bytes, front: bool) -> None:
    content = rfc8785.dumps(RECORD)
    digest = hashlib.sha256(content).hexdigest().encode()
    whole = b'{"digest":"' + digest + b'","record":' + content + b"}\n"
    assert read_record(whole, "cell.json") == RECORD
    with pytest.raises(InvalidCell):
        read_record(more + whole if front else whole + more, "cell.json")


@pytest.mark.parametrize(
    ("old", "new"), [('"gap":0.3', '"gap":0.2'), ('"status":"ok"', '"status": "ok"')]
)
def test_an_edit_without_a_new_digest_is_invalid(written: bytes, old: str, new: str) -> None:
    assert old.encode() in written
    with pytest.raises(InvalidCell, match="digest does not fit"):
        read_record(written.replace(old.encode(), new.encode()), "cell.json")


def test_a_record_under_another_key_is_invalid(store: Store) -> None:
    other = "0" * 64
    store.path(KEY).rename(store.path(other))
    with pytest.raises(InvalidCell, match="holds another cell than its name says"):
        store.read(other)
    assert list(store.records()) == []


@pytest.mark.parametrize("protocol", [PROTOCOL + 1, None, "1"])
def test_a_record_of_another_protocol_is_invalid(store: Store, protocol: object) -> None:
    cell = CELL | {"protocol": protocol}
    key = hashlib.sha256(rfc8785.dumps(cell)).hexdigest()
    store.write(key, RECORD | {"cell": cell})
    with pytest.raises(InvalidCell, match=f"is of protocol {protocol}, where {PROTOCOL} is known"):
        store.read(key)


@pytest.mark.parametrize("record", [[], None, {}, {"cell": 1}])
def test_a_file_with_a_fitting_digest_but_no_cell_in_it_is_invalid(
    store: Store, record: Any
) -> None:
    store.write(KEY, record)
    with pytest.raises(InvalidCell):
        store.read(KEY)


def test_invalid_files_are_set_aside_and_valid_ones_stay(store: Store) -> None:
    cut, other = "1" * 64, "2" * 64
    store.path(cut).write_bytes(store.path(KEY).read_bytes()[:-10])
    store.path(other).write_bytes(b"")
    reasons = store.set_aside_invalid([KEY, cut, "3" * 64])
    assert len(reasons) == 1
    assert cut in reasons[0]
    assert store.keys() == {KEY, other}  # only those asked for
    assert (store.folder / f"{cut}.json.invalid").is_file()
    assert store.read(KEY) == RECORD


def test_a_sweep_removes_files_of_killed_processes_and_nothing_else(store: Store) -> None:
    leftovers = [store.folder / f".{KEY}.json.123.tmp", store.folder / f".{KEY}.log"]
    untouched = [store.folder / "notes.txt", store.folder / f"{KEY}.json.invalid", store.path(KEY)]
    for path in leftovers + untouched[:2]:
        path.write_text("x")
    store.sweep()
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in untouched)


def test_half_written_files_are_no_cells(store: Store) -> None:
    (store.folder / f".{'1' * 64}.json.123.tmp").write_bytes(b"{")
    assert store.keys() == {KEY}


@pytest.mark.parametrize("old", [True, False])
def test_a_write_that_fails_midway_leaves_the_old_file(
    store: Store, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    if not old:
        store.path(KEY).unlink()
    before = store.path(KEY).read_bytes() if old else None

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(KEY, RECORD | {"status": "failed"})
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.json"] * old
    assert (store.path(KEY).read_bytes() if old else None) == before


def test_a_file_is_on_disk_before_it_gets_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(file: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else "file")  # noqa: PTH112
        fsync(file)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    store.write(KEY, RECORD)
    assert events[:2] == ["file", "rename"]
    if Path("/proc/self/fd").is_dir():
        assert events == ["file", "rename", "folder"]


def test_a_failed_record_gives_its_failure() -> None:
    error = {"type": "TimeLimit", "message": "too slow", "traceback": "…"}
    failure = failure_from_record(KEY, RECORD | {"status": "failed", "error": error})
    assert (failure.key, failure.design, failure.seed) == (KEY, "ein Entwurf: θ̂", 0)
    assert failure.error == "TimeLimit: too slow"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, a cell of one of them in both."""
    for run in ("one", "two"):
        Store(tmp_path / run / "cells").write(KEY, RECORD)
    cell = CELL | {"seed": 1}
    key = hashlib.sha256(rfc8785.dumps(cell)).hexdigest()
    Store(tmp_path / "two" / "cells").write(key, RECORD | {"cell": cell})
    return tmp_path


def test_a_cell_is_found_by_its_key_or_a_prefix_of_it(runs: Path) -> None:
    for cell in (KEY, KEY[:12]):
        path, record = find_cell(cell, runs)
        assert (path.name, record) == (f"{KEY}.json", RECORD)


def test_a_cell_is_found_by_its_file(runs: Path, tmp_path: Path) -> None:
    path = runs / "two" / "cells" / f"{KEY}.json"
    assert find_cell(str(path), tmp_path / "elsewhere") == (path, RECORD)


@pytest.mark.parametrize("cell", ["", "zz", "0" * 64, "../one/cells/x", "*", "[a]", "no.json"])
def test_the_error_for_a_missing_cell_names_the_folder(runs: Path, cell: str) -> None:
    message = re.escape(f"no cell begins with {cell!r} in {runs}.")
    with pytest.raises(RunError, match=message):
        find_cell(cell, runs)


def test_a_prefix_of_several_keys_is_refused(runs: Path) -> None:
    both = runs / "one" / "cells"
    for name in ("abc1", "abc2"):
        (both / f"{name}.json").write_bytes(b"")
    with pytest.raises(RunError, match="2 cells begin with 'abc'"):
        find_cell("abc", runs)


def test_a_cut_cell_is_not_shown(runs: Path) -> None:
    path = runs / "one" / "cells" / f"{KEY}.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidCell, match="cut off or was edited"):
        find_cell(str(path), runs)
