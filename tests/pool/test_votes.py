import numpy as np
import pytest

from pairbench.errors import InvalidParameter
from pairbench.pool.votes import Votes, check_aggregate

NAN = np.nan
ANSWERS = np.array(
    [
        [1.0, 1.0, 0.0],
        [0.0, 0.5, 0.5],
        [1.0, 0.0, 0.5],
        [1.0, 0.0, NAN],
        [NAN, 0.0, NAN],
        [NAN, NAN, NAN],
    ]
)
VOTES = Votes(np.tile([4, 1, 7], (6, 1)), ANSWERS)


def test_the_majority_counts_ties_half_and_no_votes_as_no_answer() -> None:
    np.testing.assert_array_equal(VOTES.majority(), [1, 0, 0.5, 0.5, 0, NAN])
    np.testing.assert_array_equal(VOTES.labels("majority"), VOTES.majority())


def test_the_soft_label_is_the_mean_of_those_who_voted() -> None:
    np.testing.assert_allclose(VOTES.mean(), [2 / 3, 1 / 3, 0.5, 0.5, 0, NAN])
    np.testing.assert_array_equal(VOTES.labels("soft"), VOTES.mean())


def test_turning_the_votes_turns_the_labels() -> None:
    turned = Votes(VOTES.annotators, 1 - ANSWERS)
    np.testing.assert_array_equal(turned.majority(), 1 - VOTES.majority())
    np.testing.assert_allclose(turned.mean(), 1 - VOTES.mean())


def test_no_questions_have_no_labels() -> None:
    votes = Votes(np.empty((0, 3), dtype=np.int64), np.empty((0, 3)))
    assert votes.majority().shape == votes.mean().shape == (0,)


@pytest.mark.parametrize(("annotators", "answers"), [((2, 3), (2, 2)), ((2,), (2,)), ((), ())])
def test_shapes_that_do_not_agree_are_refused(
    annotators: tuple[int, ...], answers: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidParameter, match="must have one shape"):
        Votes(np.zeros(annotators, dtype=np.int64), np.zeros(answers))


def test_another_aggregate_is_refused_with_those_that_there_are() -> None:
    check_aggregate("soft")
    with pytest.raises(InvalidParameter, match="must be 'majority' or 'soft', got 'median'"):
        check_aggregate("median")
