"""Files that are written whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path

from pairbench.errors import FileThere


def write_whole(path: Path, content: bytes) -> None:
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
    """Make sure that writing files takes nothing away.

    Args:
        paths: the files to be written.
        force: whether those that are there may be overwritten.
        read: files that are read in the same command, which may not.

    Raises:
        FileThere: If one is there already.
    """
    there = [path for path in paths if path.exists()]
    for path in there:
        if path.is_dir():
            raise FileThere(f"{path} is a folder. Give the name of a file by --out.")
        if any(source and source.exists() and path.samefile(source) for source in read):
            raise FileThere(
                f"{path} is read, and would be overwritten. Give another name by --out."
            )
    if there and not force:
        raise FileThere(
            f"{', '.join(map(str, there))} {'are' if len(there) > 1 else 'is'} there already. Give "
            "another name by --out, or --force to overwrite."
        )
