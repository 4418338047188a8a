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
PATIENCE = 30.0  # seconds after which something hangs
CELLS = 24
# 24 cells of some 30 ms each, so that most moments fall into the play.
PLAN = ["run", "--env", "Isotropic-v1", "--design", "leverage", "--seeds", "0:12"]
PLAN += ["--budgets", "20,40", "--jobs", "2"]


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
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
            # Whoever runs the tests in the background may have had Ctrl-C ignored.
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


def killed_again_and_again(
    rounds: int, folder: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    moments = random.Random(20260101)
    kept: dict[str, bytes] = {}
    in_play = completed = 0
    for round_ in range(rounds):
        if len(kept) == CELLS:
            completed += 1
            shutil.rmtree(folder)
            kept = {}
        # Most kills fall into the play, every fourth at any time, imports included.
        anywhen = round_ % 4 == 3
        goal = 0 if anywhen else min(CELLS, len(kept) + moments.randint(1, 8))
        delay = moments.uniform(0, 1.5 if anywhen else 0.05)
        with started(*PLAN, "--out", str(folder)) as process:
            wait_until(lambda: len(contents(folder)) >= goal or process.poll() is not None)  # noqa: B023
            time.sleep(delay)
            # Now and then only the parent dies, and its workers find themselves alone.
            if round_ % 3 == 2:
                process.kill()
                process.wait()
                wait_until(lambda: not members(process.pid))
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                wait_until(lambda: not members(process.pid))
        before, kept = kept, contents(folder)
        in_play += 0 < len(kept) < CELLS
        store = Store(folder / "cells")
        assert all(store.read(path.stem) is not None for path in store.folder.glob("*.json"))
        assert before.items() <= kept.items()
        assert results(folder).items() <= undisturbed.items()
    done = cli(*PLAN, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert kept.items() <= contents(folder).items()
    assert results(folder) == undisturbed
    assert {path.suffix for path in (folder / "cells").iterdir()} == {".json"}
    assert in_play >= rounds // 3, "too few kills fell into the play to show anything"
    assert completed + 1 >= rounds // 15


@pytest.mark.slow
def test_three_kills_at_random_moments_lose_nothing(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    killed_again_and_again(3, tmp_path / "run", started, cli, results, undisturbed)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_lose_nothing(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any
) -> None:
    killed_again_and_again(50, tmp_path / "run", started, cli, results, undisturbed)


@pytest.mark.parametrize("whom", ["the group, as a terminal does", "the run alone"])
def test_ctrl_c_stops_with_a_message_and_the_same_command_goes_on(
    tmp_path: Path, started: Start, cli: Cli, results: Results, undisturbed: Any, whom: str
) -> None:
    folder = tmp_path / "run"
    with started(*PLAN, "--out", str(folder)) as process:
        wait_until(lambda: len(contents(folder)) >= 2)
        if whom == "the run alone":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        wait_until(lambda: not members(process.pid))
    assert said.strip().splitlines()[-1] == (
        "Stopped. Finished cells are kept: the same command goes on from there."
    )
    assert "Traceback" not in said
    kept = contents(folder)
    assert 2 <= len(kept) < CELLS
    assert cli(*PLAN, "--out", str(folder)).returncode == 0
    assert kept.items() <= contents(folder).items()
    assert results(folder) == undisturbed


def test_ctrl_c_also_stops_a_design_that_never_returns(tmp_path: Path, started: Start) -> None:
    design = tmp_path / "hangs.py"
    design.write_text("import time\ndef select(view, n): time.sleep(3600)\n")
    folder = tmp_path / "run"
    plan = ["run", "--env", "Isotropic-v1", "--design", str(design), "--seeds", "0", "--jobs", "2"]
    with started(*plan, "--budgets", "5", "--out", str(folder)) as process:
        wait_until(lambda: any("1" in d.read_text() for d in (folder / "cells").glob(".*.diary")))
        wait_until(lambda: contents(folder))
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "Stopped." in said
        wait_until(lambda: not members(process.pid))
    assert len(contents(folder)) == 1
