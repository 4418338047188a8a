"""Measurement of wall time and peak memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Usage:
    """Wall time and peak memory of a :func:`measure_usage` block, set on exit.

    Attributes:
        seconds: wall clock.
        peak_bytes: resident memory at its peak, beyond what the process held before, memory that
            it had freed but kept included; None where the operating system cannot tell (only
            Linux can).
    """

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measure_usage() -> Iterator[Usage]:
    """Measure the work done inside the ``with`` block."""
    usage = Usage()
    try:
        _CLEAR.write_text("5")  # resets the peak, see proc(5)
        before = _kilobytes("VmRSS")
    except OSError:
        before = None
    start = time.perf_counter()
    try:
        yield usage
    finally:
        usage.seconds = time.perf_counter() - start
        if before is not None:
            usage.peak_bytes = max(0, _kilobytes("VmHWM") - before) * 1024


def _kilobytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"no {field} in {_STATUS}")
