"""Isolation: attacks from inside the sandbox fail, and never harm the verifier."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairbench import Design, make_env, play
from pairbench.checks.cases import make_view
from pairbench.design.registry import make_design
from pairbench.errors import DesignFailed, NoSandbox, PairbenchError
from pairbench.submission import sandbox
from pairbench.submission.sandbox import (
    IsolatedControl,
    Limits,
    Sandbox,
    UntrustedDesign,
    isolated_design,
)

WORLD = "pairbench/LogLinear-v1(prompts=6, completions=4, dim=3)"
NO_PAIRS = np.empty((0, 3), dtype=np.int64)
HONEST = """
import numpy as np

def select(view, n):
    rng = view.rng
    first = rng.integers(2, size=n)
    return np.column_stack([rng.integers(view.pool.n_prompts, size=n), first, 1 - first])
"""


def run(source: str, limits: Limits = Limits(seconds=30), **params: object) -> None:  # noqa: B008
    with isolated_design(
        UntrustedDesign("attack.py", dict(params), textwrap.dedent(source)), limits
    ) as design:
        play(WORLD, design, 0, (5, 10))


def attempt_all(attempts: dict[str, str], prologue: str = "") -> dict[str, str]:
    """Run attempts in the sandbox and return the error's name or the value's text of each."""
    lines = "".join(f"    {name!r}: lambda: {code},\n" for name, code in attempts.items())
    source = f"""
import ctypes, gc, io, json, mmap, os, resource, signal, sys, threading, time
{prologue}
ATTEMPTS = {{
{lines}}}

def select(view, n):
    found = []
    for name, attempt in ATTEMPTS.items():
        try:
            found.append(f"{{name}}={{attempt()}}"[:60])
        except BaseException as error:
            found.append(f"{{name}}={{type(error).__name__}}")
    raise RuntimeError("|".join(found))
"""
    with pytest.raises(DesignFailed) as failed:
        run(source)
    text = str(failed.value).partition("RuntimeError: ")[2]
    return dict(part.split("=", 1) for part in text.split("|"))


# -- honest designs are not affected ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "name", "params"),
    [
        (WORLD, "greedy-d", {}),
        ("GenerateThenLabel-v1(prompts=4, completions=6, dim=3)", "generate-first", {}),
        (f"{WORLD[:-1]}, annotator='crowd(votes=3)', missing=0.4)", "uncertainty", {}),
        (f"{WORLD[:-1]}, unit='money', prices='token_read=0.02')", "uniform", {}),
        (WORLD, "oracle-i-optimal", {}),
    ],
)
def test_a_design_chooses_the_same_pairs_in_the_sandbox(
    environment: str, name: str, params: dict[str, object]
) -> None:
    trusted = make_design(name, **params)
    with isolated_design(UntrustedDesign(name, params, control=trusted.control)) as isolated:
        assert isolated.control == trusted.control
        results = play(environment, isolated, 3, (8, 16)).results()
    assert results == play(environment, trusted, 3, (8, 16)).results()


def test_an_untrusted_design_is_constructed_from_its_source_and_parameters() -> None:
    source = """
    from dataclasses import dataclass
    import numpy as np
    import pairbench

    @dataclass(frozen=True)
    class Other(pairbench.Design):
        def select(self, view, n):
            raise NotImplementedError

    @dataclass(frozen=True)
    class Mine(pairbench.Design):
        rate: float = 0.5
        kinds: tuple[str, ...] = ()

        def select(self, view, n):
            raise ValueError(f"{self.rate!r} {self.kinds!r} {n} {view.budget_left}")
    """
    design = UntrustedDesign("two.py:Mine", {"rate": 1, "kinds": ["a"]}, textwrap.dedent(source))
    with (
        isolated_design(design) as made,
        pytest.raises(DesignFailed, match=r"round 1\): ValueError: 1.0 \('a',\) 5 5"),
    ):
        play(WORLD, made, 0, (5,))
    function = "def select(view, n, rate=2.0, k=3):\n    raise ValueError((rate, k))"
    with pytest.raises(DesignFailed, match=r"ValueError: \(4\.0, 3\)"):
        run(function, rate=4)


def test_views_are_read_only_in_the_sandbox() -> None:
    for what in ("pool.features", "pool.log_ref", "pairs", "labels"):
        with pytest.raises(DesignFailed, match="read-only"):
            run(f"def select(view, n):\n    view.{what}[...] = 0")


def test_printed_output_does_not_mix_with_answers() -> None:
    loud = "print('A' * 1000)\n" + HONEST.replace(
        "    rng =",
        "    import sys, os\n    print('R' * 99999, flush=True)\n    os.write(1, b'A' * 9)\n"
        "    os.write(2, b'x')\n    rng =",
    )
    with (
        isolated_design(UntrustedDesign("loud.py", {}, loud)) as one,
        isolated_design(UntrustedDesign("h.py", {}, HONEST)) as h,
    ):
        assert play(WORLD, one, 0, (5, 10)).results() == play(WORLD, h, 0, (5, 10)).results()


# -- the truth is out of reach ---------------------------------------------------------------------

WALK = """
import gc, sys

