"""Scores on disk, in files that are written once and never changed.

Files instead of a database, because then nothing has to be repaired: several processes write
without waiting for one another, what a ``kill -9`` cuts off was never there, and of a file that is
damaged its own scores are lost and no others. A file's name is the SHA-256 of what it holds.
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

from pairbench.errors import InvalidData
from pairbench.files import write_whole

_ROW = struct.Struct("<32sd")  # the SHA-256 of a text, and its score


@dataclass(frozen=True)
class ScoreStore:
    """The scores of one reward model, by the SHA-256 of what was scored.

    Attributes:
        folder: theirs alone, which may not be there yet.
    """

    folder: Path

    def read(self) -> dict[bytes, float]:
        """All scores; a file that is not what was written is set aside, with a warning."""
        scores: dict[bytes, float] = {}
        for path in sorted(self.folder.glob("*.scores")):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem and not len(content) % _ROW.size:
                scores.update(_ROW.iter_unpack(content))
                continue
            with suppress(FileNotFoundError):  # another process was faster
                path.replace(path.with_suffix(".invalid"))
            warnings.warn(
                f"{path} is damaged, and now called {path.stem}.invalid. What stood in it is "
                "scored again.",
                stacklevel=2,
            )
        return scores

    def write(self, scores: Mapping[bytes, float]) -> None:
        """Add scores, all of them or, where the process is killed, none."""
        if scores:
            content = b"".join(_ROW.pack(key, score) for key, score in scores.items())
            write_whole(self.folder / f"{hashlib.sha256(content).hexdigest()}.scores", content)

    @contextmanager
    def alone(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """While no other process does the same, so that it finds the work done afterwards.

        Without it nothing would be lost but time and the memory of a second model.

        Args:
            settings: what the scores depend on, which is written down beside them.

        Raises:
            InvalidData: If the folder cannot be written to.
        """
        written = json.dumps(settings, indent=2, sort_keys=True)
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                # Which goes when its process does.
                held.enter_context(FileLock(self.folder / ".lock"))
                write_whole(self.folder / "settings.json", written.encode())
            except OSError as error:
                raise InvalidData(
                    f"cannot keep scores in {self.folder}: {error.strerror or error}. Let "
                    "PAIRBENCH_CACHE name a folder that can be written to."
                ) from error
            yield
