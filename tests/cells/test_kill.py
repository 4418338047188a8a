"""Runs that are stopped or killed at any moment lose at most the cells in flight."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pairbench.cells.store import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]
Results = Callable[[Path], dict[str, Any]]
Start = Callable[..., Any]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"
)
PATIENCE = 30.0  # seconds after which a process counts as hung
CELLS = 24
# 24 cells of some 30 ms each, so that most random moments fall while cells are played.
PLAN = ["run", "--env", "Isotropic-v1", "--design", "leverage", "--seeds", "0:12"]
PLAN += ["--budgets", "20,40", "--jobs", "2"]


def members(group: int) -> list[int]:
    """Return the ids of the living processes of a process group."""
    living = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state not in "ZX":
            living.append(int(stat.parent.name))
    return living


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cells").glob("*.json")}


@pytest.fixture
def started(environment_variables: dict[str, str], tmp_path: Path) -> Start:
    @contextmanager
    def start(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pairbench", *arguments],
            cwd=tmp_path,
            env=environment_variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # In background jobs of a shell SIGINT may be ignored, which child processes inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            yield process
        finally:
            if process.poll() is None or members(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    return start


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    environment_variables: dict[str, str],
    results: Results,
) -> Any:
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(
        [sys.executable, "-m", "pairbench", *PLAN, "--out", str(folder)],
        env=environment_variables,
        capture_output=True,
        check=True,
    )
    assert len(results(folder)) == CELLS
    return results(folder)


def kill_repeatedly(
    rounds: int, folder: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    moments = random.Random(20260101)
    stored: dict[str, bytes] = {}
    in_play = completed = 0
    for round_ in range(rounds):
        if len(stored) == CELLS:
            completed += 1
            shutil.rmtree(folder)
            stored = {}
        # Most kills fall while cells are played, every fourth at any time, imports included.
        any_time = round_ % 4 == 3
        goal = 0 if any_time else min(CELLS, len(stored) + moments.randint(1, 8))
        delay = moments.uniform(0, 1.5 if any_time else 0.05)
        with started(*PLAN, "--out", str(folder)) as process:
            wait_until(lambda: len(contents(folder)) >= goal or process.poll() is not None)  # noqa: B023
            time.sleep(delay)
            # Every third time only the parent is killed, and the workers have to stop alone.
            if round_ % 3 == 2:
                process.kill()
                process.wait()
                wait_until(lambda: not members(process.pid))
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                wait_until(lambda: not members(process.pid))
        before, stored = stored, contents(folder)
        in_play += 0 < len(stored) < CELLS
        store = Store(folder / "cells")
        assert all(store.read(path.stem) is not None for path in store.folder.glob("*.json"))
        assert before.items() <= stored.items()
        assert results(folder).items() <= undisturbed.items()
    done = cli(*PLAN, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert stored.items() <= contents(folder).items()
    assert results(folder) == undisturbed
    assert {path.suffix for path in (folder / "cells").iterdir()} == {".json"}
    assert in_play >= rounds // 3, "too few kills fell while cells were played"
    assert completed + 1 >= rounds // 15


@pytest.mark.slow
def test_three_kills_at_random_moments_lose_nothing(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    kill_repeatedly(3, tmp_path / "run", started, cli, results, undisturbed)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_lose_nothing(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    kill_repeatedly(50, tmp_path / "run", started, cli, results, undisturbed)


@pytest.mark.parametrize(
    "target",
    [pytest.param("the group, as a terminal does", marks=pytest.mark.slow), "the run alone"],
)
def test_ctrl_c_stops_with_a_message_and_the_same_command_resumes(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any, target: str
) -> None:
    folder = tmp_path / "run"
    with started(*PLAN, "--out", str(folder)) as process:
        wait_until(lambda: len(contents(folder)) >= 2)
        if target == "the run alone":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        wait_until(lambda: not members(process.pid))
    assert stderr.strip().splitlines()[-1] == (
        "Stopped. Finished cells are kept: the same command goes on from there."
    )
    assert "Traceback" not in stderr
    stored = contents(folder)
    assert 2 <= len(stored) < CELLS
    assert cli(*PLAN, "--out", str(folder)).returncode == 0
    assert stored.items() <= contents(folder).items()
    assert results(folder) == undisturbed


def test_ctrl_c_also_stops_a_design_that_never_returns(tmp_path: Path, started: Start) -> None:
    design = tmp_path / "hangs.py"
    design.write_text("import time\ndef select(view, n): time.sleep(3600)\n")
    folder = tmp_path / "run"
    plan = ["run", "--env", "Isotropic-v1", "--design", str(design), "--seeds", "0", "--jobs", "2"]
    with started(*plan, "--budgets", "5", "--out", str(folder)) as process:
        wait_until(lambda: any("1" in log.read_text() for log in (folder / "cells").glob(".*.log")))
        wait_until(lambda: contents(folder))
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "Stopped." in stderr
        wait_until(lambda: not members(process.pid))
    assert len(contents(folder)) == 1
