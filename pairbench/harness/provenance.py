"""Where results come from: versions, machine, and state of the source."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pairbench

_PACKAGES = ("numpy", "scipy", "torch", "gymnasium")


def provenance() -> dict[str, Any]:
    """What a record says of its making, as JSON."""
    return {
        "versions": {
            "python": platform.python_version(),
            "pairbench": pairbench.__version__,
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
    """Commit and dirty flag of the checkout that pairbench runs from, None outside of one."""
    folder = Path(pairbench.__file__).parent
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
