from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from pairbench.errors import BudgetExceeded, InvalidPairs, InvalidPool
from pairbench.pool.pairs import (
    as_integer_triples,
    check_pairs,
    count_repeats,
    pair_numbers,
    pairs_from_numbers,
)
from pairbench.pool.pool import Pool, freeze_array

ARRAYS = ("features", "log_ref", "lengths", "valid", "prompt_weights", "phi", "pair_mask")
ONES = np.ones((2, 3, 2))
ZEROS = np.zeros((2, 3))


def with_value(array: NDArray[Any], place: tuple[int, ...], value: float) -> NDArray[Any]:
    changed = array.astype(np.float64)
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("features", "others", "message"),
    [
        (with_value(ONES, (1, 0, 1), np.nan), {}, r"features must be finite; 1 prompts \(1\) of 2"),
        (with_value(ONES, (0, 0, 1), np.inf), {}, r"features must be finite; 1 prompts \(0\) of 2"),
        (np.ones((2, 3)), {}, r"\(prompts, completions, dim\), got shape \(2, 3\)"),
        (np.ones((0, 3, 2)), {}, r"non-empty .* got shape \(0, 3, 2\)"),
        (np.ones((2, 0, 2)), {}, r"non-empty .* got shape \(2, 0, 2\)"),
        (np.ones((2, 3, 0)), {}, r"non-empty .* got shape \(2, 3, 0\)"),
        (np.ones((7, 1, 2)), {}, r"7 prompts \(0, 1, 2, 3, 4, …\) of 7 have fewer"),
        (ONES, {"valid": [[1, 0, 0], [1, 1, 0]]}, r"two valid .*; 1 prompts \(0\) of 2"),
        (ONES, {"valid": np.ones((3, 2))}, r"valid must have shape \(2, 3\) .*, got \(3, 2\)"),
        (ONES, {"log_ref": np.zeros(3)}, r"log_ref must have shape \(2, 3\) .*, got \(3,\)"),
        (ONES, {"log_ref": with_value(ZEROS, (1, 1), np.nan)}, r"log_ref must be finite .* \(1\)"),
        (ONES, {"log_ref": with_value(ZEROS, (1, 1), np.inf)}, r"log_ref must be finite .* \(1\)"),
        (ONES, {"log_ref": with_value(ZEROS, (0, 1), -np.inf)}, r"π_ref cannot produce"),
        (
            ONES,
            {"lengths": with_value(ZEROS, (0, 1), -1)},
            r"lengths must be whole numbers of tokens",
        ),
        (ONES, {"lengths": with_value(ZEROS, (0, 1), np.nan)}, r"lengths must be whole numbers of"),
        (ONES, {"lengths": with_value(ZEROS, (0, 1), np.inf)}, r"lengths must be whole numbers of"),
        (ONES, {"lengths": np.ones((2, 2))}, r"lengths must have shape \(2, 3\) .*, got \(2, 2\)"),
        (ONES, {"lengths": np.ones(3)}, r"lengths must have shape \(2, 3\) .*, got \(3,\)"),
        (ONES, {"prompt_weights": [1.0, 0.0]}, r"prompt_weights must be positive and finite"),
        (ONES, {"prompt_weights": [1.0, -1.0]}, r"prompt_weights must be positive and finite"),
        (ONES, {"prompt_weights": [1.0, np.nan]}, r"prompt_weights must be positive and finite"),
        (ONES, {"prompt_weights": [1.0, np.inf]}, r"prompt_weights must be positive and finite"),
        (ONES, {"prompt_weights": np.ones(3)}, r"prompt_weights must have shape \(2,\)"),
        (ONES, {"scores": np.zeros((3, 2))}, r"scores must have shape \(2, 3\) .*, got \(3, 2\)"),
        (ONES, {"scores": np.zeros(3)}, r"scores must have shape \(2, 3\) .*, got \(3,\)"),
        (
            ONES,
            {"scores": with_value(ZEROS, (1, 1), np.nan)},
            r"scores must be finite .* \(1\) of 2",
        ),
        (
            ONES,
            {"scores": with_value(ZEROS, (0, 2), -np.inf)},
            r"scores must be finite where valid",
        ),
        (ONES, {"texts": [["a", "b", "c"]]}, r"texts must be 2 sequences of 3 texts"),
        (ONES, {"texts": [["a", "b", "c"], ["a", "b"]]}, r"texts must be 2 sequences of 3 texts"),
    ],
)
def test_a_bad_pool_is_refused_by_name(
    features: NDArray[Any], others: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidPool, match=message):
        Pool(features, **others)


