"""Searches and solvers at scale, by ``pytest tests/benchmarks --benchmark-enable -s``.

Each timing is put in relation to what it cannot do without on this machine: ``gemm`` is the time of
a plain float32 matrix product of one search's N K d² + N K² d multiply-adds, ``stream`` that of one
copy of the features. Machines differ, and shared ones are noisy: compare the ratios.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from pairbench import Pool
from pairbench.information import greedy_pairs, optimal_weights

_EDGE = 1024  # of the matrix product that is timed


def made_pool(prompts: int, completions: int, dim: int) -> Pool:
    """Gaussian features of standard deviations k^−½."""
    phi = np.random.default_rng(0).standard_normal((prompts, completions, dim), dtype=np.float32)
    phi *= np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    return Pool(phi)


def seconds(function: Callable[[], object], rounds: int = 3) -> float:
    """The least time of a few."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def timed(
    benchmark: BenchmarkFixture,
    function: Callable[..., Any],
    *args: Any,
    rounds: int,
    **options: Any,
) -> Any:
    """Time a few calls of what takes seconds."""
    return benchmark.pedantic(function, args, options, rounds=rounds)  # type: ignore[no-untyped-call]


def record(benchmark: BenchmarkFixture, pool: Pool, **more: float) -> None:
    """Ratios to what the machine does at best, and the peak memory of the process so far."""
    n, k, d = pool.features.shape
    square: NDArray[np.float32] = np.ones((_EDGE, _EDGE), dtype=np.float32)
    gemm = seconds(lambda: square @ square) * (n * k * d * d + n * k * k * d) / _EDGE**3
    stream = seconds(pool.features.copy)
    assert benchmark.stats is not None
    seconds_taken = benchmark.stats.stats.min
    info = {"pairs": pool.n_pairs, "gemm_s": gemm, "stream_s": stream, **more}
    info |= {
        "seconds": seconds_taken,
        "per_gemm": seconds_taken / gemm,
        "per_stream": seconds_taken / stream,
    }
    info["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    benchmark.extra_info.update(info)
    print(" ".join(f"{name}={value:.4g}" for name, value in info.items()))


@pytest.mark.parametrize(
    ("prompts", "completions", "dim", "rounds"),
    [(1000, 16, 64, 3), (10_000, 32, 64, 1), (10_000, 32, 256, 1)],
    ids=["120k-d64", "5M-d64", "5M-d256"],
)
def test_certificate_of_99_percent(
    benchmark: BenchmarkFixture, prompts: int, completions: int, dim: int, rounds: int
) -> None:
    pool = made_pool(prompts, completions, dim)
    design = timed(benchmark, optimal_weights, pool, tol=0.01, threads=2, rounds=rounds)
    record(benchmark, pool, bound=design.efficiency_bound, searches=design.iterations + 1)


@pytest.mark.parametrize(
    ("prompts", "completions", "dim", "n", "rounds"),
    [(1, 1500, 100, 100, 3), (1, 14_142, 100, 100, 1), (10_000, 32, 64, 1000, 1)],
    ids=["1M-d100", "100M-d100", "5M-d64"],
)
def test_greedy_d(
    benchmark: BenchmarkFixture, prompts: int, completions: int, dim: int, n: int, rounds: int
) -> None:
    pool = made_pool(prompts, completions, dim)
    timed(benchmark, greedy_pairs, pool, n, prior=1.0, threads=2, rounds=rounds)
    record(benchmark, pool, n=n)
