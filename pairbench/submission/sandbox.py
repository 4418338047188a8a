"""Sandbox that runs an untrusted design under bubblewrap.

A design is a program of its author's, so that running it would mean trusting it. Here it runs in a
process of its own, which bubblewrap_ isolates by namespaces of the Linux kernel. Each episode has a
new process, so that a design cannot carry information from one world to the next.

**What is isolated.** The world, its true rewards, the oracle and the trainer stay in the verifier's
process. Before each choice the design's process receives a view (arrays, texts, prices, the labels
so far, random numbers), and it answers with integers. The verifier reads only integers: it never
unpickles or evaluates anything that the process sends, nor uses it as a name. In detail:

- Other processes: none is visible, and ``/proc`` is not mounted.
- Network: there is none, not even a loopback interface.
- File system: only Python, the installed packages and pairbench's own code are visible, read-only;
  no home folder, no checkout, no bundle. The one writable folder, without which PyTorch does not
  load, holds 16 MB in memory and vanishes with the process.
- Environment variables: only those that determine how linear algebra is computed.
- Resources: memory, processor time, open files and file sizes are limited before the design's
  source is read.
- System calls: a seccomp filter refuses those that start processes and programs, open sockets, read
  other processes, or have a history of vulnerabilities in the kernel.
- Time: each choice has a deadline, after which all processes are killed by SIGKILL.

**What is not isolated.** The isolation relies on the kernel: a vulnerability in bubblewrap, or in
the kernel behind a system call that is allowed, breaks it. Side channels between processes (timing,
caches, memory use) are not closed. The clock is real. A design can import pairbench's code of
worlds, so that it could draw the world of any seed that it knows. Announced seeds are public, which
is why a design is also run on fresh ones; there are only 2³² of these, which a design could search
if its deadline were long enough. Designs that ship with pairbench run in the sandbox, too, although
whoever runs pairbench trusts them anyway.

.. _bubblewrap: https://github.com/containers/bubblewrap
"""

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench import _version
from pairbench.design.design import Design
from pairbench.errors import DesignFailed, NoSandbox
from pairbench.pool.pool import Pairs, Pool
from pairbench.submission.sandbox_child import (
    ANSWER,
    FAILURE,
    HEADER,
    MAX_WRITTEN_BYTES,
    READY,
)
from pairbench.view.view import View

_STARTUP_SECONDS = 60.0  # for Python and the packages to load
_MAX_ANSWER_BYTES = 64_000_000  # far more than the pairs of any board's budget
_MAX_TEXT_LENGTH = 1_000  # bytes of a design's error, characters of bubblewrap's
_SCRATCH = "/scratch"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """Resource limits of a sandboxed design.

    Attributes:
        seconds: wall time for each choice, and for loading the design, in seconds.
        cpu_seconds: processor time for an episode, in seconds.
        memory: address space, in bytes.
    """

    seconds: float = 300.0
    cpu_seconds: int = 1800
    memory: int = 6 * 2**30


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class UntrustedDesign:
    """A design to run in the sandbox.

    Attributes:
        name: name of the design in a spec, or of its file, ``"my_design.py"`` or
            ``"my_design.py:MyClass"``.
        params: parameters of the design.
        source: text of the file; None for a design that ships with pairbench.
        control: whether the design sees the true rewards, which only designs that ship with
            pairbench may.
    """

    name: str
    params: dict[str, Any]
    source: str | None = None
    control: bool = False