NAMES = {"World", "Truth", "PairEnv", "LogLinear", "BradleyTerry", "Episode"}

def select(view, n):
    found = {type(thing).__name__ for thing in gc.get_objects()} & NAMES
    frame = sys._getframe()
    while frame is not None:
        found |= {type(value).__name__ for value in frame.f_locals.values()} & NAMES
        frame = frame.f_back
    raise RuntimeError(f"found {sorted(found)}")
"""


def test_the_garbage_collector_and_the_stack_do_not_reach_the_world(tmp_path: Path) -> None:
    with pytest.raises(DesignFailed, match=r"found \[\]"):
        run(WALK)
    # Outside the sandbox, the same attack succeeds.
    (tmp_path / "walk.py").write_text(WALK)
    with pytest.raises(RuntimeError, match=r"found \[.*'PairEnv'.*'World'"):
        play(WORLD, str(tmp_path / "walk.py"), 0, (5,))


def test_only_declared_fields_of_a_view_s_pool_enter_the_sandbox() -> None:
    pool = make_env(WORLD).world(0).pool
    assert pool.n_pairs  # cached in the pool's attributes
    object.__setattr__(pool, "truth", "somebody's careless note")
    view = make_view(pool, NO_PAIRS, np.empty(0), 1)
    source = "def select(view, n):\n    raise ValueError(sorted(vars(view.pool)))"
    with (
        Sandbox(UntrustedDesign("a.py", {}, source)) as box,
        pytest.raises(DesignFailed, match=r"ValueError: \['features', .*\]") as failed,
    ):
        box.request("select", view, 1)
    assert "truth" not in str(failed.value)
    assert "n_pairs" not in str(failed.value)


# -- files, calls and resources --------------------------------------------------------------------


def test_linear_algebra_settings_are_passed_to_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    results = attempt_all(
        {
            "kernel": "os.environ['OPENBLAS_CORETYPE']",
            "threads": "os.environ['OPENBLAS_NUM_THREADS']",
        }
    )
    assert results == {"kernel": "Nehalem", "threads": "1"}


def test_only_files_of_python_and_the_packages_can_be_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("pairs")
    results = attempt_all(
        {
            "bundle": f"open({str(tmp_path / 'bundle')!r}).read()",
            "git": f"os.listdir({str(root / '.git')!r})",
            "tests": f"os.listdir({str(root / 'tests')!r})",
            "boards": f"os.listdir({str(root / 'leaderboards')!r})",
            "passwords": "open('/etc/passwd').read()",
            "home": f"os.listdir({str(Path.home() / '.ssh')!r})",
            "processes": "os.listdir('/proc')",
            "parent": "open('/proc/1/mem', 'rb')",
            "memory": "open('/dev/mem', 'rb')",
            "user": "os.getuid()",
            "environment": "'PATH' in os.environ or 'HOME' in os.environ",
            "numpy": "len(os.listdir(os.path.dirname(sys.modules['numpy'].__file__))) > 3",
        }
    )
    assert results == {
        "bundle": "FileNotFoundError",
        "git": "FileNotFoundError",
        "tests": "FileNotFoundError",
        "boards": "FileNotFoundError",
        "passwords": "FileNotFoundError",
        "home": "FileNotFoundError",
        "processes": "FileNotFoundError",
        "parent": "FileNotFoundError",
        "memory": "FileNotFoundError",
        "user": "65534",
        "environment": "False",
        "numpy": "True",
    }


def test_only_a_small_folder_in_memory_can_be_written(root: Path) -> None:
    folders = ["/", "/tmp", "/dev", "/usr/lib", str(root / "pairbench"), str(root), sys.prefix]
    results = attempt_all({folder: f"open({folder + '/x'!r}, 'w')" for folder in folders})
    assert set(results.values()) <= {"OSError", "FileNotFoundError", "PermissionError"}
    assert not (root / "x").exists()
    fill = """
