from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench.information import JointLabels, mutual_information
from tests.information.reference import joint_information
from tests.reference import sigmoid

Array = NDArray[np.float64]


@pytest.fixture
def draws() -> Array:
    rng = np.random.default_rng(1)
    return np.asarray(2 * rng.normal(size=(9, 3)) @ rng.normal(size=(3, 6)))


def test_gains_are_those_of_the_joint_information(draws: Array) -> None:
    batch = JointLabels(draws, 64, np.random.default_rng(0))
    for p in (4, 1, 3):
        before = joint_information(draws, batch.taken)
        rise = [joint_information(draws, [*batch.taken, q]) - before for q in range(6)]
        gains = batch.gains()
        # H of the batch is alike for all pairs.
        np.testing.assert_allclose(gains - gains[0], np.array(rise) - rise[0], atol=1e-12)
        batch.take(p)
    assert batch.taken == [4, 1, 3]


def test_the_entropy_of_the_batch_is_in_the_gains(draws: Array) -> None:
    batch = JointLabels(draws, 64, np.random.default_rng(0))
    alone = batch.gains()
    np.testing.assert_allclose(alone, [joint_information(draws, [q]) for q in range(6)])
    batch.take(2)
    p = [sigmoid(x) for x in draws[:, 2]]
    noise = -sum(x * np.log(x) + (1 - x) * np.log(1 - x) for x in p) / len(p)
    together = [joint_information(draws, [2, q]) for q in range(6)]
    np.testing.assert_allclose(batch.gains() - noise, together, atol=1e-12)


def test_drawn_configurations_estimate_the_same(draws: Array) -> None:
    exact = JointLabels(draws, 8, np.random.default_rng(0))
    for p in (4, 1, 3):
        exact.take(p)
    made = []
    for seed in range(400):
        drawn = JointLabels(draws, 7, np.random.default_rng(seed))
        for p in (4, 1, 3):
            drawn.take(p)
        made.append(drawn.gains())
    error = np.std(made, axis=0) / np.sqrt(len(made))
    assert (error > 0).all(), "seven configurations are not all eight"
    assert (np.abs(np.mean(made, axis=0) - exact.gains()) < 4 * error).all()


def test_configurations_become_drawn_ones_beyond_the_limit(draws: Array) -> None:
    some = JointLabels(draws, 4, np.random.default_rng(0))
    all_of_them = JointLabels(draws, 4096, np.random.default_rng(0))
    for p, same in ((4, True), (1, True), (3, True), (0, False)):
        assert np.allclose(some.gains(), all_of_them.gains(), rtol=1e-12) == same
        some.take(p)
        all_of_them.take(p)


def test_shared_information_is_what_two_labels_are_short_of_two(draws: Array) -> None:
    made = mutual_information(draws[:, :4], draws[:, 2:])
    for m, t in product(range(4), range(2, 6)):
        p = 1 / (1 + np.exp(-draws[:, [m, t]]))
        table = np.stack([p, 1 - p], axis=2)
        joint = np.einsum("ey,ez->yz", table[:, 0], table[:, 1]) / len(draws)
        apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        assert made[m, t - 2] == pytest.approx(float((joint * np.log(joint / apart)).sum()))


def test_labels_that_are_foregone_share_nothing() -> None:
    sure = np.array([[0.0, 800.0, -800.0], [0.0, 800.0, -800.0]])
    np.testing.assert_allclose(mutual_information(sure, sure), 0, atol=1e-15)
