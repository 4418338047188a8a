"""What the isolated process of a design does: give up its rights, load it, pass its answers on.

See :mod:`pairbench.submission.sandbox`. From the first line of the design on, nothing of this
process is to be believed: what stands here keeps an honest design's answers in form, and the rights
that it gives up are the kernel's to keep.
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
"""Before each answer: its kind, and the number of bytes that follow."""
READY, ANSWER, FAILURE = b"R", b"A", b"F"

MOST_WRITTEN = 2**24
"""Bytes that can be written, all files together."""
_FILES = 64  # that may be open


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = io.open(os.dup(0), "rb"), os.dup(1)  # noqa: UP020, SIM115 - a number
    told = json.loads(_received(requests))
    limit(told["processor"], told["memory"])
    forbid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a design prints is nobody's answer
        os.dup2(null, stream)
    _send(answers, READY, b"")
    design: Design | None = None
    while True:
        call, view, n = pickle.loads(_received(requests))
        try:
            if design is None:
                design = loaded(told["name"], told["params"], told["source"])
                found = np.empty(0, dtype=np.int64)
            elif call == "select":
                found = np.ascontiguousarray(as_integer_triples(design.select(_frozen(view), n)))
            else:
                found = np.asarray(design.generate(_frozen(view)))
                if found.size and not np.issubdtype(found.dtype, np.integer):
                    raise TypeError(f"expected whole numbers of prompts, got {found.dtype}")
        except BaseException as error:  # SystemExit, too: the parent is to hear of it
            text = f"{type(error).__name__}: {error}"[:1000]
            _send(answers, FAILURE, text.encode("utf-8", "replace"))
        else:
            _send(answers, ANSWER, found.astype("<i8").tobytes())


def loaded(name: str, params: dict[str, Any], source: str | None) -> Design:
    """The design that a name and a text describe.

    Args:
        name: in a spec; or of the file that the text is from, perhaps with a class.
        params: its parameters.
        source: the file's text, None for a design that ships with pairbench.

    Raises:
        PairbenchError: If it cannot be made.
    """
    if source is None:
        return make_design(name, **params)
    path, _, attribute = name.partition(".py:")
    module = ModuleType("pairbench_design")
    module.__file__ = path.removesuffix(".py") + ".py"
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, module.__file__, "exec"), vars(module))
    made = DESIGNS.construct(
        find_factory(module, DESIGNS.contract, attribute or None), f"design {name!r}", params
    )
    if isinstance(made, FunctionDesign):  # JSON has one kind of number only
        usual = inspect.signature(made.function).parameters
        for key, value in made.params.items():
            if type(value) is int and isinstance(usual[key].default, float):
                made.params[key] = float(value)
    if not isinstance(made, Design):
        raise InvalidParameter(f"{name} defines no design.")
    return made


def limit(processor: int, memory: int) -> None:
    """Take from this process what a design does not need.

    Args:
        processor: seconds that it may compute.
        memory: address space, bytes.
    """
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_AS, memory),
    ):
        resource.setrlimit(kind, (most, most))


# Why: docs/decisions/040-bubblewrap-isolates-designs.md
def forbid() -> None:
    """Have the kernel refuse the calls of :data:`_CALLS` to this process from now on.

    A seccomp filter in the classic BPF of seccomp(2): processes cannot be started, threads can.

    Raises:
        PairbenchError: If the machine is none whose calls are known, or the kernel refuses.
    """
    machine = platform.uname().machine
    if machine not in _ARCHITECTURES or sys.platform != "linux":
        raise PairbenchError(
            f"designs can be isolated on Linux on {' and '.join(_ARCHITECTURES)}, not on "
            f"{sys.platform} on {machine}."
        )
    column, architecture = _ARCHITECTURES[machine]
    numbers = [number for row in _CALLS.values() if (number := row[column]) is not None]
    clone, clone3 = (56, 220)[column], 435
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the call
        (_AT_LEAST, 0, 1, 0x40000000),  # x32's numbers for the same calls
        (_RETURN, 0, 0, _REFUSE | 1),
        (_EQUAL, 0, 1, clone3),  # whose arguments a filter cannot see; libc then takes clone
        (_RETURN, 0, 0, _REFUSE | 38),
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, 16),  # its flags
        (_ANY_OF, 1, 0, 0x10000),  # CLONE_THREAD
        (_RETURN, 0, 0, _REFUSE | 1),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number in numbers:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | 1)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for request in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, program, 0, 0)):
        if libc.prctl(*request) != 0:
            raise PairbenchError(f"no seccomp filter: {os.strerror(ctypes.get_errno())}.")


_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_CALLS: dict[str, tuple[int | None, int | None]] = {
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
    # memory that counts for no process
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
    # parts of the kernel that have had most holes
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
"""Calls that a design has no use for, with their numbers on x86_64 and on aarch64."""


def _frozen(view: View) -> View:
    """The view with arrays that cannot be written to, as every design gets it."""
    pool: Pool = view.pool
    for name, value in vars(pool).items():
        if isinstance(value, np.ndarray):
            object.__setattr__(pool, name, freeze_array(value))
    return replace(view, pairs=freeze_array(view.pairs), labels=freeze_array(view.labels))


def _received(stream: io.BufferedReader) -> bytes:
    size = int.from_bytes(stream.read(8), "little")
    content = stream.read(size)
    if not content:  # the parent is gone
        os._exit(0)
    return content


def _send(stream: int, kind: bytes, content: bytes) -> None:
    rest = memoryview(HEADER.pack(kind, len(content)) + content)
    while rest:
        rest = rest[os.write(stream, rest) :]
