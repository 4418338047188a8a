"""Timings of designs and their parts, by ``pytest tests/benchmarks --benchmark-enable``.

They assert nothing: machines differ, and shared ones are noisy.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from pairbench import Pool, View, make_design
from pairbench.information import JointLabels, gaussian_forecast, sampled_forecast

MakeView = Callable[..., View]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


def test_bald_from_draws(benchmark: BenchmarkFixture) -> None:
    """5,000 pairs and 100 draws."""
    draws = np.random.default_rng(0).normal(size=(100, 5000))
    benchmark(lambda: sampled_forecast(draws).mutual_information)


def test_bald_of_a_normal_belief(benchmark: BenchmarkFixture) -> None:
    """100,000 pairs."""
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=100_000), rng.random(100_000)
    benchmark(lambda: gaussian_forecast(mean, variance).mutual_information)


def test_joint_labels(benchmark: BenchmarkFixture) -> None:
    """Eight of 5,000 pairs over all configurations, from 100 draws."""
    draws = np.random.default_rng(0).normal(size=(100, 5000))

    def batch() -> JointLabels:
        batch = JointLabels(draws, 128, np.random.default_rng(0))
        for _ in range(8):
            batch.take(int(batch.gains().argmax()))
        return batch

    benchmark(batch)


def test_bal_pm(benchmark: BenchmarkFixture, make_view: MakeView) -> None:
    """320 of 5,000 pairs, each of its own prompt, d = 256."""
    pool = Pool(np.random.default_rng(0).normal(size=(5000, 2, 256)) / 16)
    asked = [[x, 0, 1] for x in range(320)]
    view = make_view(pool, asked, np.arange(320) % 2, n=320)
    benchmark(make_design("bal-pm").select, view, 320)


def test_leverage(benchmark: BenchmarkFixture, make_view: MakeView) -> None:
    """The best 100 of 21,000 pairs, d = 128, after 200 labels."""
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(100, 21, 128)) / 12)
    asked = rng.permutation(np.argwhere(pool.pair_mask))[:200]
    view = make_view(pool, asked, rng.integers(2, size=200), n=100)
    benchmark(make_design("leverage").select, view, 100)


@pytest.mark.parametrize(
    "name", ["apl", "bald", "batch-bald", "epig", "guro", "max-regret", "probability-variance"]
)
def test_a_round(benchmark: BenchmarkFixture, make_view: MakeView, name: str) -> None:
    """400 labels after 400, on 100 prompts × 8 completions, d = 16."""
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(100, 8, 16)) / 4)
    asked = rng.permutation(np.argwhere(pool.pair_mask))[:400]
    view = make_view(pool, asked, rng.integers(2, size=400), n=400, ridge=0.25)
    benchmark(make_design(name).select, view, 400)
