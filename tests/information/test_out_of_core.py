"""A pool larger than what its optimal design may take of memory."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

N, K, DIM = 200_000, 16, 128

# A process of its own, because a process' peak never falls.
CHILD = f"""
import resource, sys
import numpy as np
from pairbench import Pool
from pairbench.information import optimal_weights

features = np.memmap(sys.argv[1], np.float32, "r", shape=({N}, {K}, {DIM}))
theta = None if sys.argv[2] == "zero" else np.full({DIM}, 0.1)
design = optimal_weights(Pool(features), theta=theta, tol=0.05)
print(design.efficiency_bound, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """1.6 GB of features, written block by block."""
    path = tmp_path_factory.mktemp("pool") / "features"
    rng, scale = np.random.default_rng(0), np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    with path.open("wb") as out:
        for _ in range(N // 2000):
            block = rng.standard_normal((2000, K, DIM), dtype=np.float32) * scale
            block.tofile(out)
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["zero", "theta"])
def test_a_pool_on_disk_takes_less_than_a_gibibyte(file: Path, root: Path, at: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(file), at],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    bound, peak = done.stdout.split()
    print(f"certificate {bound}, peak {int(peak) / 1024:.0f} MiB")
    assert float(bound) >= 0.95
    assert int(peak) < 2**20  # KiB
