from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench.coverage import (
    NearestDistance,
    greedy_cover,
    median_distance,
    pair_distances,
    pair_kernel,
    sample_d2,
    stable_argmax,
)

Array = NDArray[np.float64]


@pytest.fixture
def z() -> Array:
    return np.random.default_rng(0).normal(size=(12, 3))


def square(a: Array, b: Array) -> float:
    """The squared distance of two questions, from its definition."""
    return float(min(((a - b) ** 2).sum(), ((a + b) ** 2).sum()))


# Distances and the kernel.


def test_a_question_is_as_far_as_the_nearer_way_round(z: Array) -> None:
    expected = [[square(a, b) for b in z[:5]] for a in z]
    np.testing.assert_allclose(pair_distances(z, z[:5]), expected, atol=1e-14)
    np.testing.assert_array_equal(pair_distances(-z, z[:5]), pair_distances(z, z[:5]))


def test_equal_questions_are_at_no_distance_whatever_the_rounding(z: Array) -> None:
    z = 1e3 * z / 7
    assert (pair_distances(z, -z).diagonal() == 0).all()
    assert (pair_distances(z, z) > 0).sum() == 12 * 11
    assert pair_distances(z[:0], z).shape == (0, 12)


@pytest.mark.parametrize("width", [0.3, 1.0, 20.0])
def test_the_kernel_is_the_normalised_cosh(z: Array, width: float) -> None:
    def even(a: Array, b: Array) -> float:
        """The mean over both ways round of the second."""
        return float(np.mean([np.exp(-((a - s * b) ** 2).sum() / (2 * width**2)) for s in (1, -1)]))

    expected = [[even(a, b) / np.sqrt(even(a, a) * even(b, b)) for b in z[:5]] for a in z]
    np.testing.assert_allclose(pair_kernel(z, z[:5], width), expected, rtol=1e-9)
    if width == 1:
        cosh = np.cosh(z @ z.T)
        closed = cosh / np.sqrt(np.outer(cosh.diagonal(), cosh.diagonal()))
        np.testing.assert_allclose(pair_kernel(z, z, width), closed, rtol=1e-9)
    np.testing.assert_allclose(pair_kernel(-z, z, width), pair_kernel(z, z, width), rtol=1e-12)
    assert np.linalg.eigvalsh(pair_kernel(z, z, width)).min() > -1e-12
    np.testing.assert_allclose(pair_kernel(z, z, width).diagonal(), 1, rtol=1e-12)


def test_the_kernel_overflows_nowhere(z: Array) -> None:
    for far in (1e-8, 1e8):
        kernel = pair_kernel(far * z, far * z, 1.0)
        assert ((kernel >= 0) & (kernel <= 1 + 1e-9)).all()


def test_the_median_distance_is_between_different_questions(z: Array) -> None:
    expected = np.median([np.sqrt(square(a, b)) for a, b in combinations(z[:6], 2)])
    assert median_distance(z[:6]) == pytest.approx(expected)
    assert median_distance(z[:1]) == 1
    assert median_distance(np.ones((4, 3))) == 1


# Distances kept up to date.


@pytest.mark.parametrize("signed", [False, True])
def test_nearest_keeps_the_distance_to_what_is_taken(z: Array, signed: bool) -> None:
    nearest, past = NearestDistance(z, None if signed else -z[9:], signed=signed), [*z[9:]]
    if signed:
        assert (nearest.distance == np.inf).all()
        past = []
    taken: list[int] = []
    for p in (4, 0, 7):
        nearest.take(p)
        taken.append(p)
        for q in range(12):
            centres = [z[t] for t in taken] + past
            some = [((z[q] - c) ** 2).sum() if signed else square(z[q], c) for c in centres]
            expected = -1.0 if q in taken else min(some)
            assert nearest.distance[q] == pytest.approx(expected, abs=1e-12)


def test_many_centres_are_all_counted(z: Array) -> None:
    centres = np.random.default_rng(1).normal(size=(200, 3))
    expected = [min(square(a, c) for c in centres) for a in z]
    np.testing.assert_allclose(NearestDistance(z, centres).distance, expected, atol=1e-12)


