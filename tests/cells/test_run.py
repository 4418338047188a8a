"""Runs in several processes: bad designs, missing and damaged cells, and two runs at a time."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairbench import InvalidParameter, RunSpec, load_report, run
from pairbench.cells import plan
from pairbench.cells.plan import PROTOCOL, UNSTATED
from pairbench.cells.run import RunResult
from pairbench.cells.store import CellRecord, Store
from pairbench.errors import RunError

Results = Callable[[Path], dict[str, Any]]
Write = Callable[[str, str], str]

GOOD = """
    import numpy as np
    def select(view, n):
        return np.resize(np.argwhere(view.pool.pair_mask), (n, 3))
"""
IMPORTS = "import os, signal, sys, tempfile, time; import numpy as np\n"
SELECT = "def select(view, n):\n"
ANSWER = "    return np.resize(np.argwhere(view.pool.pair_mask), (n, 3))\n"
# A line that a design runs before it answers, and the error that its cell must record.
BAD = {
    "raises": ("    raise RuntimeError('no idea')", "RuntimeError: no idea (in round 1)"),
    "late": ("    1 / (1 - view.round)", "ZeroDivisionError: division by zero (in round 2)"),
    "exits": ("    sys.exit('enough')", "SystemExit: enough (in round 1)"),
    "memory": ("    raise MemoryError", "MemoryError:"),
    "nothing": ("    return None", "InvalidPairs: design"),
    "too-many": ("    n += 1", "BudgetExceeded: design"),
    "floats": ("    return np.full((n, 3), np.nan)", "NaN or infinite indices"),
    "same": ("    return np.zeros((n, 3), dtype=int)", "compares completion 0 with itself"),
    "writes": ("    view.pool.features[:] = 0", "work on a copy"),
    "leaves": ("    os._exit(3)", "(exit code 3), 2 times"),
    "killed": ("    os.kill(os.getpid(), signal.SIGKILL)", "(exit code -9), 2 times"),
    "crashes": ("    os.kill(os.getpid(), signal.SIGSEGV)", "WorkerDied"),
    "loops": ("    while True: pass", "TimeLimit: the design did not return within 2 s in round 1"),
    "sleeps": (
        "    time.sleep(3600)",
        "TimeLimit: the design did not return within 2 s in round 1",
    ),
    "hangs-later": (
        "    time.sleep(3600 * view.round)",
        "TimeLimit: the design did not return within 2 s in round 2",
    ),
}
# A line that changes a design's process without harm to its cell or others.
ODD = {
    "prints": "    print('hello', flush=True); print('hello', file=sys.stderr)",
    "moves": "    os.chdir(tempfile.mkdtemp())",
    "forks": "    child = os.fork() or os._exit(0); os.waitpid(child, 0)",
    "alarms": "    signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "raises-errors-by-numpy": "    np.seterr(all='raise')",
    "changes-the-environment": "    os.environ['OMP_NUM_THREADS'] = 'x'",
    "closes-standard-output": "    sys.stdout.close(); sys.stdin = None",
}


def spec(
    tiny: str, *designs: str, seeds: tuple[int, ...] = (0, 1), budgets: tuple[int, ...] = (5, 10)
) -> RunSpec:
    return RunSpec("custom", [tiny], designs, seeds, "uniform", budgets)


def records(folder: Path) -> dict[str, CellRecord]:
    return dict(Store(folder / "cells").records())


def by_design(folder: Path) -> dict[str, list[CellRecord]]:
    grouped: dict[str, list[CellRecord]] = {}
    for record in records(folder).values():
        grouped.setdefault(record["labels"]["design"], []).append(record)
    return grouped


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: str, results: Results) -> Any:
    """The results of two good designs, in a run without bad ones."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(spec(tiny, "leverage"), folder, jobs=2)
    return results(folder)


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> tuple[Path, RunResult]:
    """A run of two good designs among all bad ones."""
    folder = tmp_path_factory.mktemp("disturbed")
    files = []
    for name, (line, _) in BAD.items():
        path = folder / f"{name}.py"
        path.write_text(f"{IMPORTS}{SELECT}{line}\n{ANSWER}")
        files.append(str(path))
    plan = spec(tiny, *files[::2], "leverage", *files[1::2], seeds=(0,))
    return folder, run(plan, folder, jobs=2, time_limit=2)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_design_becomes_failed_cells_with_the_reason(
    disturbed: tuple[Path, RunResult], name: str
) -> None:
    folder, result = disturbed
    failures = [failure for failure in result.failed if failure.design == f"{name}.py"]
    assert [failure.seed for failure in failures] == [0]
    assert BAD[name][1] in failures[0].error
    for record in by_design(folder)[f"{name}.py"]:
        assert record["status"] == "failed"
        assert "results" not in record
        assert record["made"]["versions"]["pairbench"]


