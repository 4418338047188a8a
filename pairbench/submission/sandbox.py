"""A place for a design of strangers: a process that holds its view, and can reach nothing else.

A design is somebody's program, and running it is trusting it, unless it runs where it can do no
harm and learn nothing. Here it runs under bubblewrap_, which makes the place out of namespaces of
the Linux kernel; one for each episode, so that nothing is carried from one world to the next.

**What is isolated.** The world, its truth, the oracle and the trainer stay in the process that
verifies; the design's process gets a view before each choice (arrays, texts, prices, the labels so
far, random numbers) and answers with numbers. They are read as numbers: nothing that it sends is
unpickled, evaluated or used as a name. It sees no other process, and no ``/proc``; no network, not
even a loopback; of the file system only Python, the installed packages and pairbench's own code,
read-only: no home, no checkout, no bundle; of environment variables only those that say
how linear algebra is computed. It can write into one folder only, of 16 MB, in memory and gone with
it, without which PyTorch does not load. Before its source is read, its memory, processor time, open
files and the size of files are limited, and a seccomp filter takes the system calls away from it
that start processes and programs, open sockets, read other processes, or are known for holes in the
kernel. Each choice has its time, after which everything is killed by a signal that cannot be
ignored.

**What is not.** All of it is the kernel's word: a hole in the kernel that the calls left to it
can reach, or one in bubblewrap, opens the place. What processes can tell of each other by the time
that things take, by caches and by memory (side channels) is not hidden. The clock is real. A design
has the code of worlds where that is installed with pairbench, so that one that knew a world's seed
could draw it; announced seeds are known to all, which is why a design is also run on others, and of
these there are only 2³², which a design could search if its time were long enough. Designs that
ship with pairbench run here, too, but who runs pairbench trusts them anyway.

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
from pairbench.submission.sandbox_child import ANSWER, FAILURE, HEADER, MOST_WRITTEN, READY
from pairbench.view.view import View

_START = 60.0  # seconds for Python and the packages to load
_MOST_ANSWER = 64_000_000  # bytes: more pairs than a budget has ever bought
_MOST_TEXT = 1_000
_SCRATCH = "/scratch"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """What a design may take.

    Attributes:
        seconds: for each choice, wall clock, and for loading.
        processor: processor time for an episode, seconds.
        memory: address space, bytes.
    """

    seconds: float = 300.0
    processor: int = 1800
    memory: int = 6 * 2**30


USUAL = Limits()


@dataclass(frozen=True)
class Foreign:
    """A design that is run in isolation.

    Attributes:
        name: in a spec, or the plain name of its file (and class).
        params: its parameters.
        source: the file's text; None where the design ships with pairbench.
        control: whether it is shown the truth, as only those that ship are.
    """

    name: str
    params: dict[str, Any]
    source: str | None = None
    control: bool = False


# Why: docs/decisions/040-bubblewrap-isolates-designs.md
class Sandbox:
    """An isolated process with a design in it; a context manager, at whose end it is killed."""

    def __init__(self, design: Foreign, limits: Limits = USUAL) -> None:
        """Say what is to be run; it is started by ``with``.

        Args:
            design: what.
            limits: what it may take.
        """
        self.design = design
        self.limits = limits

    def __enter__(self) -> "Sandbox":
        """Start the process and load the design.

        Raises:
            NoSandbox: If it cannot be isolated.
            DesignFailed: If it does not load.
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
            self._start()
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
        """Kill whatever is left in there."""
        self._process.kill()  # and with it all others, see --die-with-parent
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # something was left to be sent
                stream.close()
        self._process.wait()

    def asked(self, call: str, view: View, n: int) -> NDArray[np.int64]:
        """What the design answers, unchecked, ``(m,)``.

        Args:
            call: ``"select"`` or ``"generate"``.
            view: what it is shown.
            n: the number of labels that it may buy.

        Raises:
            DesignFailed: If it raises, hangs, or ends its process.
        """
        return self._exchange((call, _bare(view), n), f"round {view.round + 1}")

    def _start(self) -> None:
        told = {**asdict(self.design), **asdict(self.limits)}
        try:
            with self._deadline(_START, "starting"):
                self._send(json.dumps(told).encode())
                kind, _ = self._received()
        except DesignFailed:
            kind = b""
        if kind != READY:
            raise NoSandbox(
                f"the process for designs does not start: {self._said()}. It needs bubblewrap and "
                "user namespaces: `apt install bubblewrap`, and in a container the right to make "
                "namespaces."
            )
        self._exchange(("load", None, 0), "loading")

    def _exchange(self, request: object, where: str) -> NDArray[np.int64]:
        with self._deadline(self.limits.seconds, where):
            self._send(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
            kind, content = self._received()
        if kind == FAILURE:
            text = content[:_MOST_TEXT].decode("utf-8", "replace")
            text = "".join(c if c.isprintable() else " " for c in text)
            raise DesignFailed(f"the design failed in isolation ({where}): {text}")
        if kind != ANSWER or len(content) % 8:
            raise DesignFailed(f"the design's process sent what is no answer ({where}).")
        return np.frombuffer(content, "<i8").astype(np.int64)

    @contextmanager
    def _deadline(self, seconds: float, where: str) -> Iterator[None]:
        """Kill the process after that time; a blocked pipe then comes to its end."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        except (EOFError, BrokenPipeError):
            if late.is_set():
                raise DesignFailed(
                    f"the design did not answer within {seconds:g} s ({where})."
                ) from None
            raise DesignFailed(
                f"the design ended its process, or was killed for what it took ({where})."
            ) from None
        finally:
            timer.cancel()

    def _send(self, content: bytes) -> None:
        stream = self._process.stdin
        assert stream is not None
        stream.write(len(content).to_bytes(8, "little"))
        stream.write(content)
        stream.flush()

    def _received(self) -> tuple[bytes, bytes]:
        kind, size = HEADER.unpack(self._read(HEADER.size))
        if size > _MOST_ANSWER:
            raise DesignFailed(
                f"the design answers with {size:,} bytes, where {_MOST_ANSWER:,} are the most."
            )
        return kind, self._read(size)

    def _read(self, size: int) -> bytes:
        stream = self._process.stdout
        assert stream is not None
        found = stream.read(size)
        if len(found) < size:
            raise EOFError
        return found

    def _said(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        text = self._errors.read(100_000).decode("utf-8", "replace").strip()
        return text.splitlines()[-1][:_MOST_TEXT].rstrip(".") if text else "it says nothing"


@dataclass(frozen=True)
class Confined(Design):
    """A design whose choices are made in isolation.

    Attributes:
        sandbox: where, entered already.
    """

    sandbox: Sandbox

    def select(self, view: View, n: int) -> Pairs:
        """The pairs that are chosen there."""
        return _threes(self.sandbox.asked("select", view, n))

    def generate(self, view: View) -> NDArray[np.int64]:
        """The prompts that are chosen there."""
        return self.sandbox.asked("generate", view, 0)


@dataclass(frozen=True)
class ConfinedControl(Confined):
    """The same of a control, which is shown the truth."""

    control = True


@contextmanager
def confined(design: Foreign, limits: Limits = USUAL) -> Iterator[Design]:
    """A design in isolation, for one episode.

    Args:
        design: which.
        limits: what it may take.

    Raises:
        NoSandbox: If it cannot be isolated.
        DesignFailed: If it does not load; or later, in place of whatever it does.
    """
    with Sandbox(design, limits) as sandbox:
        yield ConfinedControl(sandbox) if design.control else Confined(sandbox)


def _threes(numbers: NDArray[np.int64]) -> Pairs:
    if len(numbers) % 3:
        raise DesignFailed("the design's process sent rows that are not of three numbers.")
    return numbers.reshape(-1, 3)


def _bare(view: View) -> View:
    """The view without what was worked out from its pool, and with nothing but its own fields."""
    pool = object.__new__(Pool)
    vars(pool).update({field.name: getattr(view.pool, field.name) for field in fields(Pool)})
    return replace(view, pool=pool)


def _command() -> list[str]:
    """The command that starts the process, in a place made for it.

    Raises:
        NoSandbox: If there is no bubblewrap.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise NoSandbox(
            "designs are run in isolation by bubblewrap, which is not there: "
            "`apt install bubblewrap`, or verify to --level recomputed."
        )
    root = Path(_version.__file__).parent
    packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    designs = importlib.import_module("pairbench.designs").__path__
    seen = dict.fromkeys([sys.base_prefix, sys.prefix, *packages, str(root), *designs])
    place = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    place += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL", "--clearenv"]
    # As linear algebra rounds here it is to round there: pairs may hang on the last bit.
    kernels = {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_", "MKL_", "NPY_"))}
    for name, value in (kernels | dict.fromkeys(_THREADS, "1") | {"TMPDIR": _SCRATCH}).items():
        place += ["--setenv", name, value]
    for library in map(Path, ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")):
        if library.is_symlink():
            place += ["--symlink", str(library.readlink()), str(library)]
        elif library.exists():
            place += ["--ro-bind", str(library), str(library)]
    for folder in seen:
        place += ["--ro-bind", folder, folder]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        place += ["--dev-bind", device, device]
    place += ["--size", str(MOST_WRITTEN), "--tmpfs", _SCRATCH]
    place += ["--chdir", "/", "--remount-ro", "/"]
    # pairbench is found where this process has it, whether it is installed or not.
    start = (
        f"import sys; sys.path[:0] = {[str(root.parent)]!r}; sys.path += {packages!r}; "
        "from pairbench.submission.sandbox_child import main; main()"
    )
    return [bwrap, *place, "--", sys.executable, "-I", "-B", "-c", start]
