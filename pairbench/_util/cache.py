"""Cache folder for trained models, scores of texts, and model replies."""

import os
from pathlib import Path

import platformdirs


def cache_folder(kind: str) -> Path:
    """Return the cache folder for one kind of data, which may not exist yet.

    Args:
        kind: its name, such as ``"scores"``; a folder below ``PAIRBENCH_CACHE`` or, without it,
            the user's cache folder.
    """
    root = os.environ.get("PAIRBENCH_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("pairbench", False)) / kind