def write(n, files=1):
    for i in range(files):
        with open(f"/scratch/{n}-{i}", "wb") as file:
            file.write(bytes(n))
    return "written"
"""
    results = attempt_all(
        {
            "a little": "write(2**20)",
            "one file": "write(2**25)",
            "many files": "write(2**20, 20)",
            "no space": "write(2**23)",
        },
        fill,
    )
    assert results == {
        "a little": "written",
        "one file": "OSError",
        "many files": "OSError",
        "no space": "OSError",
    }
    assert attempt_all({"next": "os.listdir('/scratch')"}) == {"next": "[]"}


def test_a_design_can_use_torch() -> None:
    source = """
    import numpy as np

    def select(view, n):
        import torch

        torch.manual_seed(0)
        order = torch.randperm(view.pool.n_prompts)[:n]
        return np.column_stack([order.numpy(), np.zeros(len(order), int), np.ones(len(order), int)])
    """
    run(source)


CALL = "LIBC = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n    r = LIBC.syscall(*a)\n    "
CALL += "return r if r != -1 else os.strerror(ctypes.get_errno())\n"


def test_system_calls_that_break_isolation_are_refused() -> None:
    refused = "Operation not permitted"
    results = attempt_all(
        {
            "fork": "os.fork()",
            "program": "os.execv(sys.executable, [sys.executable])",
            "shell": "__import__('subprocess').run('true')",
            "processes": "__import__('multiprocessing').get_context('fork').Process().start()",
            "socket": "__import__('socket').socket()",
            "pair": "__import__('socket').socketpair()",
            "memfd": "os.memfd_create('x')",
            "ptrace": "call(101, 16, 1, 0, 0)" if os.uname().machine == "x86_64" else "call(117)",
            "bpf": "call(321)" if os.uname().machine == "x86_64" else "call(280)",
            "uring": "call(425, 1, 0)",
            "unshare": "LIBC.unshare(0x10000000)",
            "thread": "threading.Thread(target=int).start()",
            "more": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        },
        CALL,
    )
    assert results == {
        "fork": "PermissionError",
        "program": "PermissionError",
        "shell": "PermissionError",
        "processes": "PermissionError",
        "socket": "PermissionError",
        "pair": "PermissionError",
        "memfd": "PermissionError",
        "ptrace": refused,
        "bpf": refused,
        "uring": refused,
        "unshare": "-1",
        "thread": "None",
        "more": "ValueError",
    }


@pytest.mark.slow
def test_memory_and_open_files_are_limited() -> None:
    source = "def select(view, n):\n    return bytearray(3 * 2**30)"
    with pytest.raises(DesignFailed, match="MemoryError"):
        run(source, Limits(seconds=30, memory=2 * 2**30))
    eat = "def select(view, n):\n    x = []\n    while True:\n        x.append(bytearray(10**7))"
    with pytest.raises(DesignFailed, match="MemoryError"):
        run(eat, Limits(seconds=30, memory=2 * 2**30))
    results = attempt_all({"files": "[os.dup(2) for _ in range(1000)]"})
    assert results == {"files": "OSError"}


# -- deadlines and forged answers ------------------------------------------------------------------


def process_tree(process: int) -> set[int]:
    """Return a process and all its descendants."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = {process}
    while more := {own for own, parent in parents if parent in found} - found:
        found |= more
    return found


