import json
from pathlib import Path

import pytest

from pairbench._util.files import check_writable, seal, unseal, write_atomic
from pairbench.errors import OutputExists


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "one" / "two" / "file.bin"
    write_atomic(file, b"old")
    write_atomic(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.bin"
    write_atomic(file, b"old")

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_only_what_is_there_is_in_the_way(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("precious")
    check_writable([new])
    check_writable([new, old], force=True, read=[None, new])
    with pytest.raises(
        OutputExists, match=r"old is there already\. Give another name by --out, or"
    ):
        check_writable([new, old])
    with pytest.raises(OutputExists, match="old is read, and would be overwritten"):
        check_writable([tmp_path / "." / "old"], force=True, read=[old])
    with pytest.raises(OutputExists, match="is a folder"):
        check_writable([tmp_path], force=True)


def test_a_seal_shows_every_cut_and_every_changed_byte() -> None:
    record = {"b": [1, 0.5, None], "a": "é"}
    whole = seal(record)
    assert unseal(whole) == record
    assert json.loads(whole)["record"] == record
    for place in range(len(whole)):
        for spoilt in (whole[:place], whole[:place] + b"~" + whole[place + 1 :]):
            with pytest.raises(ValueError, match="cut off or was edited"):
                unseal(spoilt)
