"""Data files that environments are made of: brought by the user, kept in a cache folder, checked.

Nothing is downloaded. ``pairbench data import NAME PATH`` builds a file from a user's own copy of
its public source, ``pairbench data add FILE.npz`` takes a ready one. The folder is
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

from pairbench.errors import InvalidData, MissingData, UnknownDataset, unknown
from pairbench.files import write_whole

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A kind of data file.

    Attributes:
        name: as in ``pairbench data import NAME``.
        source: where the public source is to be had, for messages.
        check: raises :class:`InvalidData` if arrays are not what the environments need.
        build: makes the arrays from a folder that holds the public source.
    """

    name: str
    source: str
    check: Callable[[Arrays], None]
    build: Callable[[Path], Arrays]


@dataclass(frozen=True)
class Entry:
    """A data file in the cache folder.

    Attributes:
        dataset: its kind.
        sha256: of its bytes.
        size: bytes.
        origin: the file or folder that it was made from.
    """

    dataset: str
    sha256: str
    size: int
    origin: str


_datasets: dict[str, Dataset] = {}


def register_dataset(dataset: Dataset) -> Dataset:
    """Make a kind of data file known; environments that need one do so when they are loaded."""
    _datasets[dataset.name] = dataset
    return dataset


def datasets() -> dict[str, Dataset]:
    """All kinds of data files, by name."""
    from pairbench.registry import environment_ids

    environment_ids()  # loads the environments, which register them
    return dict(sorted(_datasets.items()))


def data_folder() -> Path:
    """Where data files are kept."""
    chosen = os.environ.get("PAIRBENCH_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("pairbench")


def entry(name: str) -> Entry:
    """What is known of a data file.

    Raises:
        MissingData: If there is none, with the commands that bring it.
        InvalidData: If the note beside it cannot be read.
    """
    note = data_folder() / f"{name}.json"
    try:
        return Entry(**json.loads(note.read_text()))
    except FileNotFoundError:
        source = f" of {_datasets[name].source}" if name in _datasets else ""
        raise MissingData(
            f"there is no {name!r} data in {data_folder()}. Build it from your own copy{source}: "
            f"`pairbench data import {name} PATH`, or take a ready file: "
            f"`pairbench data add FILE.npz`."
        ) from None
    except (ValueError, TypeError) as error:
        raise InvalidData(f"{note} is damaged: {error}. Bring the data in again.") from error


def load(name: str) -> Arrays:
    """The arrays of a data file, its bytes checked against the digest taken when it came.

    Raises:
        MissingData: If there is none.
        InvalidData: If it was changed since.
    """
    return _load(data_folder() / f"{name}.npz", entry(name).sha256)


def add(file: Path, name: str | None = None) -> Entry:
    """Check a ready ``.npz`` file and copy it into the cache folder.

    Args:
        file: the file.
        name: its kind; found from its arrays if not given.

    Raises:
        InvalidData: If it is no readable ``.npz`` of a known kind.
        UnknownDataset: If no kind has that name.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidData(f"cannot read {file}: {error.strerror}.") from error
    arrays = _arrays(content, file)
    reasons = []
    for dataset in [_dataset(name)] if name else datasets().values():
        try:
            dataset.check(arrays)
        except InvalidData as error:
            reasons.append(f"{dataset.name}: {error}")
        else:
            return _keep(dataset.name, content, str(file.resolve()))
    raise InvalidData(f"{file} is no data file that is known here. " + " ".join(reasons))


def build(name: str, folder: Path) -> Entry:
    """Build a data file from a user's own copy of its public source, into the cache folder.

    Args:
        name: its kind.
        folder: the copy.

    Raises:
        InvalidData: If the folder does not hold the source, or not all of it.
        UnknownDataset: If no kind has that name.
    """
    dataset = _dataset(name)
    arrays = dataset.build(folder)
    dataset.check(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stubs know no names
    return _keep(name, buffer.getvalue(), str(folder.resolve()))


def _dataset(name: str) -> Dataset:
    known = datasets()
    if name not in known:
        raise unknown(UnknownDataset, "data set", name, known)
    return known[name]


def _keep(name: str, content: bytes, origin: str) -> Entry:
    kept = Entry(name, hashlib.sha256(content).hexdigest(), len(content), origin)
    write_whole(data_folder() / f"{name}.npz", content)
    # Written last: the note is what says that the file is complete.
    write_whole(data_folder() / f"{name}.json", json.dumps(vars(kept), indent=1).encode() + b"\n")
    return kept


def _arrays(content: bytes, file: Path) -> Arrays:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        return {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy, zipfile and zlib each have their own of damaged bytes
        raise InvalidData(f"{file} is no readable .npz file: {error}.") from error


@lru_cache(maxsize=1)
def _load(file: Path, sha256: str) -> Arrays:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MissingData(
            f"cannot read {file}: {error.strerror}. Bring the data in again."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidData(
            f"{file} is not the file that was brought in (its SHA-256 differs). "
            "Bring the data in again."
        )
    arrays = _arrays(content, file)
    for array in arrays.values():
        array.flags.writeable = False  # they are shared by all who load them
    return arrays
