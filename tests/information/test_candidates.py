from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import Pairs, Pool
from pairbench.information import candidates
from pairbench.information.candidates import AllPairs, Candidates, ListedPairs, SearchResult
from tests.information.reference import all_pairs, differences, slope

MakePool = Callable[..., Pool]
Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def true_values(
    pool: Pool, pairs: Pairs, rewards: list[Array | None], factors: list[Array]
) -> Array:
    """Σ_k ω_k ‖L_kᵀz‖², from the definition."""
    z, total = differences(pool, pairs), np.zeros(len(pairs))
    x, i, j = pairs.T
    for r, root in zip(rewards, factors, strict=True):
        omega = np.full(len(z), 0.25) if r is None else slope(r[x, i] - r[x, j])
        total += omega * np.square(z @ root).sum(axis=1)
    return total


def check(found: SearchResult, pairs: Pairs, values: Array, count: int, exhaustive: bool) -> None:
    """What a search says of all candidates holds."""
    rows = {tuple(row): k for k, row in enumerate(pairs.tolist())}
    mine = [rows[tuple(row)] for row in found.pairs.tolist()]
    assert len(set(mine)) == len(mine)
    np.testing.assert_allclose(found.values, values[mine], rtol=1e-9, atol=1e-200 * values.max())
    assert (np.diff(found.values) <= 0).all()
    # Rounding of the definition itself, and what is lost below the least number.
    slack = 1 - 1e-12
    values = np.where(values > 1e-200 * values.max(), values, 0)
    assert found.bound >= values.max() * slack
    others = np.delete(values, mine)
    assert not len(others) or found.threshold >= others.max() * slack
    assert len(mine) <= count
    if exhaustive:
        assert len(mine) == min(count, len(pairs))
    # The best is among them, but for what rounding cannot tell apart, as the bound says.
    assert found.values[0] >= values.max() * (1 - 2e-3) or found.bound > 2 * values.max()


