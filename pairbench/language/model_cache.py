"""On-disk cache of locally trained models, keyed by a hash of their settings."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rfc8785
from filelock import FileLock

from pairbench._util.cache import cache_folder
from pairbench._util.files import write_atomic

_MANIFEST = "made-from.json"  # written last: a folder that has it is complete


def cache_model(settings: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder of a cached model, after making the model if it is not cached yet.

    Processes that request the same model wait for the one that makes it.

    Args:
        settings: all that the model depends on, as JSON; the folder is named by their SHA-256.
        make: writes the model into an existing, empty folder.
    """
    content = rfc8785.dumps(dict(settings))
    folder = cache_folder("models") / hashlib.sha256(content).hexdigest()[:16]
    if (folder / _MANIFEST).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _MANIFEST).exists():
            partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                make(partial)
                write_atomic(partial / _MANIFEST, content)
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder
