from random import Random

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import kstest

from pairbench._util.counter import philox, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "pi"],
)  # fmt: skip
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    words = np.array([[int(word, 16) for word in counter.split()]], dtype=np.uint64)
    k0, k1 = (int(word, 16) for word in key.split())
    assert " ".join(f"{int(word):08x}" for word in philox(words, (k0, k1))[0]) == expected


@pytest.mark.parametrize("column", range(4))
def test_numbers_are_uniform_along_each_word_of_the_counter(column: int) -> None:
    counter = np.zeros((20_000, 4), dtype=np.int64)
    counter[:, column] = np.arange(20_000)
    drawn = uniforms(7, counter)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert kstest(drawn, "uniform").pvalue > 1e-3
    # Neighbours are unrelated too: the correlation of n pairs has a standard deviation of 1/√n.
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(20_000)


def test_numbers_of_different_seeds_are_unrelated() -> None:
    counter = np.arange(40_000, dtype=np.int64).reshape(-1, 4)
    one, other = uniforms(0, counter), uniforms(1, counter)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(10_000)


@given(
    st.integers(0, 2**130),
    st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_a_number_depends_on_its_own_row_alone(
    seed: int, rows: list[tuple[int, int, int, int]], random: Random
) -> None:
    counter = np.array(rows, dtype=np.int64)
    order = np.array(random.sample(range(len(rows)), len(rows)))
    together = uniforms(seed, counter)
    np.testing.assert_array_equal(uniforms(seed, counter[order]), together[order])
    alone = [uniforms(seed, counter[k : k + 1])[0] for k in range(len(rows))]
    np.testing.assert_array_equal(alone, together)