@settings(max_examples=200)
@given(
    seed=SEEDS,
    scale=st.sampled_from([1.0, 1e-25, 1e-12, 1e12, 1e18]),
    rewards=st.sampled_from(["none", "weak", "strong", "wild"]),
    atoms=st.integers(1, 3),
    count=st.integers(1, 40),
    flags=st.tuples(*[st.booleans()] * 3),
    memory=st.sampled_from([1000, 2**28]),
)
def test_largest_is_what_brute_force_finds(
    make_pool: MakePool,
    seed: int,
    scale: float,
    rewards: str,
    atoms: int,
    count: int,
    flags: tuple[bool, bool, bool],
    memory: int,
) -> None:
    exhaustive, ragged, listed = flags
    rng = np.random.default_rng(seed)
    shape = rng.integers([1, 2, 1], [6, 7, 5]).tolist()
    base = make_pool(seed, *shape, ragged=ragged, duplicates=seed % 7 == 0)
    pool = Pool((base.features + 10 * (seed % 3 == 0)) * np.float32(scale), valid=base.valid)
    size = {"none": 0.0, "weak": 1.0, "strong": 50.0, "wild": 1e4}[rewards]
    atom_rewards: list[Array | None] = [size * rng.normal(size=shape[:2]) for _ in range(atoms)]
    if rewards == "none":
        atom_rewards = [None] * atoms
    factors = [rng.normal(size=(pool.dim, int(rng.integers(1, 4)))) for _ in range(atoms)]
    pairs, search = all_pairs(pool), AllPairs(pool, atom_rewards, memory=memory)
    chosen: Candidates = search
    if listed:
        pairs = pairs[rng.permutation(len(pairs))[: len(pairs) // 2 + 1]]
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        chosen = ListedPairs(pool, atom_rewards, pairs[:, [0, 2, 1]])
    found = chosen.find_largest(factors, count, exhaustive=exhaustive)
    values = true_values(pool, pairs, atom_rewards, factors)
    if values.max() > 1e-10 * scale**2:  # below, saturated labels drown in rounding errors
        check(found, pairs, values, count, exhaustive or listed)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-8, 1.0, 1e8, 1e17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_bound_holds_at_any_scale(scale: float, dtype: type) -> None:
    """Also where features differ by little from a large mean, and by orders from each other."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        phi = rng.normal(size=(4, 5, 6)) * 10.0 ** rng.integers(-4, 4, size=6)
        phi += 100 * rng.normal(size=(4, 1, 6))
        pool = Pool(phi * scale)
        factors = [rng.normal(size=(6, 6)) * 10.0 ** rng.integers(-4, 4, size=(6, 1))]
        search = AllPairs(pool, [None])
        found, error = search._search(dtype, factors, 10, False)
        values = true_values(pool, all_pairs(pool), [None], factors)
        if np.isfinite(found.bound):
            assert found.bound >= values.max() * (1 - 1e-12)
            assert found.bound - error <= values.max() + error
        sure = search.find_largest(factors, 10)
        assert values.max() * (1 - 1e-12) <= sure.bound <= values.max() * 1.002


def test_float32_is_given_up_where_it_is_too_coarse(make_pool: MakePool) -> None:
    pool, factors = make_pool(0, 4, 5, 3), [np.eye(3)]
    search, largest = (
        AllPairs(pool, [None]),
        true_values(make_pool(0, 4, 5, 3), all_pairs(pool), [None], [np.eye(3)]).max(),
    )
    assert 1e-9 < search.find_largest(factors, 10).bound / largest - 1 < 1e-3
    assert 0 < search.find_largest(factors, 10, slack=1e-9).bound / largest - 1 < 1e-9


class Reversed:
    """An executor that runs its jobs in reverse, as threads may."""

    def __init__(self, threads: int) -> None:
        pass

    def __enter__(self) -> "Reversed":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> list[Any]:
        done = [function(job) for job in reversed(list(jobs))]
        return done[::-1]


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_ties_do_not_depend_on_the_order_of_the_tiles(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, exhaustive: bool, count: int
) -> None:
    pool = Pool(np.tile(make_pool(0, 2, 5, 3).features, (6, 1, 1)))
    factors = [np.eye(3)]
    forward = AllPairs(pool, [None], memory=2000, threads=1).find_largest(
        factors, count, exhaustive=exhaustive
    )
    monkeypatch.setattr(candidates, "ThreadPoolExecutor", Reversed)
    search = AllPairs(pool, [None], memory=4000, threads=2)
    assert len(search.tiles) > 5
    backward = search.find_largest(factors, count, exhaustive=exhaustive)
    np.testing.assert_array_equal(forward.pairs, backward.pairs)
    assert forward[2:] == backward[2:]


def test_the_rewards_of_completions_that_are_not_there_do_not_count(make_pool: MakePool) -> None:
    pool = make_pool(3, 5, 5, 3, ragged=True)
    rewards = np.where(pool.valid, np.random.default_rng(0).normal(size=(5, 5)), 1e6)
    found = AllPairs(pool, [rewards]).find_largest([np.eye(3)], 10, slack=1e-4, exhaustive=True)
    values = true_values(pool, all_pairs(pool), [rewards], [np.eye(3)])
    assert found.bound <= values.max() * 1.0001


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("at", [None, 1.0, 100.0])
def test_torch_finds_what_numpy_finds(
    make_pool: MakePool, at: float | None, device: str | None
) -> None:
    pool, rng = make_pool(3, 9, 6, 3, ragged=True), np.random.default_rng(0)
    rewards = [None if at is None else at * rng.normal(size=(9, 6))]
    values = true_values(pool, all_pairs(pool), rewards, [np.eye(3)])
    for exhaustive in (False, True):
        found = AllPairs(pool, rewards, device=device).find_largest(
            [np.eye(3)], 12, exhaustive=exhaustive
        )
        check(found, all_pairs(pool), values, 12, exhaustive)


def test_the_mean_information_is_that_of_the_pairs(make_pool: MakePool) -> None:
    pool = make_pool(3, 5, 5, 3, ragged=True)
    rewards = [None, pool.phi @ np.array([1.0, -2.0, 0.5])]
    pairs = all_pairs(pool)
    both: tuple[Candidates, ...] = (AllPairs(pool, rewards), ListedPairs(pool, rewards, pairs))
    for search in both:
        for found, r in zip(search.mean_information(), rewards, strict=True):
            z, (x, i, j) = differences(pool, pairs), pairs.T
            omega = np.full(len(z), 0.25) if r is None else slope(r[x, i] - r[x, j])
            np.testing.assert_allclose(found, (z.T * omega) @ z / len(z), rtol=1e-10)
        assert search.at_zero().rewards == (None,)


def test_a_listed_pair_counts_once(make_pool: MakePool) -> None:
    search = ListedPairs(make_pool(), [None], np.array([[0, 1, 0], [0, 0, 1], [1, 2, 3]]))
    np.testing.assert_array_equal(search.pairs, [[0, 0, 1], [1, 2, 3]])


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("0", None), ("", None), ("x", None)])
def test_the_default_threads_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = candidates.default_threads()
    assert found == threads if threads else found >= 1