def test_what_is_not_given_is_uniform() -> None:
    pool = Pool(ONES)
    np.testing.assert_allclose(pool.log_ref, -np.log(3))
    np.testing.assert_array_equal(pool.lengths, 1)
    np.testing.assert_allclose(pool.prompt_weights, 0.5)
    assert pool.valid.all()
    assert pool.texts is None
    assert pool.scores is None
    assert (pool.n_prompts, pool.n_completions, pool.dim, pool.n_pairs) == (2, 3, 2, 6)


def test_the_reference_and_the_weights_are_normalised() -> None:
    pool = Pool(ONES, log_ref=[[1000, 1001, 999], [-5, -5, -2000]], prompt_weights=[1, 3])
    np.testing.assert_allclose(np.exp(pool.log_ref).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(pool.log_ref[0, 0] - pool.log_ref[0, 2], 1)
    assert pool.log_ref[1, 2] == pytest.approx(-1995 - np.log(2))
    np.testing.assert_allclose(pool.prompt_weights, [0.25, 0.75])


def test_a_ragged_pool_zeroes_what_is_not_there() -> None:
    valid = np.array([[True, False, True], [True, True, True]])
    nowhere = np.where(valid, 2.0, np.nan)
    pool = Pool(
        np.repeat(nowhere[:, :, None], 2, axis=2),
        log_ref=nowhere,
        lengths=nowhere,
        valid=valid,
        scores=nowhere,
    )
    np.testing.assert_array_equal(pool.features[0, 1], 0)
    assert pool.log_ref[0, 1] == -np.inf
    assert pool.lengths[0, 1] == 0
    assert pool.scores is not None
    np.testing.assert_array_equal(pool.scores, np.where(valid, 2.0, 0.0))
    np.testing.assert_allclose(pool.log_ref[0, [0, 2]], -np.log(2))
    assert pool.n_pairs == 1 + 3
    np.testing.assert_array_equal(
        np.argwhere(pool.pair_mask), [[0, 0, 2], [1, 0, 1], [1, 0, 2], [1, 1, 2]]
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 6))
def test_n_pairs_counts_the_pair_mask(
    make_pool: Callable[..., Pool], seed: int, prompts: int, completions: int
) -> None:
    pool = make_pool(seed, prompts, completions, ragged=True)
    assert pool.n_pairs == pool.pair_mask.sum()


@pytest.mark.parametrize("name", ARRAYS)
def test_no_array_of_a_pool_can_be_written_to(make_pool: Callable[..., Pool], name: str) -> None:
    array = getattr(make_pool(), name)
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)


def test_scores_cannot_be_written_to(make_pool: Callable[..., Pool]) -> None:
    scores = np.ones((5, 4))
    pool = make_pool().with_scores(scores)
    scores[:] = 7
    assert pool.scores is not None
    np.testing.assert_array_equal(pool.scores, 1)
    assert pool.scores.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        pool.scores[...] = 0


