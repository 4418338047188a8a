"""Atomic file writes, and records sealed by a digest."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785

from pairbench.errors import OutputExists

_HEAD, _MIDDLE, _TAIL = b'{"digest":"', b'","record":', b"}\n"
_DIGEST = 64


def seal(record: Any) -> bytes:
    """Serialise a record with its digest: ``{"digest": …, "record": …}``.

    The digest is the SHA-256 of the record's canonical JSON (RFC 8785), in which it is written, so
    that a cut or an edit shows without parsing anything.

    Args:
        record: what JSON can hold.

    Raises:
        rfc8785.CanonicalizationError: If it holds anything else.
    """
    content = rfc8785.dumps(record)
    return _HEAD + hashlib.sha256(content).hexdigest().encode() + _MIDDLE + content + _TAIL


def unseal(data: bytes) -> Any:
    """Return the record in sealed bytes.

    Raises:
        ValueError: If the bytes were cut off or edited.
    """
    start = len(_HEAD) + _DIGEST + len(_MIDDLE)
    digest, content = data[len(_HEAD) : len(_HEAD) + _DIGEST], data[start : -len(_TAIL)]
    framed = data.startswith(_HEAD) and data[:start].endswith(_MIDDLE) and data.endswith(_TAIL)
    if not framed or hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("is cut off or was edited: its digest does not fit.")
    return json.loads(content)


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that at any moment, power cuts included, it is the old one or the new one.

    Args:
        path: where; its folder is made.
        content: the bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name tells process and file, so that two writers never share a temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself is only safe once the folder is written
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(
    paths: Iterable[Path], *, force: bool = False, read: Iterable[Path | None] = ()
) -> None:
    """Raise if writing files would overwrite others.

    Args:
        paths: the files to be written.
        force: whether those that are there may be overwritten.
        read: files that are read in the same command, which may not.

    Raises:
        OutputExists: If one is there already.
    """
    existing = [path for path in paths if path.exists()]
    for path in existing:
        if path.is_dir():
            raise OutputExists(f"{path} is a folder. Give the name of a file by --out.")
        if any(source and source.exists() and path.samefile(source) for source in read):
            raise OutputExists(
                f"{path} is read, and would be overwritten. Give another name by --out."
            )
    if existing and not force:
        names, verb = ", ".join(map(str, existing)), "are" if len(existing) > 1 else "is"
        raise OutputExists(
            f"{names} {verb} there already. Give another name by --out, or --force to overwrite."
        )


def replace_nonfinite(value: Any) -> Any:
    """Replace NaN and infinities by None in nested data, for JSON."""
    if isinstance(value, dict):
        return {str(key): replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
