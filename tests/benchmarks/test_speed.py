"""Timings, by ``pytest tests/benchmarks --benchmark-enable``.

They assert nothing: machines differ, and shared ones are noisy.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from pairbench import make_env, play
from pairbench.information import optimal_weights
from pairbench.training.log_linear import fit_theta
from pairbench.worlds import data
from pairbench.worlds.environment import draw_world


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


@pytest.mark.parametrize("design", ["uniform", "i-optimal", "i-optimal-two-stage"])
def test_episode_on_log_linear(benchmark: BenchmarkFixture, design: str) -> None:
    benchmark(play, "pairbench/LogLinear-v1", design, 0)


@pytest.mark.parametrize(("n", "dim"), [(1_000, 32), (10_000, 128)])
def test_dpo_fit(benchmark: BenchmarkFixture, n: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, dim))
    labels = (rng.random(n) < 1 / (1 + np.exp(-z @ rng.normal(size=dim) / np.sqrt(dim)))) * 1.0
    benchmark(fit_theta, z, labels, 1.0)


def test_optimal_weights(benchmark: BenchmarkFixture) -> None:
    pool = make_env("pairbench/LogLinear-v1", prompts=1000, completions=16, dim=32).world(0).pool
    design = benchmark(optimal_weights, pool, tol=0.05)
    benchmark.extra_info["pairs"] = pool.n_pairs
    benchmark.extra_info["efficiency_bound"] = design.efficiency_bound


@pytest.mark.parametrize("design", ["uniform", "i-optimal"])
def test_episode_on_alpaca_eval(
    benchmark: BenchmarkFixture,
    design: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = root.parent / "shared" / "data" / "alpacaeval57.npz"
    if not file.exists():
        pytest.skip(f"there is no AlpacaEval pool at {file}")
    monkeypatch.setenv("PAIRBENCH_DATA", str(tmp_path))
    data.add(file)
    environment = make_env("pairbench/AlpacaEval57-v1")
    _ = draw_world(environment, 0).optimal_criterion  # what all designs of a world share
    benchmark(play, environment, design, 0)