def test_a_pool_with_scores_is_otherwise_the_same(make_pool: Callable[..., Pool]) -> None:
    whole = make_pool(ragged=True, weighted=True)
    texts = [[f"{i} {j}" for j in range(4)] for i in range(5)]
    pool = Pool(
        whole.features,
        log_ref=np.where(whole.valid, whole.log_ref, 0),
        lengths=whole.lengths,
        valid=whole.valid,
        prompt_weights=whole.prompt_weights,
        texts=texts,
    )
    scored = pool.with_scores(np.where(pool.valid, 3.0, np.nan))
    np.testing.assert_array_equal(scored.scores, np.where(pool.valid, 3.0, 0.0))
    for name in ("features", "lengths", "valid", "texts"):
        np.testing.assert_array_equal(getattr(scored, name), getattr(pool, name))
    for name in ("log_ref", "prompt_weights"):
        np.testing.assert_allclose(getattr(scored, name), getattr(pool, name), atol=1e-14)
    assert pool.scores is None
    with pytest.raises(InvalidPool, match="scores must have shape"):
        pool.with_scores(np.ones(3))


def test_no_attribute_of_a_pool_can_be_set(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    with pytest.raises(FrozenInstanceError):
        pool.features = np.zeros((1, 2, 3), dtype=np.float32)  # type: ignore[misc]


def test_a_pool_keeps_nothing_of_the_arrays_it_was_made_of() -> None:
    phi, texts = np.ones((2, 3, 2), dtype=np.float32), [["a", "b", "c"], ["d", "e", "f"]]
    pool = Pool(phi, texts=texts)
    phi[:], texts[0][0] = 7, "changed"
    np.testing.assert_array_equal(pool.features, 1)
    assert pool.texts == (("a", "b", "c"), ("d", "e", "f"))


def test_frozen_array_keeps_values_shape_and_dtype() -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2]
    frozen = freeze_array(array)
    np.testing.assert_array_equal(frozen, array)
    assert frozen.dtype == array.dtype


@pytest.mark.parametrize("chosen", [[3, 0], [True, False, False, True, False], np.array([4])])
def test_a_subset_keeps_its_prompts_and_renormalises_their_weights(
    make_pool: Callable[..., Pool], chosen: list[Any]
) -> None:
    whole = make_pool(ragged=True, weighted=True)
    texts = [[f"{i} {j}" for j in range(4)] for i in range(5)]
    pool = Pool(
        whole.features,
        log_ref=np.where(whole.valid, whole.log_ref, 0),
        lengths=whole.lengths,
        valid=whole.valid,
        prompt_weights=whole.prompt_weights,
        texts=texts,
        scores=np.arange(20).reshape(5, 4),
    )
    part, index = pool.subset(chosen), np.arange(5)[np.asarray(chosen)]
    for name in ("features", "lengths", "valid", "scores"):
        np.testing.assert_array_equal(getattr(part, name), getattr(pool, name)[index])
    np.testing.assert_allclose(part.log_ref, pool.log_ref[index], atol=1e-14)
    share = pool.prompt_weights[index]
    np.testing.assert_allclose(part.prompt_weights, share / share.sum())
    assert part.texts == tuple(tuple(texts[i]) for i in index)


def test_differences_are_first_minus_second(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool()
    z = pool.differences(np.array([[2, 1, 3], [0, 3, 0]]))
    expected = [
        pool.features[2, 1].astype(float) - pool.features[2, 3],
        pool.features[0, 3].astype(float) - pool.features[0, 0],
    ]
    np.testing.assert_array_equal(z, expected)
    assert z.dtype == np.float64


@given(
    st.integers(0, 100),
    st.lists(
        st.tuples(*[st.integers(-2, 5)] * 3) | st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 3)
    ),
)
def test_proper_is_two_different_valid_completions_of_one_prompt(
    make_pool: Callable[..., Pool], seed: int, rows: list[tuple[int, int, int]]
) -> None:
    pool = make_pool(seed, ragged=True)
    there = {(int(x), int(i)) for x, i in np.argwhere(pool.valid)}
    expected = [i != j and (x, i) in there and (x, j) in there for x, i, j in rows]
    found = pool.proper(np.array(rows, dtype=np.int64).reshape(-1, 3))
    assert found.tolist() == expected


