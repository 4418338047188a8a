"""Data files of environments, which the user imports into a cache folder and which are checked.

Nothing is downloaded. ``pairbench data import NAME PATH`` builds a file from a user's own copy of
its public source, ``pairbench data add FILE.npz`` imports a ready one. The folder is
``PAIRBENCH_DATA`` or, without it, the user's cache folder.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from pairbench._util.files import write_atomic
from pairbench.errors import InvalidData, MissingData, UnknownDataset, unknown_name_error

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A data set: how its data file is built and checked.

    Attributes:
        name: name of the data set, as in ``pairbench data import NAME``.
        source: address of the public source, for messages.
        check: raises :class:`InvalidData` unless arrays meet the environments' requirements.
        build: builds the arrays from a folder that holds the public source.
    """

    name: str
    source: str
    check: Callable[[Arrays], None]
    build: Callable[[Path], Arrays]


@dataclass(frozen=True)
class DataFile:
    """A data file in the cache folder.

    Attributes:
        dataset: name of the data set.
        sha256: SHA-256 of the file.
        size: size in bytes.
        origin: the file or folder that it was imported from.
    """

    dataset: str
    sha256: str
    size: int
    origin: str


_registered: dict[str, Dataset] = {}


def register_dataset(dataset: Dataset) -> Dataset:
    """Register a data set; modules of environments call this when they are imported."""
    _registered[dataset.name] = dataset
    return dataset


def datasets() -> dict[str, Dataset]:
    """Return all registered data sets by name."""
    from pairbench.worlds.registry import environment_ids

    environment_ids()  # imports the environments, which register their data sets
    return dict(sorted(_registered.items()))


def data_folder() -> Path:
    """Return the folder of data files."""
    folder = os.environ.get("PAIRBENCH_DATA")
    return Path(folder).expanduser() if folder else platformdirs.user_cache_path("pairbench")


def find_data_file(name: str) -> DataFile:
    """Look up a data file in the cache folder.

    Raises:
        MissingData: If it was not imported; the message names the commands that import it.
        InvalidData: If its manifest cannot be read.
    """
    manifest = data_folder() / f"{name}.json"
    try:
        return DataFile(**json.loads(manifest.read_text()))
    except FileNotFoundError:
        source = f" of {_registered[name].source}" if name in _registered else ""
        raise MissingData(
            f"there is no {name!r} data in {data_folder()}.",
            f"Build it from your own copy{source}: "
            f"`pairbench data import {name} PATH`, or take a ready file: "
            f"`pairbench data add FILE.npz`.",
        ) from None
    except (ValueError, TypeError) as error:
        raise InvalidData(f"{manifest} is damaged: {error}. Import the data again.") from error


def load_arrays(name: str) -> Arrays:
    """Load the arrays of a data file after a check of its SHA-256.

    Raises:
        MissingData: If the file was not imported.
        InvalidData: If it was changed after the import.
    """
    return _load_checked(data_folder() / f"{name}.npz", find_data_file(name).sha256)


def add(file: Path, name: str | None = None) -> DataFile:
    """Check a ready ``.npz`` file and copy it into the cache folder.

    Args:
        file: the file.
        name: name of the data set; by default the first whose check its arrays pass.

    Raises:
        InvalidData: If the file is no readable ``.npz`` or passes no check.
        UnknownDataset: If no data set has the name.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidData(f"cannot read {file}: {error.strerror}.") from error
    arrays = _read_arrays(content, file)
    failures = []
    for dataset in [_find_dataset(name)] if name else datasets().values():
        try:
            dataset.check(arrays)
        except InvalidData as error:
            failures.append(f"{dataset.name}: {error}")
        else:
            return _store(dataset.name, content, str(file.resolve()))
    raise InvalidData(
        f"{file} is not the data file of a registered data set. " + " ".join(failures)
    )


def build(name: str, folder: Path) -> DataFile:
    """Build a data file from a user's own copy of its public source, into the cache folder.

    Args:
        name: name of the data set.
        folder: the copy.

    Raises:
        InvalidData: If the folder does not hold the complete source.
        UnknownDataset: If no data set has the name.
    """
    dataset = _find_dataset(name)
    arrays = dataset.build(folder)
    dataset.check(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stub of savez has no **kwds
    return _store(name, buffer.getvalue(), str(folder.resolve()))


def _find_dataset(name: str) -> Dataset:
    registered = datasets()
    if name not in registered:
        raise unknown_name_error(UnknownDataset, "data set", name, registered)
    return registered[name]


def _store(name: str, content: bytes, origin: str) -> DataFile:
    file = DataFile(name, hashlib.sha256(content).hexdigest(), len(content), origin)
    write_atomic(data_folder() / f"{name}.npz", content)
    # The manifest is written last; it marks the data file as complete.
    write_atomic(data_folder() / f"{name}.json", json.dumps(vars(file), indent=1).encode() + b"\n")
    return file


def _read_arrays(content: bytes, file: Path) -> Arrays:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        return {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy, zipfile and zlib raise various types
        raise InvalidData(f"{file} is no readable .npz file: {error}.") from error


@lru_cache(maxsize=1)
def _load_checked(file: Path, sha256: str) -> Arrays:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MissingData(
            f"cannot read {file}: {error.strerror}.", "Import the data again."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidData(
            f"{file} is not the file that was imported (its SHA-256 differs). "
            "Import the data again."
        )
    arrays = _read_arrays(content, file)
    for array in arrays.values():
        array.flags.writeable = False  # the cached arrays are shared by all callers
    return arrays
