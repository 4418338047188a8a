"""What is common to the environments on recorded completions; they have tests of their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from pairbench.errors import InvalidData
from pairbench.pool.features import lsa_features, style_features
from pairbench.worlds.recorded_pools import check_arrays, split_pools, split_prompts, text_arrays

Arrays = dict[str, NDArray[Any]]


def small(prompts: int = 10) -> Arrays:
    rng = np.random.default_rng(0)
    shape = (prompts, 4)
    mask = np.ones(shape, dtype=np.bool_)
    mask[0, 1] = False
    return {
        "mask": mask,
        "style": rng.normal(size=(*shape, 20)).astype(np.float16),
        "lsa": rng.normal(size=(*shape, 6)).astype(np.float16),
        "n_chars": rng.integers(1, 900, size=shape),
        "vote": rng.normal(size=shape),
        "source": np.array(["a", "b"] * (prompts // 2)),
    }


@given(
    groups=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_split_is_in_proportion_and_leaves_nothing_out(
    groups: list[int], share: float, seed: int
) -> None:
    of = np.array(groups)
    train, held_out = split_prompts(of, share, np.random.default_rng(seed))
    assert sorted([*train, *held_out]) == list(range(len(of)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(train) == np.clip(round(len(of) * share), 1, len(of) - 1)
    for group in range(4):
        exact = np.mean(of == group) * len(train)
        assert abs((of[train] == group).sum() - exact) < 1


def test_every_prompt_is_as_likely_to_be_trained_on() -> None:
    groups = np.array([0] * 6 + [1] * 4)
    count = np.zeros(10)
    for seed in range(400):
        count[split_prompts(groups, 0.5, np.random.default_rng(seed))[0]] += 1
    assert count.sum() == 2000
    # Binomial(400, ½): the standard deviation is 10.
    assert (np.abs(count - 200) < 40).all()


def test_pools_are_those_of_the_split() -> None:
    data = small()
    train, held_out = np.array([1, 4, 5, 8]), np.array([0, 2, 3, 6, 7, 9])
    # What stands where there is no completion counts nothing.
    for name in ("style", "lsa"):
        data[name][~data["mask"]] = np.nan
    pools = split_pools(data, (train, held_out))
    for pool, part in zip(pools, (train, held_out), strict=True):
        np.testing.assert_array_equal(pool.valid, data["mask"][part])
        there = data["mask"][part]
        tokens = np.ceil(data["n_chars"][part] / 4)
        np.testing.assert_array_equal(pool.lengths, np.where(there, tokens, 0))
    # Scaled by the training prompts' spread, one feature at a time.
    raw = np.concatenate([data["style"], data["lsa"]], axis=2).astype(np.float64)
    scale = np.sqrt(np.mean([raw[i].var(axis=0) for i in train], axis=0) * 26)
    there = data["mask"][0]
    expected = (raw[0, there] - raw[0, there].mean(axis=0)) / scale
    np.testing.assert_allclose(pools[1].features[0, there], expected, rtol=1e-5, atol=1e-6)


def test_text_arrays_describe_the_texts_that_are_there() -> None:
    rng = np.random.default_rng(0)
    texts = np.full((6, 4), "", dtype=object)
    for cell in np.ndindex(texts.shape):
        texts[cell] = " ".join(f"word{w}" for w in rng.integers(20, size=12)) + "!"
    mask = rng.random((6, 4)) < 0.8
    texts[2, 1], mask[2, 1] = "nothing of this counts", False
    arrays = text_arrays(texts, mask, dim=5)
    assert arrays["style"].dtype == arrays["lsa"].dtype == np.float16
    flat = list(texts[mask])
    for name, expected in (("style", style_features(flat)), ("lsa", lsa_features(flat, 5))):
        np.testing.assert_array_equal(arrays[name][mask], expected.astype(np.float16))
        assert np.isnan(arrays[name][~mask]).all()
    assert arrays["n_chars"][mask].tolist() == list(map(len, flat))
    assert not arrays["n_chars"][~mask].any()
    check_arrays(arrays)


def test_texts_with_too_few_words_are_refused() -> None:
    texts = np.full((3, 2), "same", dtype=object)
    with pytest.raises(InvalidData, match="cannot make 5 word features of 6 texts"):
        text_arrays(texts, np.ones((3, 2), dtype=np.bool_), dim=5)


def test_good_arrays_pass_whatever_stands_where_nothing_is() -> None:
    data = small()
    data["vote"][0, 1] = np.nan
    data["style"][0, 1] = np.inf
    check_arrays(data, scores=["vote"], groups=["source"])
    check_arrays(small(2), scores=["vote"], groups=["source"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vote": None, "source": None}, "lacks the arrays source, vote"),
        ({"mask": np.ones((0, 4), dtype=np.bool_)}, "two prompts or more"),
        ({name: array[:1] for name, array in small().items()}, "two prompts or more"),
        ({"mask": np.eye(10, 4, dtype=np.bool_)}, "fewer than two completions"),
        ({"vote": np.ones((4, 10))}, r"vote has shape \(4, 10\), expected \(10, 4\)"),
        ({"vote": np.full((10, 4), np.nan)}, "vote holds NaN or infinite"),
        ({"vote": np.full((10, 4), "1")}, "vote must hold numbers, not <U1"),
        ({"vote": np.ones((10, 4), dtype=complex)}, "vote must hold numbers, not complex"),
        ({"n_chars": np.ones((10, 4), dtype=np.bool_)}, "n_chars must hold numbers, not bool"),
        ({"source": np.array(["a"] * 9)}, r"source has shape \(9,\), expected \(10,\)"),
        ({"lsa": np.array(1.0)}, r"lsa has shape \(\), expected \(10, 4\)"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    arrays = {key: array for key, array in (small() | changes).items() if array is not None}
    with pytest.raises(InvalidData, match=message):
        check_arrays(arrays, scores=["vote"], groups=["source"])
