import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pairbench._util.metering import Usage, measure_usage

SIZE = 64 * 2**20


def test_nothing_is_filled_in_before_the_work_is_done() -> None:
    with measure_usage() as usage:
        assert usage == Usage()
    assert usage.seconds > 0


def test_work_that_fails_is_metered_too() -> None:
    with pytest.raises(KeyError), measure_usage() as usage:
        raise KeyError
    assert usage.seconds > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_memory_that_was_given_back_counts_at_its_peak(root: Path) -> None:
    # In a process of its own: this one may hold freed memory, which is then taken first.
    code = (
        "import numpy as np\nfrom pairbench._util.metering import measure_usage\n"
        f"with measure_usage() as usage:\n    np.ones({SIZE}, dtype=np.uint8).sum()\n"
        "print(usage.peak_bytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SIZE * 0.9 < int(done.stdout) < SIZE * 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_memory_taken_before_does_not_count() -> None:
    kept = np.ones(SIZE, dtype=np.uint8)
    with measure_usage() as usage:
        pass
    assert usage.peak_bytes is not None
    assert usage.peak_bytes < SIZE / 4
    assert kept[0] == 1


def test_where_the_system_cannot_tell_the_peak_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def write_text(self, _: str) -> int:
            raise FileNotFoundError

    monkeypatch.setattr("pairbench._util.metering._CLEAR", Absent())
    with measure_usage() as usage:
        pass
    assert usage.peak_bytes is None
    assert usage.seconds > 0