def wait_until_ended(processes: set[int]) -> bool:
    """Wait up to 10 s for processes to end, and tell whether all did."""
    for _ in range(200):
        if all(_has_ended(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def _has_ended(process: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("while True: pass", r"did not answer within 1 s \(round 1\)"),
        ("import time; time.sleep(1000)", "did not answer within 1 s"),
        (
            "import signal, time\n"
            "    for s in range(1, 65):\n"
            "        try: signal.signal(s, signal.SIG_IGN)\n"
            "        except (OSError, ValueError): pass\n"
            "    while True: time.sleep(1)",
            "did not answer within 1 s",
        ),
        ("import re; re.match('(a+)+b', 'a' * 60)", "did not answer within 1 s"),
        ("import os; os._exit(0)", "ended its process"),
        ("import os; os.abort()", "ended its process"),
        ("import os; os.kill(os.getpid(), 9)", "ended its process"),
        ("import ctypes; ctypes.string_at(0)", "ended its process"),
        ("raise SystemExit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): return f()\n    return f()", "RecursionError"),
        ("return [[0, 0, 0.5]]", "InvalidPairs"),
        ("return 'pairs'", "InvalidPairs"),
        ("raise ValueError('\\x1b[2J' + 'x' * 10**7)", r"ValueError:  \[2Jxxx"),
    ],
)
def test_a_design_that_does_not_answer_fails(body: str, message: str) -> None:
    with pytest.raises(DesignFailed, match=message) as failed:
        run(f"def select(view, n):\n    {body}", Limits(seconds=1 if "within" in message else 30))
    assert len(str(failed.value)) < 1200
    assert str(failed.value).isprintable()


def test_loading_has_a_deadline_too() -> None:
    with pytest.raises(DesignFailed, match=r"within 1 s \(loading\)"):
        run("while True: pass", Limits(seconds=1))


FORGED: list[tuple[str, str]] = [
    ("b'A' + (2**63).to_bytes(8, 'little')", "where 64,000,000 are the most"),
    ("b'A' + (24).to_bytes(8, 'little') + b'\\xff' * 24", "outside the pool"),
    ("b'A' + (7).to_bytes(8, 'little') + b'1234567'", "sent an invalid answer"),
    ("b'A' + (8).to_bytes(8, 'little') + b'12345678'", "not rows of three numbers"),
    ("b'R' + (0).to_bytes(8, 'little')", "sent an invalid answer"),
    ("b'Z' * 10**6", "bytes, where"),
    ("__import__('pickle').dumps(print, 2) + b'.' * 10", "bytes, where"),
    ("b'F' + (3).to_bytes(8, 'little') + b'\\xff\\xfe\\x1b'", "failed in isolation"),
]


@pytest.mark.parametrize(("forged", "message"), FORGED)
def test_forged_answers_are_refused(forged: str, message: str) -> None:
    source = f"""
    import os

    def select(view, n):
        for stream in range(3, 64):  # wherever answers go
            try:
                os.write(stream, {forged})
            except OSError:
                pass
        os._exit(0)
    """
    with pytest.raises(PairbenchError, match=message):
        run(source)


def test_no_process_is_left_behind() -> None:
    with Sandbox(UntrustedDesign("h.py", {}, HONEST)) as box:
        processes = process_tree(box._process.pid)
    assert len(processes) > 1
    assert wait_until_ended(processes)
    box = Sandbox(
        UntrustedDesign("h.py", {}, "def select(view, n):\n    while True: pass"), Limits(1)
    )
    view = make_view(make_env(WORLD).world(0).pool, NO_PAIRS, np.empty(0), 1)
    with box:
        processes = process_tree(box._process.pid)
        with pytest.raises(DesignFailed, match="within 1 s"):
            box.request("select", view, 1)
        assert wait_until_ended(processes - {box._process.pid})


def test_a_verifier_that_is_killed_leaves_no_design_behind() -> None:
    code = f"""
import sys
from pairbench.submission.sandbox import *
with Sandbox(UntrustedDesign("h.py", {{}}, {HONEST!r})):
    print("started", flush=True)
    sys.stdin.read()
"""
    verifier = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with verifier:
        assert verifier.stdout is not None
        assert verifier.stdout.readline() == "started\n"
        processes = process_tree(verifier.pid)
        assert len(processes) > 2
        verifier.kill()
    assert wait_until_ended(processes)


# -- machines without a sandbox --------------------------------------------------------------------


def test_without_bubblewrap_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoSandbox, match="apt install bubblewrap"):
        run(HONEST)


@pytest.mark.parametrize(
    "says", ["bwrap: No permissions to create a new namespace", "bwrap: Unknown option --uid"]
)
def test_the_error_quotes_bubblewrap_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoSandbox, match=f"does not start: {says}. It needs bubblewrap"):
        run(HONEST)


def test_the_command_unshares_all_namespaces_and_binds_read_only() -> None:
    command = sandbox._command()
    assert {"--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"} <= {*command}
    assert "--bind" not in command  # all of it is read-only


def test_a_proxy_is_a_design() -> None:
    proxies: list[Callable[[Sandbox], Design]] = [sandbox.IsolatedDesign, IsolatedControl]
    box = Sandbox(UntrustedDesign("h.py", {}, HONEST))
    assert [make(box).control for make in proxies] == [False, True]
