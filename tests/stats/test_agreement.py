import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from pairbench.stats.agreement import krippendorff_alpha


def test_the_example_of_krippendorff_is_reproduced() -> None:
    # Data C of "Computing Krippendorff's alpha-reliability": 4 observers, 12 units, 5 values.
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
    counts = (np.array(data)[..., None] == np.arange(1, 6)).sum(axis=0)
    assert krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.integers(0, 3)))
def test_alpha_is_one_less_a_ratio_of_disagreements(counts: np.ndarray[Any, Any]) -> None:
    units = [np.repeat(np.arange(3), row) for row in counts if row.sum() >= 2]
    pooled = np.concatenate([np.empty(0, int), *units])

    def disagreement(answers: np.ndarray[Any, Any]) -> float:
        n = len(answers)
        return float((answers[:, None] != answers).sum() / (n - 1)) if n else 0.0

    alpha = krippendorff_alpha(counts)
    if disagreement(pooled) == 0:
        assert math.isnan(alpha)
    else:
        expected = 1 - sum(map(disagreement, units)) / disagreement(pooled)
        assert alpha == pytest.approx(expected, abs=1e-12)


def test_answers_that_are_alike_say_nothing_of_agreement() -> None:
    for counts in ([[2, 0], [3, 0]], [[1, 0], [0, 1]], np.zeros((0, 3))):
        assert math.isnan(krippendorff_alpha(counts))
    assert krippendorff_alpha([[2, 0], [0, 2]]) == 1