VALID = np.array([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (None, InvalidPairs, r"returned shape \(\) of dtype object; expected \(n, 3\) rows"),
        ("pairs", InvalidPairs, r"returned shape \(\) "),
        ([0, 0, 1], InvalidPairs, r"returned shape \(3,\) "),
        ([[0, 1]], InvalidPairs, r"returned shape \(1, 2\) "),
        ([[[0, 0, 1]]], InvalidPairs, r"returned shape \(1, 1, 3\) "),
        ([[0, 0, 1], [0, 1]], InvalidPairs, r"returned something that is no array"),
        ([[0.0, 0.0, 1.0]], InvalidPairs, r"dtype float64; expected integers"),
        ([[0, 0, np.nan]], InvalidPairs, r"NaN or infinite indices in 1 of 1 rows"),
        ([[False, False, True]], InvalidPairs, r"dtype bool; expected integers"),
        ([["0", "0", "1"]], InvalidPairs, r"expected integers"),
        ([[0, 0, None]], InvalidPairs, r"dtype object; expected integers"),
        ([[0, 0, 2**70]], InvalidPairs, r"dtype object; expected integers"),
        (np.array([[0, 0, 2**64 - 1]], dtype=np.uint64), InvalidPairs, r"no int64 can hold"),
        ([[0, 0, 1], [0, 1, 1]], InvalidPairs, r"1 improper of 2 .* row 1: .* 1 with itself"),
        ([[2, 0, 1]], InvalidPairs, r"prompt 2 is outside the pool, which has prompts 0 to 1"),
        ([[-1, 0, 1]], InvalidPairs, r"prompt -1 is outside the pool"),
        ([[0, 0, 3]], InvalidPairs, r"completion 3 is outside the pool, .* completions 0 to 2"),
        ([[0, -1, 2]], InvalidPairs, r"completion -1 is outside the pool"),
        ([[1, 0, 2]], InvalidPairs, r"completion 2 of prompt 1 is not valid"),
        ([[0, 0, 2**62]], InvalidPairs, r"completion 4611686018427387904 is outside"),
        ([[0, 0, 1]] * 3, BudgetExceeded, r"mine asked for 3 pairs, where 2 labels are left"),
        ([[0, 0, 0]] * 3, BudgetExceeded, r"mine asked for 3 pairs, where 2 labels are left"),
    ],
)
def test_a_bad_answer_is_refused_by_name(
    answer: object, error: type[Exception], message: str
) -> None:
    pool = Pool(np.ones((2, 3, 1)), valid=VALID)
    with pytest.raises(error, match=message):
        check_pairs(answer, pool, 2, "mine")


@pytest.mark.parametrize(
    "answer",
    [
        [[0, 2, 1], [1, 0, 1]],
        np.array([[0, 2, 1], [1, 0, 1]], dtype=np.uint64),
        np.array([[0, 2, 1], [1, 0, 1]], dtype=np.int8),
    ],
)
def test_a_good_answer_comes_back_as_int64(answer: object) -> None:
    pairs = check_pairs(answer, Pool(np.ones((2, 3, 1)), valid=VALID), 2)
    assert pairs.dtype == np.int64
    np.testing.assert_array_equal(pairs, [[0, 2, 1], [1, 0, 1]])


@pytest.mark.parametrize("answer", [[], (), np.empty((0, 3))])
def test_no_rows_are_rows_too(answer: object) -> None:
    assert as_integer_triples(answer).shape == (0, 3)
    assert np.issubdtype(as_integer_triples(answer).dtype, np.integer)


def test_rows_need_not_be_pairs() -> None:
    np.testing.assert_array_equal(as_integer_triples([[-5, 0, 0]]), [[-5, 0, 0]])
    with pytest.raises(InvalidPairs, match=r"^mine returned shape \(3,\)"):
        as_integer_triples([0, 0, 1], "mine")


def test_an_empty_answer_buys_nothing() -> None:
    pairs = check_pairs(np.empty((0, 3)), Pool(np.ones((2, 3, 1))), 0)
    assert pairs.shape == (0, 3)
    assert pairs.dtype == np.int64