def test_good_designs_give_the_same_results_among_bad_ones_as_alone(
    disturbed: tuple[Path, RunResult], undisturbed: dict[str, Any], results: Results
) -> None:
    folder, result = disturbed
    successful = {key: value for key, value in results(folder).items() if value is not None}
    assert len(successful) == 2
    assert successful.items() <= undisturbed.items()
    assert len(result.failed) == len(BAD)
    assert result.planned == result.played == len(BAD) + 2


def test_the_record_of_a_hung_design_has_its_stack(disturbed: tuple[Path, RunResult]) -> None:
    folder, _ = disturbed
    for name in ("loops", "sleeps"):
        for record in by_design(folder)[f"{name}.py"]:
            assert f'{name}.py", line 3 in select' in record["error"]["traceback"]


def test_the_record_of_a_design_that_raises_has_its_traceback(
    disturbed: tuple[Path, RunResult],
) -> None:
    folder, _ = disturbed
    for record in by_design(folder)["raises.py"]:
        assert "raise RuntimeError('no idea')" in record["error"]["traceback"]


def test_no_temporary_files_remain(disturbed: tuple[Path, RunResult]) -> None:
    folder, _ = disturbed
    assert {path.suffix for path in (folder / "cells").iterdir()} == {".json"}
    assert not any(path.name.startswith(".") for path in (folder / "cells").iterdir())


def test_a_report_works_with_partial_failures(disturbed: tuple[Path, RunResult]) -> None:
    folder, result = disturbed
    report = load_report(folder)
    assert {row.design for row in report.sections[0].rows} == {"uniform", "leverage"}
    assert len(report.failures) == len(result.failed)


def test_a_keyboard_interrupt_that_a_design_raises_does_not_stop_the_run(
    tiny: str, tmp_path: Path, write: Write
) -> None:
    design = write("mine.py", IMPORTS + SELECT + "    raise KeyboardInterrupt\n" + ANSWER)
    try:
        result = run(spec(tiny, design), tmp_path / "run", jobs=1)
    except KeyboardInterrupt:  # it would end the tests as well
        pytest.fail("the design's KeyboardInterrupt ended the run")
    assert len(result.failed) == 2
    assert all(failure.error.startswith("KeyboardInterrupt:") for failure in result.failed)


def test_failed_cells_are_left_alone_unless_asked_for(
    tiny: str, tmp_path: Path, write: Write
) -> None:
    flag = tmp_path / "flag"
    body = f"    assert os.path.exists({str(flag)!r})\n"
    plan = spec(tiny, write("mine.py", IMPORTS + SELECT + body + ANSWER))
    folder = tmp_path / "run"
    assert len(run(plan, folder, jobs=2).failed) == 2
    before = records(folder)
    flag.touch()
    again = run(plan, folder, jobs=2)
    assert (again.played, len(again.failed)) == (0, 2)
    assert records(folder) == before
    retried = run(plan, folder, jobs=2, retry_failed=True)
    assert (retried.played, len(retried.failed)) == (2, 0)
    successful = {key for key, record in before.items() if record["status"] == "ok"}
    assert all(records(folder)[key] == before[key] for key in successful)


