"""Where what can be made again is kept: models that were trained, scores of texts, answers."""

import os
from pathlib import Path

import platformdirs


def cache_folder(kind: str) -> Path:
    """The folder for one kind of thing, which may not be there yet.

    Args:
        kind: its name, such as ``"scores"``; a folder below ``PAIRBENCH_CACHE`` or, without it,
            the user's cache folder.
    """
    root = os.environ.get("PAIRBENCH_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("pairbench", False)) / kind
