import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import make_env
from pairbench.errors import InvalidData, MissingData, UnknownDataset
from pairbench.worlds import data

Arrays = dict[str, NDArray[Any]]
NAME = "alpaca-eval"


def small() -> Arrays:
    """Return arrays in the form that the environment needs."""
    rng = np.random.default_rng(0)
    mask = np.ones((10, 4), dtype=np.bool_)
    mask[2, 1] = False
    logit = np.where(mask, rng.normal(size=(10, 4)), np.nan).astype(np.float32)
    return {
        "dataset": np.array(["a", "b"] * 5),
        "logit": logit,
        "lsa": rng.normal(size=(10, 4, 6)).astype(np.float16),
        "mask": mask,
        "n_chars": rng.integers(1, 900, size=(10, 4)),
        "style": rng.normal(size=(10, 4, 20)).astype(np.float16),
    }


def written(file: Path, arrays: Arrays) -> Path:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file


def test_tests_start_with_an_empty_data_folder() -> None:
    assert not list(data.data_folder().iterdir())


def test_missing_data_names_both_commands_that_import_it(data_folder: Path) -> None:
    env = make_env("pairbench/AlpacaEval57-v1")
    for use in (lambda: data.load_arrays(NAME), lambda: env.world(0), env.data_digest):
        with pytest.raises(MissingData) as caught:
            use()
        message = str(caught.value)
        assert f"`pairbench data import {NAME} PATH`" in message
        assert "`pairbench data add FILE.npz`" in message
        assert "github.com/tatsu-lab/alpaca_eval" in message
        assert str(data_folder) in message


def test_the_folder_is_the_users_cache_unless_another_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAIRBENCH_DATA", str(tmp_path))
    assert data.data_folder() == tmp_path
    monkeypatch.setenv("PAIRBENCH_DATA", "~/elsewhere")
    assert data.data_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("PAIRBENCH_DATA")
    assert data.data_folder().name == "pairbench"


@pytest.mark.parametrize("name", [NAME, None])
def test_a_file_that_was_added_is_loaded_as_it_is(
    data_folder: Path, tmp_path: Path, name: str | None
) -> None:
    file = written(tmp_path / "mine.npz", small())
    added = data.add(file, name)
    assert added == data.find_data_file(NAME)
    assert (added.dataset, added.size) == (NAME, file.stat().st_size)
    assert added.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert added.origin == str(file)
    np.testing.assert_equal(dict(data.load_arrays(NAME)), small())
    assert sorted(path.name for path in data_folder.iterdir()) == [f"{NAME}.json", f"{NAME}.npz"]
    assert make_env("pairbench/AlpacaEval57-v1").data_digest() == added.sha256


def test_a_file_that_is_added_again_takes_the_place_of_the_old_one(
    data_folder: Path, tmp_path: Path
) -> None:
    data.add(written(tmp_path / "one.npz", small()))
    data.load_arrays(NAME)
    changed = small() | {"logit": np.ones((10, 4), dtype=np.float32)}
    data.add(written(tmp_path / "two.npz", changed))
    np.testing.assert_array_equal(data.load_arrays(NAME)["logit"], 1)


def test_a_file_that_changed_since_is_refused(data_folder: Path, tmp_path: Path) -> None:
    data.add(written(tmp_path / "mine.npz", small()))
    written(data_folder / f"{NAME}.npz", small() | {"logit": np.zeros((10, 4))})
    with pytest.raises(InvalidData, match="is not the file that was imported"):
        data.load_arrays(NAME)


def test_a_manifest_without_its_file_is_missing_data(data_folder: Path, tmp_path: Path) -> None:
    data.add(written(tmp_path / "mine.npz", small()))
    (data_folder / f"{NAME}.npz").unlink()
    with pytest.raises(MissingData, match="Import the data again"):
        data.load_arrays(NAME)


