"""Where results come from: versions, machine, and state of the source."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pairbench import _version

_PACKAGES = ("numpy", "scipy", "torch", "gymnasium")


def provenance() -> dict[str, Any]:
    """Return versions, machine and Git state for a record, as JSON."""
    return {
        "versions": {
            "python": platform.python_version(),
            "pairbench": _version.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "host": {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
        "git": _git(),
    }


def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout that pairbench runs from, None outside one."""
    folder = Path(_version.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit, status = (
            subprocess.run(
                ["git", *command], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status)}
