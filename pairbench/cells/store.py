"""Store of cells: one sealed file per cell, written atomically and verified on reading."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from pairbench._util.files import seal, unseal, write_atomic
from pairbench.cells.plan import PROTOCOL, version_for
from pairbench.errors import InvalidCell, RunError

CellRecord = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A cell that could not be played.

    Attributes:
        key: the key of the cell.
        environment: label of the environment.
        design: label of the design.
        seed: seed of the world.
        error: type and message of the error.
    """

    key: str
    environment: str
    design: str
    seed: int
    error: str


def failure_from_record(key: str, record: CellRecord) -> Failure:
    """Return the failure that a record describes."""
    labels, error = record["labels"], record["error"]
    message = f"{error['type']}: {error['message']}"
    return Failure(key, labels["environment"], labels["design"], record["cell"]["seed"], message)


@dataclass(frozen=True)
class Store:
    """Store of cells in a folder, by key.

    Attributes:
        folder: the folder of the cell files.
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Return the path of a cell's file, which need not exist."""
        return self.folder / f"{key}.json"

    def write(self, key: str, record: CellRecord) -> None:
        """Write a record atomically."""
        write_atomic(self.path(key), seal(record))

    def read(self, key: str) -> CellRecord | None:
        """Read the record of a key; return None if there is none.

        Raises:
            InvalidCell: If the file is cut off, was edited, is of another protocol, or holds
                another cell than its name says.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        record = read_record(data, path.name)
        if hashlib.sha256(rfc8785.dumps(record["cell"])).hexdigest() != key:
            raise InvalidCell(f"{path.name} holds another cell than its name says.")
        return record

    def keys(self) -> set[str]:
        """Return the keys of all files, valid or not."""
        return {path.stem for path in self.folder.glob("*.json")}

    def records(self, keys: Iterable[str] | None = None) -> Iterator[tuple[str, CellRecord]]:
        """Iterate over valid records and their keys.

        Args:
            keys: the keys to read, in this order; by default all keys, sorted.
        """
        for key in sorted(self.keys()) if keys is None else keys:
            try:
                if (record := self.read(key)) is not None:
                    yield key, record
            except InvalidCell:
                continue

    def set_aside_invalid(self, keys: Iterable[str]) -> list[str]:
        """Rename the invalid files among some keys to ``….json.invalid``; return the reasons."""
        reasons = []
        for key in sorted(set(keys) & self.keys()):
            try:
                self.read(key)
            except InvalidCell as error:
                reasons.append(str(error))
                self.path(key).replace(self.path(key).with_suffix(".json.invalid"))
        return reasons

    def sweep(self) -> None:
        """Remove temporary files and watchdog logs that killed processes left behind."""
        for pattern in (".*.tmp", ".*.log"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def find_cell(cell: str, runs: Path) -> tuple[Path, CellRecord]:
    """Find a cell by its file, or by the first characters of its key in the runs of a folder.

    Args:
        cell: path of the cell's file, or the first characters of its key.
        runs: the folder of the run folders.

    Returns:
        The cell's file and its record.

    Raises:
        RunError: If there is no such cell, or more than one.
        InvalidCell: If its file is cut off, was edited, or is of another protocol.
    """
    if Path(cell).is_file():
        paths = [Path(cell)]
    else:
        is_hexadecimal = re.fullmatch("[0-9a-f]+", cell)  # and thus no glob pattern
        paths = sorted(runs.glob(f"*/cells/{cell}*.json")) if is_hexadecimal else []
    if len({path.name for path in paths}) != 1:
        problem = f"{len(paths)} cells begin" if paths else "there is no file, and no cell begins"
        raise RunError(
            f"{problem} with {cell!r} in {runs}. Give a cell's file, or more of its key; "
            "--runs says where to look."
        )
    return paths[0], read_record(paths[0].read_bytes(), paths[0].name)


def read_record(data: bytes, name: str) -> CellRecord:
    """Read the record in the content of a cell file.

    Args:
        data: the content.
        name: name of the file, for messages.

    Raises:
        InvalidCell: If the content is cut off, was edited, or is of another protocol.
    """
    try:
        record: CellRecord = unseal(data)
    except ValueError as error:
        raise InvalidCell(f"{name} {error}") from error
    cell = record.get("cell") if isinstance(record, dict) else None
    protocol = cell.get("protocol") if isinstance(cell, dict) else None
    if protocol != PROTOCOL:
        reader = f" Read it with {version_for(protocol)}" if type(protocol) is int else ""
        raise InvalidCell(f"{name} is of protocol {protocol}, where {PROTOCOL} is known.{reader}")
    return record