# Why: docs/decisions/040-bubblewrap-isolates-designs.md
class Sandbox:
    """Isolated process of a design, started and killed as a context manager.

    Attributes:
        design: design that the process runs.
        limits: resource limits of the process.
    """

    def __init__(self, design: UntrustedDesign, limits: Limits = DEFAULT_LIMITS) -> None:
        """Configure the sandbox; ``with`` starts its process.

        Args:
            design: the design to run.
            limits: resource limits of the process.
        """
        self.design = design
        self.limits = limits

    def __enter__(self) -> "Sandbox":
        """Start the process and load the design.

        Raises:
            NoSandbox: If this machine cannot isolate the process.
            DesignFailed: If the design does not load.
        """
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            _command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={},
        )
        try:
            self._load_design()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the process and all that it started."""
        self._process.kill()  # --die-with-parent kills its children, too
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # the pipe's buffer was not empty
                stream.close()
        self._process.wait()

    def request(self, call: str, view: View, n: int) -> NDArray[np.int64]:
        """Send a view to the design and return its answer, not yet validated.

        Args:
            call: method of the design, ``"select"`` or ``"generate"``.
            view: view that the design receives.
            n: number of labels that the design may buy.

        Returns:
            Integers, ``(m,)``: the rows of pairs one after the other, or prompts.

        Raises:
            DesignFailed: If the design raises, exceeds its deadline, or ends its process.
        """
        return self._exchange((call, _strip_view(view), n), f"round {view.round + 1}")

    def _load_design(self) -> None:
        """Wait until the process has dropped its privileges, then have it load the design."""
        config = {**asdict(self.design), **asdict(self.limits)}
        try:
            with self._deadline(_STARTUP_SECONDS, "starting"):
                self._send(json.dumps(config).encode())
                kind, _ = self._receive()
        except DesignFailed:
            kind = b""
        if kind != READY:
            raise NoSandbox(
                f"the process for designs does not start: {self._last_error()}. It needs "
                "bubblewrap and user namespaces: `apt install bubblewrap`, and in a container the "
                "right to make namespaces."
            )
        self._exchange(("load", None, 0), "loading")

    def _exchange(self, request: object, step: str) -> NDArray[np.int64]:
        """Send a request and read the answer's integers; ``step`` names it in messages."""
        with self._deadline(self.limits.seconds, step):
            self._send(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
            kind, content = self._receive()
        if kind == FAILURE:
            text = content[:_MAX_TEXT_LENGTH].decode("utf-8", "replace")
            text = "".join(c if c.isprintable() else " " for c in text)
            raise DesignFailed(f"the design failed in isolation ({step}): {text}")
        if kind != ANSWER or len(content) % 8:
            raise DesignFailed(
                f"the design's process sent an invalid answer ({step}): expected 64-bit integers, "
                f"got {len(content):,} bytes of kind {kind!r}."
            )
        return np.frombuffer(content, "<i8").astype(np.int64)

    @contextmanager
    def _deadline(self, seconds: float, step: str) -> Iterator[None]:
        """Kill the process after some seconds, so that reads and writes on its pipes return."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(seconds, expire)
        timer.start()
        try:
            yield
        except (EOFError, BrokenPipeError):
            if expired.is_set():
                raise DesignFailed(
                    f"the design did not answer within {seconds:g} s ({step})."
                ) from None
            raise DesignFailed(
                f"the design ended its process, or was killed at a resource limit ({step})."
            ) from None
        finally:
            timer.cancel()

    def _send(self, content: bytes) -> None:
        """Send a message, preceded by its length."""
        stream = self._process.stdin
        assert stream is not None
        stream.write(len(content).to_bytes(8, "little"))
        stream.write(content)
        stream.flush()

    def _receive(self) -> tuple[bytes, bytes]:
        """Read a message's kind and content, refusing one that is too long before it is read."""
        kind, size = HEADER.unpack(self._read(HEADER.size))
        if size > _MAX_ANSWER_BYTES:
            raise DesignFailed(
                f"the design answers with {size:,} bytes, where {_MAX_ANSWER_BYTES:,} are the most."
            )
        return kind, self._read(size)

    def _read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        Raises:
            EOFError: If the process ends before it has sent them.
        """
        stream = self._process.stdout
        assert stream is not None
        content = stream.read(size)
        if len(content) < size:
            raise EOFError
        return content

    def _last_error(self) -> str:
        """Return the last line that the process wrote to stderr."""
        self._process.wait()
        self._errors.seek(0)
        text = self._errors.read(100_000).decode("utf-8", "replace").strip()
        if not text:
            return "it prints no error"
        return text.splitlines()[-1][:_MAX_TEXT_LENGTH].rstrip(".")


@dataclass(frozen=True)
class IsolatedDesign(Design):
    """Proxy for a design in a sandbox, to which it forwards all calls.

    Attributes:
        sandbox: the sandbox, already entered.
    """

    sandbox: Sandbox

    def select(self, view: View, n: int) -> Pairs:
        """Return the pairs that the sandboxed design selects, ``(m, 3)``."""
        numbers = self.sandbox.request("select", view, n)
        if len(numbers) % 3:
            raise DesignFailed(
                f"the design's process sent {len(numbers)} numbers, which are not rows of three "
                "numbers (prompt, first, second)."
            )
        return numbers.reshape(-1, 3)

    def generate(self, view: View) -> NDArray[np.int64]:
        """Return the prompts that the sandboxed design generates completions for, ``(m,)``."""
        return self.sandbox.request("generate", view, 0)


@dataclass(frozen=True)
class IsolatedControl(IsolatedDesign):
    """Proxy for a sandboxed control, whose views include the true rewards."""

    control = True


@contextmanager
def isolated_design(
    design: UntrustedDesign, limits: Limits = DEFAULT_LIMITS
) -> Iterator[IsolatedDesign]:
    """Run a design in a sandbox for one episode.

    Args:
        design: the design to run.
        limits: resource limits of its process.

    Yields:
        A proxy that can be played like any design. It raises ``DesignFailed`` for whatever goes
        wrong in the sandbox.

    Raises:
        NoSandbox: If this machine cannot isolate the process.
        DesignFailed: If the design does not load.
    """
    with Sandbox(design, limits) as sandbox:
        yield IsolatedControl(sandbox) if design.control else IsolatedDesign(sandbox)


def _strip_view(view: View) -> View:
    """Copy a view with only the declared fields of its pool, without cached or other attributes."""
    pool = object.__new__(Pool)
    vars(pool).update({field.name: getattr(view.pool, field.name) for field in fields(Pool)})
    return replace(view, pool=pool)


def _command() -> list[str]:
    """Build the bubblewrap command that starts the isolated process.

    Raises:
        NoSandbox: If bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise NoSandbox(
            "designs are run in isolation by bubblewrap, which is not installed: "
            "`apt install bubblewrap`, or verify to --level recomputed."
        )
    root = Path(_version.__file__).parent
    packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    designs = importlib.import_module("pairbench.designs").__path__
    visible = dict.fromkeys([sys.base_prefix, sys.prefix, *packages, str(root), *designs])
    options = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    options += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL", "--clearenv"]
    # Linear algebra must round as in this process: the last bit can decide which pairs are chosen.
    kernels = {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_", "MKL_", "NPY_"))}
    variables = kernels | dict.fromkeys(_THREAD_VARIABLES, "1") | {"TMPDIR": _SCRATCH}
    for name, value in variables.items():
        options += ["--setenv", name, value]
    for library in map(Path, ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")):
        if library.is_symlink():
            options += ["--symlink", str(library.readlink()), str(library)]
        elif library.exists():
            options += ["--ro-bind", str(library), str(library)]
    for folder in visible:
        options += ["--ro-bind", folder, folder]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        options += ["--dev-bind", device, device]
    options += ["--size", str(MAX_WRITTEN_BYTES), "--tmpfs", _SCRATCH]
    options += ["--chdir", "/", "--remount-ro", "/"]
    # Import pairbench from where this process has it, whether it is installed or a checkout.
    program = (
        f"import sys; sys.path[:0] = {[str(root.parent)]!r}; sys.path += {packages!r}; "
        "from pairbench.submission.sandbox_child import main; main()"
    )
    return [bwrap, *options, "--", sys.executable, "-I", "-B", "-c", program]