def test_a_checked_answer_is_a_copy() -> None:
    answer = np.array([[0, 0, 1]])
    pairs = check_pairs(answer, Pool(np.ones((2, 3, 1))), 1)
    answer[:] = 9
    np.testing.assert_array_equal(pairs, [[0, 0, 1]])


QUESTIONS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)).filter(
        lambda row: row[1] != row[2]
    ),
    max_size=25,
)


@given(QUESTIONS, QUESTIONS)
def test_repeats_counts_as_plain_python_does(
    past: list[tuple[int, int, int]], now: list[tuple[int, int, int]]
) -> None:
    seen = Counter((x, min(i, j), max(i, j)) for x, i, j in past)
    expected = []
    for x, i, j in now:
        expected.append(seen[x, min(i, j), max(i, j)])
        seen[x, min(i, j), max(i, j)] += 1
    found = count_repeats(
        np.array(now, dtype=np.int64).reshape(-1, 3), np.array(past, dtype=np.int64).reshape(-1, 3)
    )
    assert found.tolist() == expected


# pair_numbers and numbered_pairs


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 9), st.booleans())
def test_pairs_are_numbered_as_the_pair_mask_lists_them(
    make_pool: Callable[..., Pool], seed: int, prompts: int, completions: int, ragged: bool
) -> None:
    pool = make_pool(seed, prompts, completions, ragged=ragged)
    listed = np.argwhere(pool.pair_mask)
    numbers = np.arange(pool.n_pairs)
    np.testing.assert_array_equal(pairs_from_numbers(pool, numbers), listed)
    np.testing.assert_array_equal(pair_numbers(pool, listed), numbers)
    np.testing.assert_array_equal(pair_numbers(pool, listed[:, [0, 2, 1]]), numbers)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 10**6), max_size=30))
def test_numbers_may_come_in_any_order_and_again(
    make_pool: Callable[..., Pool], seed: int, drawn: list[int]
) -> None:
    pool = make_pool(seed, 4, 5, ragged=True)
    numbers = np.array(drawn, dtype=np.int64) % pool.n_pairs
    pairs = pairs_from_numbers(pool, numbers)
    assert pairs.shape == (len(drawn), 3)
    assert pairs.dtype == np.int64
    np.testing.assert_array_equal(pairs, np.argwhere(pool.pair_mask)[numbers].reshape(-1, 3))
    np.testing.assert_array_equal(pair_numbers(pool, pairs), numbers)


def test_pairs_of_a_wide_pool_are_numbered_without_a_list_of_them() -> None:
    size = 30_000
    pool = Pool(np.zeros((3, size, 1)))
    each = size * (size - 1) // 2
    ends = np.array([0, size - 2, size - 1, each - 1, each, 3 * each - 1])
    expected = [
        [0, 0, 1],
        [0, 0, size - 1],
        [0, 1, 2],
        [0, size - 2, size - 1],
        [1, 0, 1],
        [2, size - 2, size - 1],
    ]
    np.testing.assert_array_equal(pairs_from_numbers(pool, ends), expected)
    numbers = np.random.default_rng(0).integers(pool.n_pairs, size=10_000)
    np.testing.assert_array_equal(pair_numbers(pool, pairs_from_numbers(pool, numbers)), numbers)


MakeMapped = Callable[..., np.memmap[Any, Any]]


@pytest.fixture
def make_mapped(tmp_path: Path) -> MakeMapped:
    def make(features: NDArray[Any], dtype: type = np.float32, mode: Any = "r") -> Any:
        np.asarray(features, dtype=dtype).tofile(tmp_path / "phi")
        return np.memmap(tmp_path / "phi", dtype, mode, shape=features.shape)

    return make


