import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import digamma, gamma

from pairbench.information import NeighbourEntropy, neighbours as module

Array = NDArray[np.float64]


def neighbourhood(points: Array, k: int, p: int) -> tuple[float, list[int]]:
    """The distance from p to its k-th neighbour, and who is nearer."""
    distance = [float(np.sqrt(((points[q] - points[p]) ** 2).sum())) for q in range(len(points))]
    others = sorted(distance[q] for q in range(len(points)) if q != p)
    radius = others[min(k, len(others)) - 1]
    return radius, [q for q in range(len(points)) if q != p and distance[q] < radius]


@pytest.mark.parametrize("rows", [1, 5, 512])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_the_entropy_is_that_of_counted_neighbours(
    k: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", rows)
    points = np.random.default_rng(k).normal(size=(12, 2))
    taken = [3, 7, 3, 0, 11]
    sample = NeighbourEntropy(points, k, 2)
    for p in taken:
        before = sample.gains()
        radius, near = neighbourhood(points, k, p)
        n = sum(int(sample.times[q]) for q in [*near, p])
        assert before[p] == pytest.approx(2 * np.log(radius) - digamma(n + 1))
        sample.take(p)
    # A label of the same prompt is at distance 0, and nearer than any neighbour.
    terms = []
    for at, p in enumerate(taken):
        radius, near = neighbourhood(points, k, p)
        others = [q for other, q in enumerate(taken) if other != at]
        n = sum(q in near or q == p for q in others)
        terms.append(2 * np.log(radius) - digamma(n + 1))
    ball = np.log(np.pi / gamma(2))
    expected = digamma(len(taken)) + ball + sum(terms) / len(taken)
    assert sample.entropy() == pytest.approx(expected)


def test_the_entropy_of_all_is_about_that_of_their_density() -> None:
    points = np.random.default_rng(0).normal(size=(3000, 2))
    sample = NeighbourEntropy(points, 13, 2)
    for p in range(3000):
        sample.take(p)
    assert sample.entropy() == pytest.approx(np.log(2 * np.pi * np.e), abs=0.05)


def test_taking_at_once_is_taking_in_turn() -> None:
    points = np.random.default_rng(0).normal(size=(9, 3))
    once, turns = NeighbourEntropy(points, 2, 3), NeighbourEntropy(points, 2, 3)
    once.take(4, 3)
    for _ in range(3):
        turns.take(4)
    np.testing.assert_array_equal(once.gains(), turns.gains())
    assert once.entropy() == turns.entropy()


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.ones((6, 2))])
def test_points_without_distances_have_finite_gains(points: Array) -> None:
    sample = NeighbourEntropy(points, 13, 1)
    sample.take(0)
    assert np.isfinite(sample.gains()).all()
    assert np.isfinite(sample.entropy())