# Sampling by D².


def test_draws_follow_the_squared_distance() -> None:
    z = np.random.default_rng(2).normal(size=(4, 2))
    rng, n = np.random.default_rng(3), 6000
    drawn = Counter(tuple(sample_d2(NearestDistance(z), 2, rng).tolist()) for _ in range(n))
    expected = {}
    for p in range(4):
        distances = [square(z[p], z[q]) for q in range(4)]
        for q in range(4):
            if q != p:
                expected[p, q] = n / 4 * distances[q] / sum(distances)
    assert set(drawn) == set(expected)
    assert chisquare([drawn[k] for k in expected], list(expected.values())).pvalue > 1e-3


def test_what_coincides_is_drawn_evenly_and_last() -> None:
    z = np.array([[1.0, 0], [-1, 0], [1, 0], [0, 2]])
    firsts: Counter[int] = Counter()
    for seed in range(600):
        chosen = sample_d2(NearestDistance(z, z[:1]), 4, np.random.default_rng(seed)).tolist()
        assert sorted(chosen) == [0, 1, 2, 3]
        assert chosen[0] == 3
        firsts[chosen[1]] += 1
    assert chisquare([firsts[p] for p in range(3)]).pvalue > 1e-3
    assert sorted(sample_d2(NearestDistance(np.zeros((3, 2))), 3, np.random.default_rng(0))) == [
        0,
        1,
        2,
    ]


def test_rounding_leaves_a_point_to_draw() -> None:
    for seed in range(20):
        z = np.random.default_rng(seed).normal(size=(1, 7)).repeat(9, axis=0)
        for signed in (False, True):
            chosen = sample_d2(NearestDistance(z, signed=signed), 9, np.random.default_rng(seed))
            assert sorted(chosen.tolist()) == list(range(9))


# Greedy coverage.


@pytest.mark.parametrize("seed", range(5))
def test_greedy_cover_takes_the_best_next(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, weights = rng.normal(size=(9, 14)), rng.random(14)
    covered = rng.normal(size=14) - 1
    chosen: list[int] = []

    def coverage(places: list[int]) -> float:
        best = [max([covered[x], *(similarity[s, x] for s in places)]) for x in range(14)]
        return float(np.dot(weights, best))

    while len(chosen) < 9:
        rest = [p for p in range(9) if p not in chosen]
        chosen.append(max(rest, key=lambda p: coverage([*chosen, p])))
    found = greedy_cover(similarity, weights, covered, 9).tolist()
    assert sorted(found) == list(range(9))
    # What adds nothing any more comes in any order.
    useful = sum(coverage(chosen[: k + 1]) > coverage(chosen[:k]) + 1e-12 for k in range(9))
    assert useful >= 3
    assert found[:useful] == chosen[:useful]


def test_greedy_cover_reaches_its_share_of_the_best() -> None:
    for seed in range(10):
        similarity = np.random.default_rng(seed).random((8, 20))
        found = greedy_cover(similarity, np.ones(20), np.zeros(20), 3)
        best = max(similarity[list(s)].max(axis=0).sum() for s in combinations(range(8), 3))
        assert best * (1 - 1 / np.e) <= similarity[found].max(axis=0).sum() <= best + 1e-12


def test_the_first_of_what_only_rounding_tells_apart_is_taken() -> None:
    assert stable_argmax(np.array([0.1, 3.0, 3.0 + 1e-15, -np.inf])) == 1
    assert stable_argmax(np.array([-3.0 - 1e-15, -3.0])) == 0
    assert stable_argmax(np.array([1.0, np.inf, np.inf])) == 1
    assert stable_argmax(np.array([0.0, 1e-30])) == 1


def test_greedy_cover_takes_the_first_of_equals() -> None:
    similarity = np.tile(np.array([[0.3, 0.7, 0.1]]), (4, 1))
    noisy = similarity * (1 + 1e-15 * np.arange(4))[:, None]
    for given in (similarity, noisy):
        chosen = greedy_cover(given, np.ones(3), np.zeros(3), 1)
        np.testing.assert_array_equal(chosen, [0])
