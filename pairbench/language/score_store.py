"""On-disk store of scores, in immutable, content-addressed files.

Files need no repair, unlike a database: several processes write without waiting for one another, a
``kill -9`` leaves no partial file, and a damaged file loses only its own scores. A file's name is
the SHA-256 of its content.
"""

import hashlib
import json
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pairbench._util.files import write_atomic
from pairbench.errors import InvalidData

_RECORD = struct.Struct("<32sd")  # SHA-256 of a text, and its score


@dataclass(frozen=True)
class ScoreStore:
    """Scores of one reward model, keyed by the SHA-256 of the text.

    Attributes:
        folder: folder of these scores alone; it need not exist yet.
    """

    folder: Path

    def read(self) -> dict[bytes, float]:
        """Read all scores; rename damaged files, with a warning."""
        scores: dict[bytes, float] = {}
        for path in sorted(self.folder.glob("*.scores")):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem and not len(content) % _RECORD.size:
                scores.update(_RECORD.iter_unpack(content))
                continue
            with suppress(FileNotFoundError):  # another process has renamed it
                path.replace(path.with_suffix(".invalid"))
            warnings.warn(
                f"{path} is damaged, and now called {path.stem}.invalid. Its texts will be "
                "scored again.",
                stacklevel=2,
            )
        return scores

    def write(self, scores: Mapping[bytes, float]) -> None:
        """Add scores atomically: all of them or, if the process is killed, none."""
        if scores:
            content = b"".join(_RECORD.pack(key, score) for key, score in scores.items())
            write_atomic(self.folder / f"{hashlib.sha256(content).hexdigest()}.scores", content)

    @contextmanager
    def lock(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Lock the store, so that other processes wait for the scores instead of computing them.

        The lock saves time and the memory of a second model; the store is consistent without it.

        Args:
            settings: all that the scores depend on; it is written beside them.

        Raises:
            InvalidData: If the folder cannot be written to.
        """
        content = json.dumps(settings, indent=2, sort_keys=True)
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                # The operating system releases the lock if the process dies.
                stack.enter_context(FileLock(self.folder / ".lock"))
                write_atomic(self.folder / "settings.json", content.encode())
            except OSError as error:
                raise InvalidData(
                    f"cannot keep scores in {self.folder}: {error.strerror or error}. Let "
                    "PAIRBENCH_CACHE name a folder that can be written to."
                ) from error
            yield
