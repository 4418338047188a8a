"""Entry point of the sandboxed process: drop privileges, load the design, answer requests.

See :mod:`pairbench.submission.sandbox`. Once the design's code runs, it controls this process, so
that nothing here protects the verifier from then on: this module only encodes the answers of honest
designs. The privileges that it drops before are enforced by the kernel.
"""

import ctypes
import inspect
import io
import json
import os
import pickle
import platform
import resource
import struct
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from pairbench.design.design import Design, FunctionDesign
from pairbench.design.registry import DESIGNS, make_design
from pairbench.errors import InvalidParameter, PairbenchError
from pairbench.pool.pairs import as_integer_triples
from pairbench.pool.pool import Pool, freeze_array
from pairbench.spec.loading import find_factory
from pairbench.view.view import View

HEADER = struct.Struct("<cQ")
"""Header of each answer: its kind, and the number of bytes that follow."""
READY, ANSWER, FAILURE = b"R", b"A", b"F"

MAX_WRITTEN_BYTES = 2**24
"""Greatest size of a file, and of all files together."""
_MAX_OPEN_FILES = 64


def main() -> None:
    """Drop privileges, then answer requests until the verifier closes the pipe."""
    requests, answers = io.open(os.dup(0), "rb"), os.dup(1)  # noqa: UP020, SIM115 - a descriptor
    config = json.loads(_receive(requests))
    set_resource_limits(config["cpu_seconds"], config["memory"])
    install_seccomp_filter()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a design prints must not mix with the answers
        os.dup2(null, stream)
    _send(answers, READY, b"")
    design: Design | None = None
    while True:
        call, view, n = pickle.loads(_receive(requests))
        try:
            if design is None:  # the first request is to load the design
                design = load_design(config["name"], config["params"], config["source"])
                answer = np.empty(0, dtype=np.int64)
            elif call == "select":
                pairs = as_integer_triples(design.select(_freeze_view(view), n))
                answer = np.ascontiguousarray(pairs)
            else:
                answer = np.asarray(design.generate(_freeze_view(view)))
                if answer.size and not np.issubdtype(answer.dtype, np.integer):
                    raise TypeError(f"expected whole numbers of prompts, got {answer.dtype}")
        except BaseException as error:  # also report SystemExit and KeyboardInterrupt
            text = f"{type(error).__name__}: {error}"[:1000]
            _send(answers, FAILURE, text.encode("utf-8", "replace"))
        else:
            _send(answers, ANSWER, answer.astype("<i8").tobytes())


def load_design(name: str, params: dict[str, Any], source: str | None) -> Design:
    """Construct a design from its name, or from the text of its file.

    Args:
        name: name of the design in a spec, or of the file that the text is from, perhaps with a
            class: ``"my_design.py:MyClass"``.
        params: parameters of the design.
        source: text of the file; None for a design that ships with pairbench.

    Raises:
        PairbenchError: If the design cannot be constructed.
    """
    if source is None:
        return make_design(name, **params)
    path, _, attribute = name.partition(".py:")
    module = ModuleType("pairbench_design")
    module.__file__ = path.removesuffix(".py") + ".py"
    sys.modules[module.__name__] = module  # dataclasses look up their module
    exec(compile(source, module.__file__, "exec"), vars(module))
    design = DESIGNS.construct(
        find_factory(module, DESIGNS.contract, attribute or None), f"design {name!r}", params
    )
    if isinstance(design, FunctionDesign):  # JSON does not tell 1.0 from 1
        signature = inspect.signature(design.function).parameters
        for key, value in design.params.items():
            if type(value) is int and isinstance(signature[key].default, float):
                design.params[key] = float(value)
    if not isinstance(design, Design):
        raise InvalidParameter(
            f"{name} defines no design: expected a subclass of pairbench.Design or a function "
            f"select(view, n), got {type(design).__name__}."
        )
    return design


def set_resource_limits(cpu_seconds: int, memory: int) -> None:
    """Limit the resources of this process, for good.

    Args:
        cpu_seconds: processor time, in seconds.
        memory: address space, in bytes.
    """
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
    ):
        resource.setrlimit(kind, (limit, limit))


# Why: docs/decisions/040-bubblewrap-isolates-designs.md
def install_seccomp_filter() -> None:
    """Have the kernel refuse the system calls of :data:`_REFUSED_CALLS` from now on.

    The filter is a program in the classic BPF of seccomp(2). It also refuses ``clone`` unless that
    starts a thread: the process can start threads, but no processes.

    Raises:
        PairbenchError: If the call numbers of this machine are not known, or the kernel refuses the
            filter.
    """
    machine = platform.uname().machine
    if machine not in _ARCHITECTURES or sys.platform != "linux":
        raise PairbenchError(
            f"designs can be isolated on Linux on {' and '.join(_ARCHITECTURES)}, not on "
            f"{sys.platform} on {machine}."
        )
    column, architecture = _ARCHITECTURES[machine]
    numbers = [number for row in _REFUSED_CALLS.values() if (number := row[column]) is not None]
    clone, clone3 = (56, 220)[column], 435
    # Each instruction: operation, number of instructions to skip if true and if false, operand.
    instructions = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 0, 1, 0x40000000),  # the x32 ABI, with other numbers for the same calls
        (_RETURN, 0, 0, _REFUSE | 1),
        (_EQUAL, 0, 1, clone3),  # a filter cannot read its flags; on ENOSYS libc uses clone
        (_RETURN, 0, 0, _REFUSE | 38),
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, 16),  # the flags of clone
        (_ANY_OF, 1, 0, 0x10000),  # CLONE_THREAD
        (_RETURN, 0, 0, _REFUSE | 1),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number in numbers:
        instructions += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | 1)]
    instructions.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for request in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, program, 0, 0)):
        if libc.prctl(*request) != 0:
            raise PairbenchError(
                f"the kernel refuses the seccomp filter: {os.strerror(ctypes.get_errno())}."
            )


_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_REFUSED_CALLS: dict[str, tuple[int | None, int | None]] = {
    # processes and programs
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    # the network
    "socket": (41, 198),
    "socketpair": (53, 199),
    # memory that is not charged to a process
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # namespaces and file systems
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # parts of the kernel with the most vulnerabilities
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
"""System calls that no design needs, with their numbers on x86_64 and on aarch64."""


def _freeze_view(view: View) -> View:
    """Make a view's arrays read-only, which pickling does not preserve."""
    pool: Pool = view.pool
    for name, value in vars(pool).items():
        if isinstance(value, np.ndarray):
            object.__setattr__(pool, name, freeze_array(value))
    return replace(view, pairs=freeze_array(view.pairs), labels=freeze_array(view.labels))


def _receive(stream: io.BufferedReader) -> bytes:
    """Read a message, or end the process at the end of the stream."""
    size = int.from_bytes(stream.read(8), "little")
    content = stream.read(size)
    if not content:  # the verifier has closed the pipe
        os._exit(0)
    return content


def _send(stream: int, kind: bytes, content: bytes) -> None:
    """Write a message to a file descriptor, in as many writes as it takes."""
    rest = memoryview(HEADER.pack(kind, len(content)) + content)
    while rest:
        rest = rest[os.write(stream, rest) :]
