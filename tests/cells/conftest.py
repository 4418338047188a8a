"""Small plans, and the command line as people start it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
Results = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="session")
def tiny() -> str:
    """The spec of an environment that is drawn and scored in milliseconds."""
    return "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"


@pytest.fixture(scope="session")
def environment_variables(root: Path) -> dict[str, str]:
    """Those of a subprocess, in which pairbench is found whether it is installed or not."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def cli(environment_variables: dict[str, str], tmp_path: Path) -> Cli:
    """Give a command and wait for it."""

    def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pairbench", *arguments],
            cwd=cwd or tmp_path,
            env=environment_variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a plugin file, and give back its path."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(dedent(text))
        return str(path)

    return written


@pytest.fixture(scope="session")
def results() -> Results:
    """What the cells of a run came to, by key, without what depends on the day and the machine."""

    def read(folder: Path) -> dict[str, Any]:
        records = {
            path.stem: json.loads(path.read_bytes())["record"]
            for path in (folder / "cells").glob("*.json")
        }
        return {key: record.get("results") for key, record in records.items()}

    return read