def test_a_file_without_its_manifest_is_missing_data(data_folder: Path, tmp_path: Path) -> None:
    data.add(written(tmp_path / "mine.npz", small()))
    (data_folder / f"{NAME}.json").unlink()
    with pytest.raises(MissingData, match="pairbench data add"):
        data.load_arrays(NAME)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "{}", '{"dataset": "alpaca-eval"}', '{"colour": 1}', "\x00\xff"],
)
def test_a_damaged_manifest_is_refused(data_folder: Path, tmp_path: Path, text: str) -> None:
    data.add(written(tmp_path / "mine.npz", small()))
    (data_folder / f"{NAME}.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidData, match=r"is damaged: .* Import the data again"):
        data.find_data_file(NAME)


def pickled(file: Path) -> None:
    np.savez(file, mask=np.array([{"a": 1}], dtype=object))


def one_array(file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.ones(3))


def no_arrays(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mask.npy", b"no array")


def cut_off(file: Path) -> None:
    written(file, small())
    file.write_bytes(file.read_bytes()[:-200])


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"some text"),
        lambda file: file.write_bytes(b"PK\x03\x04 no archive"),
        lambda file: None,
        lambda file: file.mkdir(),
        pickled,
        one_array,
        no_arrays,
        cut_off,
    ],
    ids=["empty", "text", "zip-head", "absent", "folder", "pickled", "npy", "no-npy", "cut-off"],
)
def test_a_file_that_is_no_data_file_is_refused(
    data_folder: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    file = tmp_path / "bad.npz"
    make(file)
    with pytest.raises(InvalidData, match=r"bad\.npz"):
        data.add(file, NAME)
    assert not (data_folder / f"{NAME}.json").exists()


@pytest.mark.parametrize("part", range(40))
def test_a_byte_changed_anywhere_is_noticed_or_harmless(
    data_folder: Path, tmp_path: Path, part: int
) -> None:
    file = written(tmp_path / "mine.npz", small())
    content = bytearray(file.read_bytes())
    content[part * len(content) // 40] ^= 0x5A
    file.write_bytes(content)
    try:
        data.add(file, NAME)
    except InvalidData:
        return
    np.testing.assert_equal(dict(data.load_arrays(NAME)), small())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "lacks the arrays mask"),
        ({"logit": None, "style": None}, "lacks the arrays logit, style"),
        ({"mask": np.ones((10, 4))}, "mask must be a bool array"),
        ({"mask": np.ones(10, dtype=np.bool_)}, r"mask must be .* got shape \(10,\)"),
        ({"mask": np.eye(10, 4, dtype=np.bool_)}, "fewer than two completions"),
        ({"logit": np.ones((4, 10))}, r"logit has shape \(4, 10\), expected \(10, 4\)"),
        ({"n_chars": np.ones((10, 3))}, r"n_chars has shape \(10, 3\)"),
        ({"style": np.ones((10, 4, 19))}, r"style has shape .*, expected \(10, 4, 20\)"),
        ({"lsa": np.ones((10, 4))}, "lsa has shape"),
        ({"lsa": np.ones((10, 5, 6))}, r"lsa has shape \(10, 5, 6\), expected \(10, 4, 6\)"),
        ({"dataset": np.array(["a"] * 9)}, r"dataset has shape \(9,\)"),
        ({"logit": np.full((10, 4), np.nan)}, "logit holds NaN or infinite values"),
        ({"style": np.full((10, 4, 20), np.inf)}, "style holds NaN or infinite values"),
        ({"lsa": np.full((10, 4, 6), np.nan)}, "lsa holds NaN or infinite values"),
        ({"logit": np.full((10, 4), "1.0")}, "logit"),
        ({"mask": np.array(True)}, "mask must be a bool array"),
    ],
)
def test_wrong_arrays_are_refused_with_the_reason(
    data_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    arrays = {key: array for key, array in (small() | changes).items() if array is not None}
    file = written(tmp_path / "bad.npz", arrays)
    for name in (NAME, None):
        with pytest.raises(
            InvalidData, match=f"not the data file of a registered data set.*{message}"
        ):
            data.add(file, name)


def test_an_unregistered_data_set_is_refused_with_the_nearest_name(
    data_folder: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "mine.npz", small())
    with pytest.raises(UnknownDataset, match=r"'alpaca_eval'\. Did you mean 'alpaca-eval'\?"):
        data.add(file, "alpaca_eval")
    with pytest.raises(UnknownDataset, match="no data set 'mnist'"):
        data.build("mnist", tmp_path)


def test_a_built_file_is_stored_and_reproducible(
    data_folder: Path, alpaca_clone: Path, alpaca_file: Path
) -> None:
    built = data.build(NAME, alpaca_clone)
    assert built == data.find_data_file(NAME)
    assert built.origin == str(alpaca_clone)
    assert (data_folder / f"{NAME}.npz").read_bytes() == alpaca_file.read_bytes()
    # A user can pass the file on to others.
    assert data.add(alpaca_file).sha256 == built.sha256


def test_a_failed_import_leaves_the_old_data(
    data_folder: Path, tmp_path: Path, alpaca_file: Path
) -> None:
    before = data.add(alpaca_file)
    with pytest.raises(InvalidData, match="must be a clone of"):
        data.build(NAME, tmp_path)
    with pytest.raises(InvalidData, match="not the data file"):
        data.add(written(tmp_path / "bad.npz", {"a": np.ones(2)}))
    assert data.find_data_file(NAME) == before
    assert set(data.load_arrays(NAME)) > {"logit", "mask"}


def test_the_manifest_is_plain_json(data_folder: Path, alpaca_file: Path) -> None:
    data.add(alpaca_file)
    manifest = json.loads((data_folder / f"{NAME}.json").read_text())
    assert set(manifest) == {"dataset", "sha256", "size", "origin"}


def test_a_built_file_holds_no_pickles(alpaca_file: Path) -> None:
    with np.load(io.BytesIO(alpaca_file.read_bytes()), allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= set("biufU")