@pytest.fixture
def odd(tmp_path: Path) -> list[str]:
    files = []
    for name, line in ODD.items():
        path = tmp_path / f"{name}.py"
        path.write_text(f"{IMPORTS}{SELECT}{line}\n{ANSWER}")
        files.append(str(path))
    return files


def test_what_a_design_does_to_its_process_harms_no_cell(
    tiny: str,
    tmp_path: Path,
    odd: list[str],
    undisturbed: dict[str, Any],
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(spec(tiny, *odd, "leverage"), "here/run", jobs=1, time_limit=20)
    assert [(failure.design, failure.error) for failure in result.failed] == []
    folder = tmp_path / "here" / "run"
    assert undisturbed.items() <= results(folder).items()
    assert len(results(folder)) == 2 * len(ODD) + len(undisturbed)


def is_alive(process: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_forked_copies_of_a_worker_play_nothing_and_do_not_stay(
    tiny: str, tmp_path: Path, write: Write, undisturbed: dict[str, Any], results: Results
) -> None:
    note = tmp_path / "children"
    fork = f"    child = os.fork(); child and open({str(note)!r}, 'a').write(f'{{child}} ')\n"
    design = write("forks.py", IMPORTS + SELECT + fork + ANSWER)
    result = run(spec(tiny, design, "leverage"), tmp_path / "run", jobs=1, time_limit=20)
    children = [int(child) for child in note.read_text().split()]
    try:
        assert children
        assert result.played == result.planned
        assert undisturbed.items() <= results(tmp_path / "run").items()
        for _ in range(100):
            if not any(map(is_alive, children)):
                break
            time.sleep(0.1)
        assert [child for child in children if is_alive(child)] == []
    finally:
        for child in filter(is_alive, children):
            os.kill(child, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_design_that_ends_its_process_as_if_all_were_well_fails_too(
    tiny: str, tmp_path: Path, write: Write, undisturbed: dict[str, Any], results: Results
) -> None:
    design = write("leaves.py", IMPORTS + SELECT + "    os._exit(0)\n" + ANSWER)
    result = run(spec(tiny, design, "leverage"), tmp_path / "run", jobs=2)
    assert len(result.failed) == 2
    assert all("WorkerDied: the process that played it died" in f.error for f in result.failed)
    assert undisturbed.items() <= results(tmp_path / "run").items()


def test_stored_cells_are_not_played_again(tiny: str, tmp_path: Path, results: Results) -> None:
    first = run(spec(tiny, "leverage"), tmp_path, jobs=2)
    files = {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    again = run(spec(tiny, "leverage"), tmp_path, jobs=2)
    more = run(spec(tiny, "leverage", "first-two", seeds=(0, 1, 2)), tmp_path, jobs=2)
    assert (first.planned, first.played) == (4, 4)
    assert (again.planned, again.played) == (4, 0)
    assert (more.planned, more.played) == (9, 5)
    assert all(path.read_bytes() == content for path, content in files.items())


def test_damaged_cells_are_set_aside_and_played_again(
    tiny: str, tmp_path: Path, undisturbed: dict[str, Any], results: Results
) -> None:
    run(spec(tiny, "leverage"), tmp_path, jobs=2)
    cut, edited, empty, intact = sorted((tmp_path / "cells").iterdir())
    cut.write_bytes(cut.read_bytes()[:-100])
    edited.write_bytes(edited.read_bytes().replace(b'"gap":', b'"gap":1', 1))
    empty.write_bytes(b"")
    before = intact.read_bytes()
    result = run(spec(tiny, "leverage"), tmp_path, jobs=2)
    assert (result.planned, result.played) == (4, 3)
    assert len(result.notes) == 3
    assert all("cut off or was edited" in note for note in result.notes)
    assert results(tmp_path) == undisturbed
    assert intact.read_bytes() == before
    aside = {path.name for path in (tmp_path / "cells").glob("*.invalid")}
    assert aside == {f"{path.name}.invalid" for path in (cut, edited, empty)}


def test_an_edited_design_makes_new_cells(tiny: str, tmp_path: Path, write: Write) -> None:
    folder = tmp_path / "run"
    design = write("mine.py", GOOD)
    run(spec(tiny, design), folder, jobs=2)
    assert run(spec(tiny, design), folder, jobs=2).played == 0
    write("mine.py", GOOD.replace("(n, 3)", "(n + 0, 3)"))
    edited = run(spec(tiny, design), folder, jobs=2)
    assert (edited.planned, edited.played) == (4, 2)
    rows = load_report(folder).sections[0].rows
    assert sorted(row.design for row in rows) == ["mine.py", "uniform"]
    assert len(list((folder / "cells").iterdir())) == 6


def test_a_second_run_on_the_same_folder_is_refused(tiny: str, tmp_path: Path) -> None:
    refused: list[str] = []

    def try_again(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(RunError) as caught:
                run(spec(tiny), tmp_path, jobs=1)
            refused.append(str(caught.value))

    result = run(spec(tiny, "leverage"), tmp_path, jobs=1, on_progress=try_again)
    assert refused == [
        f"another run is writing into {tmp_path}. Wait for it, or give another --out."
    ]
    assert (result.played, result.failed) == (4, [])
    assert run(spec(tiny, "leverage"), tmp_path, jobs=1).played == 0


def test_progress_is_reported_from_the_first_cell_to_the_last(tiny: str, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    for seeds in ((0,), (0, 1)):
        run(
            spec(tiny, seeds=seeds), tmp_path, jobs=1, on_progress=lambda *now: progress.append(now)
        )
    assert progress == sorted(progress, key=lambda now: (now[1], now[0]))
    assert {(0, 1), (1, 1), (1, 2), (2, 2)} <= set(progress)
    assert progress[-1] == (2, 2)


def test_environment_variables_are_as_before(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    seen = tmp_path / "seen"
    code = f"    open({str(seen)!r}, 'a').write(os.environ['OMP_NUM_THREADS'] + chr(10))\n"
    design = write("mine.py", IMPORTS + SELECT + code + ANSWER)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    assert run(spec(tiny, design, seeds=(0,)), tmp_path / "run", jobs=1).failed == []
    assert dict(os.environ) == before
    assert set(seen.read_text().split()) == {"1"}


@pytest.mark.parametrize("jobs", [0, -1])
def test_too_few_jobs_are_refused(tiny: str, tmp_path: Path, jobs: int) -> None:
    with pytest.raises(InvalidParameter, match=f"jobs must be 1 or more, got {jobs}"):
        run(spec(tiny), tmp_path / "run", jobs=jobs)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_an_invalid_time_limit_is_refused(tiny: str, tmp_path: Path, limit: float) -> None:
    with pytest.raises(InvalidParameter, match="time_limit must be a positive number of seconds"):
        run(spec(tiny), tmp_path / "run", jobs=1, time_limit=limit)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file"):
        run(spec(tiny), tmp_path / "file", jobs=1)


def test_an_invalid_plan_leaves_no_folder(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        run(spec(tiny, "no-such-design"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_world_that_cannot_be_drawn_fails_alone(tiny: str, tmp_path: Path, write: Write) -> None:
    environment = write(
        "mine.py",
        """
        from dataclasses import dataclass
        from pairbench import Environment
        @dataclass(frozen=True)
        class Mine(Environment):
            def world(self, seed):
                raise OSError("no world today")
        """,
    )
    plan = RunSpec("custom", [tiny, environment], ["leverage"], [0], "uniform", [5])
    result = run(plan, tmp_path / "run", jobs=2)
    assert {failure.environment for failure in result.failed} == {"mine.py"}
    assert all("OSError: no world today" in failure.error for failure in result.failed)
    assert len(load_report(tmp_path / "run").sections) == 1


def test_a_run_may_be_called_from_a_thread(tiny: str, tmp_path: Path) -> None:
    outcomes: list[RunResult] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run(spec(tiny, seeds=(0,)), tmp_path, jobs=1))
    )
    thread.start()
    thread.join()
    assert [result.played for result in outcomes] == [1]


def test_a_record_holds_its_provenance(tiny: str, tmp_path: Path) -> None:
    run(spec(tiny, seeds=(0,)), tmp_path, jobs=1)
    (record,) = records(tmp_path).values()
    assert set(record) == {"cell", "control", "labels", "status", "results", "usage", "made"}
    assert set(record["made"]) == {"versions", "host", "git"}
    assert {"python", "pairbench", "numpy", "scipy", "torch"} <= set(record["made"]["versions"])
    assert record["cell"]["budgets"] == [5, 10, 20, 40, 80]
    assert [len(r["pairs"]) for r in record["results"]["rounds"]] == [15, 15, 30, 60, 120]
    header = json.loads((tmp_path / "run.json").read_text())
    assert header.keys() == {"name", "protocol", "reference", "cells"}
    assert header["protocol"] == PROTOCOL
    assert (header["name"], header["reference"]) == ("custom", "uniform")


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("    return", "    # The first pairs, again and again.\n    return", True),
        ("    return", "    'Return the first pairs, again and again.'\n    return", True),
        ("import", "'A module.'\n\nimport", True),
        ("(n, 3))", "(n, 3))[::-1]", False),
        ("(n, 3)", "(n + 0, 3)", False),
    ],
)
def test_an_edited_comment_plays_nothing_again_and_an_edited_rule_does(
    tiny: str, tmp_path: Path, write: Write, before: str, after: str, same: bool
) -> None:
    path = Path(write("mine.py", GOOD))
    assert run(spec(tiny, str(path)), tmp_path / "run", jobs=1).played == 4
    stored = {file: file.read_bytes() for file in (tmp_path / "run" / "cells").iterdir()}
    text = path.read_text()
    path.write_text(text.replace(before, after))
    assert path.read_text() != text
    result = run(spec(tiny, str(path)), tmp_path / "run", jobs=1)
    assert (result.planned, result.played, result.notes) == (4, 0 if same else 2, [])
    assert {file: file.read_bytes() for file in stored} == stored


def test_cells_of_an_earlier_protocol_stay_and_are_played_again(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(plan, "PROTOCOL", UNSTATED)
        old = {cell.key: cell.identity() for cell in spec(tiny).cells()[0]}
    store = Store(tmp_path / "cells")
    for key, cell in old.items():
        store.write(key, {"cell": cell})
    header = {"name": "custom", "reference": "uniform", "cells": [*old]}
    (tmp_path / "run.json").write_text(json.dumps(header))
    with pytest.raises(
        RunError,
        match=r"was played under protocol 3, where 4 is known\. Give the command .* once more to "
        r"play it again, or report it with pairbench 0\.1\.0: pip install pairbench==0\.1\.0$",
    ):
        load_report(tmp_path)
    result = run(spec(tiny), tmp_path, jobs=1)
    assert (result.planned, result.played) == (2, 2)
    (note,) = result.notes
    assert "are of protocol 3, where 4 is known: they stay there, and are played again" in note
    assert "pairbench 0.1.0" in note
    assert old.keys() < store.keys()
    assert old.keys().isdisjoint(records(tmp_path))
    assert len(load_report(tmp_path).sections) == 1
    again = run(spec(tiny), tmp_path, jobs=1)
    assert (again.played, again.notes) == (0, [])


def test_a_reference_given_by_path_is_found_again_in_the_report(
    tiny: str, tmp_path: Path, write: Write
) -> None:
    reference = f"{write('mine.py', GOOD)}"
    plan = RunSpec("custom", [tiny], ["leverage"], (0, 1), reference, (5, 10))
    run(plan, tmp_path / "run", jobs=1)
    report = load_report(tmp_path / "run")
    assert report.reference == "mine.py"
    assert all(row.savings is not None for row in report.sections[0].rows)
