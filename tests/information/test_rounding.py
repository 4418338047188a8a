from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pairs
from pairbench.information import round_to_pairs
from pairbench.information.rounding import METHODS

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def support(size: int) -> Pairs:
    return np.array([[k // 3, k % 3, 3] for k in range(size)])


def counts_of(pairs: Pairs, chosen: Pairs) -> NDArray[np.int64]:
    rows = {tuple(row): k for k, row in enumerate(pairs.tolist())}
    return np.bincount([rows[tuple(row)] for row in chosen.tolist()], minlength=len(pairs))


@given(SEEDS, st.integers(1, 12), st.integers(0, 60), st.sampled_from(METHODS), st.booleans())
def test_there_are_n_pairs_of_the_support(
    seed: int, size: int, n: int, method: str, with_zeros: bool
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(size) + 0.01
    if with_zeros:
        weights[1::3] = 0
    if method == "efficient":
        n += size
    pairs = support(size)
    counts = counts_of(pairs, round_to_pairs(pairs, weights, n, rng, method=method))
    assert counts.sum() == n
    assert (counts[weights == 0] == 0).all()
    expected = n * weights / weights.sum()
    if method == "systematic":
        assert (counts >= np.floor(expected - 1e-9)).all()
        assert (counts <= np.ceil(expected + 1e-9)).all()


@pytest.mark.parametrize("method", ["independent", "systematic"])
def test_the_expectation_is_the_weight(method: str) -> None:
    rng = np.random.default_rng(0)
    pairs, weights, n, draws = support(6), np.array([0.3, 0.02, 0.0, 0.43, 0.05, 0.2]), 7, 20_000
    total = np.zeros(6)
    for _ in range(draws):
        total += counts_of(pairs, round_to_pairs(pairs, weights, n, rng, method=method))
    # Four standard errors, of no more than a binomial's variance.
    error = 4 * np.sqrt(n * weights * (1 - weights) / draws)
    assert (np.abs(total / draws - n * weights) <= error + 1e-12).all()


def test_the_order_is_random() -> None:
    pairs, weights = support(2), np.array([0.5, 0.5])
    rng = np.random.default_rng(0)
    first = [round_to_pairs(pairs, weights, 2, rng)[0, 1] for _ in range(200)]
    assert 60 < np.sum(first) < 140


@given(SEEDS, st.integers(1, 12), st.data(), st.sampled_from(["independent", "systematic"]))
def test_without_repeats_all_are_different(
    seed: int, size: int, data: st.DataObject, method: str
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(size) ** 6 + 1e-6
    n = data.draw(st.integers(0, size))
    chosen = round_to_pairs(support(size), weights, n, rng, method=method, repeats=False)
    assert chosen.shape == (n, 3)
    assert len(np.unique(chosen, axis=0)) == n


def test_without_repeats_what_is_cut_off_goes_to_the_others_in_proportion() -> None:
    rng, pairs = np.random.default_rng(0), support(4)
    weights, total, draws = np.array([0.9, 0.06, 0.03, 0.01]), np.zeros(4), 4000
    for _ in range(draws):
        total += counts_of(pairs, round_to_pairs(pairs, weights, 2, rng, repeats=False))
    np.testing.assert_allclose(total / draws, [1, 0.6, 0.3, 0.1], atol=0.035)


@given(SEEDS, st.integers(1, 8), st.integers(0, 30))
def test_efficient_rounding_loses_least_in_the_worst_case(seed: int, size: int, more: int) -> None:
    """min_k n_k / (n w_k) is the proven efficiency of a rounding; none has a larger one."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 30, size=size)
    n, pairs = size + more, support(size)
    share = [Fraction(int(w), int(weights.sum())) for w in weights]
    chosen = round_to_pairs(pairs, weights.astype(np.float64), n, rng, method="efficient")
    counts = counts_of(pairs, chosen)
    # Pukelsheim and Rieder's characterisation: with multiplier n − s/2, or what the steps make of
    # it, no label can be moved to the benefit of the least: max (n_k − 1)/w_k ≤ min n_k/w_k.
    largest = max((int(c) - 1) / w for c, w in zip(counts, share, strict=True))
    least = min(int(c) / w for c, w in zip(counts, share, strict=True))
    assert largest <= least
    assert counts.min() >= 1
    again = round_to_pairs(pairs, weights.astype(np.float64), n, rng, method="efficient")
    np.testing.assert_array_equal(counts, counts_of(pairs, again))


@pytest.mark.parametrize(
    ("weights", "n", "options", "message"),
    [
        ([1.0, 1.0], 2, {"method": "systematc"}, "no rounding 'systematc'. Did you mean 'systema"),
        (
            [1.0, 0.0],
            2,
            {"repeats": False},
            "n must be at most 1, the number of pairs that have weight, got 2",
        ),
        ([0.5, 0.5], 1, {"method": "efficient"}, "needs a label for each of the 2 pairs"),
        ([0.9, 0.1], 2, {"method": "efficient", "repeats": False}, None),
        ([-0.1, 1.1], 2, {}, "weights must be .* not negative"),
        ([0.0, 0.0], 2, {}, "weights must be .* not all zero"),
        ([np.nan, 1.0], 2, {}, "weights must be finite"),
        ([1.0], 2, {}, r"weights must .* \(2,\), one for each pair, got shape \(1,\)"),
        ([1.0, 1.0], -1, {}, "n must be 0 or more, got -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    weights: list[float], n: int, options: dict[str, object], message: str | None
) -> None:
    rng = np.random.default_rng(0)
    if message is None:
        chosen = round_to_pairs(support(2), np.array(weights), n, rng, **options)  # type: ignore[arg-type]
        assert len(np.unique(chosen, axis=0)) == n
        return
    with pytest.raises(InvalidParameter, match=message):
        round_to_pairs(support(2), np.array(weights), n, rng, **options)  # type: ignore[arg-type]
