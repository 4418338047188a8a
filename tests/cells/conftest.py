"""Fixtures: a small environment, and the command line in a subprocess."""

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
    """Spec of an environment whose worlds are drawn and scored in milliseconds."""
    return "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"


@pytest.fixture(scope="session")
def environment_variables(root: Path) -> dict[str, str]:
    """Environment variables of a subprocess that can import pairbench, installed or not."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def cli(environment_variables: dict[str, str], tmp_path: Path) -> Cli:
    """Function that runs a pairbench command and waits for it."""

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
    """Function that writes a plugin file and returns its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(dedent(text))
        return str(path)

    return write_file


@pytest.fixture(scope="session")
def results() -> Results:
    """Function that reads the results of a run by key, without what depends on the machine."""

    def read(folder: Path) -> dict[str, Any]:
        records = {
            path.stem: json.loads(path.read_bytes())["record"]
            for path in (folder / "cells").glob("*.json")
        }
        return {key: record.get("results") for key, record in records.items()}

    return read
