"""Models that are trained here: made once from their settings, and kept."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rfc8785
from filelock import FileLock

from pairbench.cache import cache_folder
from pairbench.files import write_whole

_COMPLETE = "made-from.json"


def kept_model(settings: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder of a model, which is made now if it is not there yet.

    Processes that want the same one wait for whoever makes it.

    Args:
        settings: all that the model depends on, as JSON; its folder is named by their SHA-256.
        make: writes the model into a folder that is there.
    """
    content = rfc8785.dumps(dict(settings))
    folder = cache_folder("models") / hashlib.sha256(content).hexdigest()[:16]
    if (folder / _COMPLETE).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _COMPLETE).exists():
            made = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            try:
                make(made)
                write_whole(made / _COMPLETE, content)  # last: whoever sees it sees all
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder
