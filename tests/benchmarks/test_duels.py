"""Timings of the duel rules, by ``pytest tests/benchmarks/test_duels.py --benchmark-enable``.

They assert nothing: machines differ, and shared ones are noisy.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from pairbench import DuelDesign, LaplaceBelief, Pool, make_design
from pairbench.design.registry import design_names

PROMPTS, COMPLETIONS, DIM = 2000, 17, 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def belief() -> LaplaceBelief:
    """A belief of which everything that rules share is computed, as after a round's first turn."""
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(PROMPTS, COMPLETIONS, DIM)) / np.sqrt(DIM))
    root = rng.normal(size=(DIM, 2 * DIM))
    precision = np.eye(DIM) + root @ root.T / 4
    belief = LaplaceBelief(pool, rng.normal(size=DIM), precision, np.zeros(pool.valid.shape))
    _ = belief.mean, belief.variance, pool.pair_mask
    return belief


@pytest.mark.parametrize(
    "design", [name for name in design_names() if isinstance(make_design(name), DuelDesign)]
)
def test_duel(benchmark: BenchmarkFixture, belief: LaplaceBelief, design: str) -> None:
    rule, rng = make_design(design), np.random.default_rng(0)
    assert isinstance(rule, DuelDesign)
    benchmark(rule.duel, belief, rng)