def test_mapped_features_stay_in_their_file(make_mapped: MakeMapped) -> None:
    features = make_mapped(np.random.default_rng(0).normal(size=(5, 3, 2)), mode="r+")
    pool = Pool(features)
    assert isinstance(pool.features, np.memmap)
    assert np.shares_memory(pool.features, features)
    with pytest.raises(ValueError, match="read-only"):
        pool.features[0, 0, 0] = 1.0
    np.testing.assert_array_equal(pool.features, features)
    np.testing.assert_array_equal(pool.phi, features.astype(np.float64))
    # A block is a copy that may be written to.
    block = pool.block(slice(1, 3))
    assert not isinstance(block, np.memmap)
    block[:] = 0
    np.testing.assert_array_equal(pool.features, features)


def test_mapped_features_of_another_precision_are_copied(make_mapped: MakeMapped) -> None:
    pool = Pool(make_mapped(np.ones((2, 3, 2)), np.float64))
    assert not isinstance(pool.features, np.memmap)
    assert pool.features.dtype == np.float32


def test_a_part_of_a_map_stays_mapped(make_mapped: MakeMapped) -> None:
    features = make_mapped(np.random.default_rng(0).normal(size=(6, 4, 2)))
    pool = Pool(features[1:5, ::2])
    assert isinstance(pool.features, np.memmap)
    np.testing.assert_array_equal(pool.block(slice(0, 4)), features[1:5, ::2])


def test_prompts_whose_mapped_features_are_not_finite_are_named(make_mapped: MakeMapped) -> None:
    features = np.ones((5000, 2, 1))
    features[[7, 4500]] = np.nan
    with pytest.raises(InvalidPool, match=r"2 prompts \(7, 4500\) of 5000 hold NaN"):
        Pool(make_mapped(features))


def test_what_is_not_there_is_zero_in_a_block_of_mapped_features(make_mapped: MakeMapped) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 2))
    features[1, 2] = np.nan
    pool = Pool(make_mapped(features), valid=VALID)
    assert np.isnan(pool.features[1, 2]).all()
    np.testing.assert_array_equal(pool.block(slice(1, 2))[0, 2], 0)
    np.testing.assert_array_equal(pool.project(np.ones(2))[1, 2], 0)
    np.testing.assert_array_equal(pool.phi[1, 2], 0)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_differences_and_projections_are_those_of_the_features(
    make_mapped: MakeMapped, is_mapped: bool
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5, 3)).astype(np.float32)
    pool = Pool(make_mapped(features) if is_mapped else features)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))
    assert len(pairs) > 256
    z = features[pairs[:, 0], pairs[:, 1]].astype(np.float64) - features[pairs[:, 0], pairs[:, 2]]
    np.testing.assert_array_equal(pool.differences(pairs), z)
    for matrix in (rng.normal(size=3), rng.normal(size=(3, 2))):
        found = pool.project(matrix)
        np.testing.assert_allclose(found, features.astype(np.float64) @ matrix, rtol=1e-12)
        assert found.dtype == np.float64


def test_mapped_prompts_too_wide_for_a_tile_are_projected_once(make_mapped: MakeMapped) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3000, 2)).astype(np.float32)
    pool = Pool(make_mapped(features))
    assert any(rows.start for _, rows in pool.tiles()), "no prompt was divided"
    vector = np.array([1.0, -2.0])
    np.testing.assert_allclose(pool.project(vector), features.astype(np.float64) @ vector)


@given(
    st.tuples(st.integers(1, 30), st.integers(2, 20), st.integers(1, 9)),
    st.integers(0, 40_000),
)
def test_tiles_hold_every_pair_twice(shape: tuple[int, int, int], memory: int) -> None:
    pool, met = Pool(np.ones(shape)), np.zeros((shape[0], shape[1], shape[1]), dtype=np.int64)
    for prompts, rows in pool.tiles(memory):
        met[prompts, rows] += 1
        n, r = prompts.stop - prompts.start, rows.stop - rows.start
        assert n == 1 or 8 * n * (shape[1] * shape[2] + 2 * shape[1] ** 2) <= memory
        assert r == 1 or 16 * r * shape[1] <= memory
    # Each completion is met once with all others of its prompt: each pair from either end.
    np.testing.assert_array_equal(met, 1)
    np.testing.assert_array_equal(met + met.transpose(0, 2, 1), 2)
