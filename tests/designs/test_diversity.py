"""Designs that spread their questions: each rule against a slow transcription of it."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import (
    DuelDesign,
    InvalidParameter,
    Pairs,
    Pool,
    View,
    fresh_pairs,
    make_design,
    sample_pairs,
)
from pairbench.errors import UnknownEstimator
from tests.reference import (
    Question,
    all_pairs,
    history,
    precision_of,
    sigmoid,
    theta_of,
    unordered,
)

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Law = dict[tuple[Question, Question], float]
"""The probabilities of a first and a second draw."""

GREEDY = ["k-center", "k-medoids", "dpp", "herding", "uncertainty-herding"]
DRAWN = ["k-means-plus-plus", "badge"]
SAMPLED = [*GREEDY, *DRAWN, "coreset"]
RIDGE = 0.5


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    """A later round of a ragged pool, some of whose questions nobody answered."""
    pool = make_pool(7, 6, 5, 3, ragged=True)
    pairs, labels = history(pool, 12, seed=3)
    return make_view(pool, pairs, labels, n=6, ridge=RIDGE)


@pytest.fixture
def first(make_pool: MakePool, make_view: MakeView) -> View:
    """The first round of the same pool."""
    return make_view(make_pool(7, 6, 5, 3, ragged=True), n=6, ridge=RIDGE)


def again(view: View, seed: int) -> View:
    """The same view with other random numbers."""
    return replace(view, rng=np.random.default_rng(seed))


def module_of(name: str) -> ModuleType:
    return sys.modules[type(make_design(name)).__module__]


def difference(view: View, question: Question) -> Array:
    x, i, j = question
    z: Array = view.pool.phi[x, i] - view.pool.phi[x, j]
    return z


def labelled(view: View) -> list[Array]:
    """z of the questions that were answered."""
    known = [row for row, y in zip(view.pairs, view.labels, strict=True) if not np.isnan(y)]
    return [difference(view, (int(x), int(i), int(j))) for x, i, j in known]


def candidates(view: View) -> dict[Question, Array]:
    """All pairs that were not asked, with their z."""
    asked = set(unordered(view.pairs))
    return {q: difference(view, q) for q in all_pairs(view.pool) if q not in asked}


def square(a: Array, b: Array) -> float:
    """The squared distance of two questions, whichever way round."""
    return float(min(((a - b) ** 2).sum(), ((a + b) ** 2).sum()))


def is_greedy(
    view: View, score: Callable[[list[Question], Question], float], chosen: list[Question]
) -> bool:
    """Whether each question has the highest score after those before it; ties are anyone's."""
    assert len(set(chosen)) == len(chosen)
    for k, question in enumerate(chosen):
        rest = [q for q in candidates(view) if q not in chosen[:k]]
        best = max(score(chosen[:k], q) for q in rest)
        if score(chosen[:k], question) < best - 1e-9:
            return False
    return True


def middle(z: dict[Question, Array]) -> float:
    """The median distance between two of them."""
    return float(np.median([np.sqrt(square(a, b)) for a, b in combinations(z.values(), 2)]))


def kernel(a: Array, b: Array, width: float) -> float:
    """The even Gaussian kernel, normalised."""
    cosh = [np.cosh(u @ v / width**2) for u, v in ((a, b), (a, a), (b, b))]
    return float(cosh[0] / np.sqrt(cosh[1] * cosh[2]))


# What all of them keep to.


@pytest.mark.parametrize("name", [*GREEDY, *DRAWN])
def test_nothing_is_repeated_before_all_is_asked(name: str, view: View) -> None:
    left = len(candidates(view))
    chosen = unordered(make_design(name).select(view, left + 3))
    assert set(chosen[:left]) == set(candidates(view))
    assert chosen[left:] == chosen[:3]


@pytest.mark.parametrize("name", SAMPLED)
def test_the_choice_is_among_a_sample(name: str, view: View) -> None:
    sample = set(unordered(fresh_pairs(again(view, 5), 9)))
    chosen = unordered(make_design(name, candidates=9).select(again(view, 5), 4))
    assert set(chosen) <= sample
    # A sample that is too small to choose from grows with the number of labels.
    sample = set(unordered(fresh_pairs(again(view, 5), 8)))
    chosen = unordered(make_design(name, candidates=1).select(again(view, 5), 4))
    assert set(chosen) <= sample
    assert len(sample) == 8


@pytest.mark.parametrize("name", SAMPLED)
def test_a_candidate_turned_round_is_the_same_question(
    name: str, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = unordered(make_design(name).select(again(view, 5), 8))

    def turned_round(view: View, most: int) -> Pairs:
        pairs = fresh_pairs(view, most)
        turn = np.arange(len(pairs)) % 2 == 0
        return np.where(turn[:, None], pairs[:, [0, 2, 1]], pairs)

    monkeypatch.setattr(module_of(name), "fresh_pairs", turned_round)
    assert unordered(make_design(name).select(again(view, 5), 8)) == straight


@pytest.mark.parametrize("name", [*GREEDY, "successive-elimination"])
def test_a_question_asked_the_other_way_round_covers_the_same(name: str, view: View) -> None:
    turned = replace(again(view, 5), pairs=view.pairs[:, [0, 2, 1]], labels=1 - view.labels)
    chosen = unordered(make_design(name).select(turned, 6))
    assert chosen == unordered(make_design(name).select(again(view, 5), 6))


@pytest.mark.parametrize("name", SAMPLED)
def test_no_position_is_favoured(name: str, view: View) -> None:
    design = make_design(name)
    chosen = np.concatenate([design.select(again(view, s), 8) for s in range(40)])
    assert abs(np.mean(chosen[:, 1] > chosen[:, 2]) - 0.5) < 4 * 0.5 / np.sqrt(320)


@pytest.mark.parametrize(
    ("name", "parameter", "value", "message"),
    [
        *((name, "candidates", 0, "candidates must be 1 or more, got 0") for name in SAMPLED),
        *(
            (name, "width", value, f"width must be a positive number, got {value}")
            for name in ("dpp", "herding")
            for value in (0.0, np.nan, np.inf)
        ),
        ("dpp", "quality", -1.0, "quality must be finite, 0 or more, got -1.0"),
        ("coreset", "clusters", 0, "clusters must be 1 or more, got 0"),
        ("coreset", "radius", -3.0, "radius must be a positive number, got -3.0"),
        ("successive-elimination", "confidence", -1.0, "confidence must be a finite number"),
        ("successive-elimination", "confidence", np.inf, "confidence must be a finite number"),
    ],
)
def test_impossible_parameters_are_refused(
    name: str, parameter: str, value: float, message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_design(name, **{parameter: value})


@pytest.mark.parametrize("name", ["badge", "coreset", "uncertainty-herding"])
def test_unknown_estimators_are_refused_at_once(name: str) -> None:
    with pytest.raises(UnknownEstimator, match="Did you mean 'laplace'"):
        make_design(name, estimator="laplac")


# k-center.


def test_k_center_takes_the_farthest(view: View) -> None:
    z, past = candidates(view), labelled(view)

    def distance(chosen: list[Question], q: Question) -> float:
        return min(square(z[q], c) for c in [*past, *(z[s] for s in chosen)])

    assert is_greedy(view, distance, unordered(make_design("k-center").select(view, 10)))


def test_k_center_leaves_at_most_twice_the_least_radius(view: View) -> None:
    z, past = candidates(view), labelled(view)

    def radius(chosen: list[Question]) -> float:
        centres = [*past, *(z[s] for s in chosen)]
        return float(np.sqrt(max(min(square(a, c) for c in centres) for a in z.values())))

    least = min(radius(list(pair)) for pair in combinations(z, 2))
    found = radius(unordered(make_design("k-center").select(view, 2)))
    assert least <= found <= 2 * least


def test_k_center_begins_anywhere(make_view: MakeView) -> None:
    view = make_view(Pool(np.random.default_rng(0).normal(size=(2, 3, 2))))
    drawn = Counter(
        unordered(make_design("k-center").select(again(view, s), 1))[0] for s in range(600)
    )
    assert len(drawn) == 6
    assert chisquare(list(drawn.values())).pvalue > 1e-3


# Draws.


def follow(name: str, view: View, law: Law) -> bool:
    """Whether the first two draws have these probabilities."""
    design, n = make_design(name), 1500
    drawn: Counter[tuple[Question, Question]] = Counter()
    for seed in range(n):
        p, q = unordered(design.select(again(view, seed), 2))
        drawn[p, q] += 1
    assert set(drawn) <= set(law)
    # Rare outcomes are counted together.
    often = [k for k in law if law[k] * n >= 5]
    counts = [*(drawn[k] for k in often), n - sum(drawn[k] for k in often)]
    expected = [*(law[k] * n for k in often), n - sum(law[k] * n for k in often)]
    if expected[-1] < 1:
        counts, expected = counts[:-1], expected[:-1]
    return bool(chisquare(counts, np.array(expected) * sum(counts) / sum(expected)).pvalue > 1e-3)


@pytest.fixture
def small(make_view: MakeView) -> View:
    """Four questions of which none was asked, after two that were answered and one that was not."""
    pool = Pool(
        np.random.default_rng(1).normal(size=(3, 3, 2)), valid=[[1, 1, 1]] * 2 + [[1, 1, 0]]
    )
    return make_view(pool, [[0, 1, 0], [2, 0, 1], [1, 0, 2]], [1, 0, np.nan], ridge=0.1)


def test_k_means_plus_plus_draws_by_squared_distance(small: View) -> None:
    z, past = candidates(small), labelled(small)
    assert (len(z), len(past)) == (4, 2)
    law: Law = {}
    total = sum(min(square(a, c) for c in past) for a in z.values())
    for p in z:
        share = min(square(z[p], c) for c in past) / total
        after = {q: min(square(z[q], c) for c in [*past, z[p]]) for q in z}
        law |= {(p, q): share * after[q] / sum(after.values()) for q in z if q != p}
    assert follow("k-means-plus-plus", small, law)


def test_badge_draws_by_distance_of_gradients(small: View) -> None:
    theta, z = theta_of(small), candidates(small)
    gradient = {}
    for q, a in z.items():
        likely = sigmoid(float(a @ theta))
        gradient[q] = (likely - (1 if likely > 0.5 else 0)) * a
    # The gradient is that of the loss at the predicted label.
    some, step = next(iter(z)), 1e-6

    def loss(theta: Array) -> float:
        likely = sigmoid(float(z[some] @ theta))
        return float(-np.log(max(likely, 1 - likely)))

    slope = [(loss(theta + step * e) - loss(theta - step * e)) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(gradient[some], slope, rtol=1e-5)
    law: Law = {}
    for p in z:
        after = {q: float(((gradient[q] - gradient[p]) ** 2).sum()) for q in z}
        law |= {(p, q): after[q] / sum(after.values()) / len(z) for q in z if q != p}
    assert follow("badge", small, law)


def test_badge_tosses_a_coin_where_nothing_is_predicted(make_view: MakeView) -> None:
    # Two questions of equal z: their gradients are the same, or opposite, each half of the time.
    view = make_view(Pool(np.array([[[0.0], [1.0]], [[3.0], [4.0]], [[5.0], [5.5]]])))
    seconds: Counter[int] = Counter()
    for seed in range(900):
        p, q = (x for x, _, _ in unordered(make_design("badge").select(again(view, seed), 2)))
        if p == 0:
            seconds[q] += 1
    # Half-lengths ½, ½, ¼: the second and third are at ½ − s½ and ½ − s'¼ for signs s, s'.
    share = np.mean(
        [
            (0.5 - s * 0.5) ** 2 / ((0.5 - s * 0.5) ** 2 + (0.5 - t * 0.25) ** 2)
            for s in (1, -1)
            for t in (1, -1)
        ]
    )
    total = seconds.total()
    assert chisquare([seconds[1], seconds[2]], [total * share, total * (1 - share)]).pvalue > 1e-3


# k-medoids.


@pytest.mark.parametrize("round_", ["first", "view"])
def test_k_medoids_lowers_the_total_distance_most(
    round_: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(round_)
    z, past = candidates(view), labelled(view)

    def total(chosen: list[Question], q: Question) -> float:
        medoids = [*past, *(z[s] for s in [*chosen, q])]
        return -sum(float(np.sqrt(min(square(a, m) for m in medoids))) for a in z.values())

    assert is_greedy(view, total, unordered(make_design("k-medoids").select(view, 8)))


# Determinantal point process.


def likelihood(view: View, quality: float, width: float) -> Callable[[list[Question]], float]:
    """log det of L on the labelled and some more pairs; constant in the labelled ones' quality."""
    z = candidates(view)
    # A question asked twice says no more about what is far from it.
    past = [difference(view, q) for q in set(unordered(view.answered))]
    scale = width * middle(z)

    def log_det(chosen: list[Question]) -> float:
        points = [*past, *(z[s] for s in chosen)]
        q = [*np.ones(len(past)), *(np.linalg.norm(z[s]) ** quality for s in chosen)]
        matrix = [
            [q[a] * kernel(points[a], points[b], scale) * q[b] for b in range(len(q))]
            for a in range(len(q))
        ]
        return float(np.linalg.slogdet(np.array(matrix))[1])

    return log_det


@pytest.mark.parametrize(("quality", "width"), [(1.0, 1.0), (0.0, 0.5), (2.0, 0.3)])
@pytest.mark.parametrize("round_", ["first", "view"])
def test_dpp_raises_the_determinant_most(
    quality: float, width: float, round_: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(round_)
    log_det = likelihood(view, quality, width)
    chosen = unordered(make_design("dpp", quality=quality, width=width).select(view, 6))
    assert is_greedy(view, lambda before, q: log_det([*before, q]), chosen)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_dpp_comes_close_to_the_likeliest_set(first: View, n: int) -> None:
    log_det = likelihood(first, 1.0, 1.0)
    best = max(log_det(list(s)) for s in combinations(candidates(first), n))
    found = log_det(unordered(make_design("dpp").select(first, n)))
    # Greedy volumes are at least 1/n! of the largest (Çivril and Magdon-Ismail 2009).
    factorial = np.log([1, 2, 6][n - 1])
    assert best - 2 * factorial - 1e-9 <= found <= best + 1e-9


def test_dpp_weighs_what_is_left_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    root, weight = rng.normal(size=(7, 7)), rng.random(7)
    full = np.sqrt(weight)[:, None] * (root @ root.T) * np.sqrt(weight)
    chosen = module_of("dpp").greedy_map(root @ root.T, weight, 7).tolist()
    for k in range(7):
        # What is added to the determinant is the largest Schur complement.
        seen = chosen[:k]
        left = {}
        for p in set(range(7)) - set(seen):
            own = full[p, seen] @ np.linalg.solve(full[np.ix_(seen, seen)], full[seen, p])
            left[p] = full[p, p] - own
        assert chosen[k] == max(left, key=lambda p: left[p])
        both = [np.linalg.det(full[np.ix_(chosen[:m], chosen[:m])]) for m in (k, k + 1)]
        assert both[1] / both[0] == pytest.approx(left[chosen[k]], rel=1e-6)


def test_dpp_goes_on_when_nothing_is_left() -> None:
    # Of rank two: after two choices nothing is left, and any order is right.
    root = np.random.default_rng(0).normal(size=(6, 2))
    chosen = module_of("dpp").greedy_map(root @ root.T, np.ones(6), 6)
    assert sorted(chosen.tolist()) == list(range(6))


# Herding.


@pytest.mark.parametrize("width", [1.0, 0.4])
@pytest.mark.parametrize("round_", ["first", "view"])
def test_herding_follows_its_recursion(
    width: float, round_: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(round_)
    z, past = candidates(view), labelled(view)
    scale = width * middle(z)

    def value(chosen: list[Question], q: Question) -> float:
        asked = [*past, *(z[s] for s in chosen)]
        target = np.mean([kernel(z[q], a, scale) for a in z.values()])
        known = sum(kernel(z[q], a, scale) for a in asked)
        return float(target - known / (len(asked) + 1))

    chosen = unordered(make_design("herding", width=width).select(view, 8))
    assert is_greedy(view, value, chosen)


def test_herding_resembles_all_pairs_more_than_chance(first: View) -> None:
    z = candidates(first)
    scale = middle(z)

    def discrepancy(chosen: list[Question]) -> float:
        """The squared distance of the two mean embeddings."""
        weight = {q: (q in chosen) / len(chosen) - 1 / len(z) for q in z}
        return sum(weight[p] * weight[q] * kernel(z[p], z[q], scale) for p in z for q in z)

    chosen = unordered(make_design("herding").select(first, 8))
    # Each choice is the one that leaves the least discrepancy.
    assert is_greedy(first, lambda before, q: -discrepancy([*before, q]), chosen[:4])
    rng = np.random.default_rng(0)
    chance = [discrepancy([list(z)[p] for p in rng.permutation(len(z))[:8]]) for _ in range(40)]
    assert discrepancy(chosen) < min(chance)


# Uncertainty herding.


@pytest.mark.parametrize("round_", ["first", "view"])
def test_uncertainty_herding_raises_uncertainty_coverage_most(
    round_: str, request: pytest.FixtureRequest
) -> None:
    view: View = request.getfixturevalue(round_)
    z, past = candidates(view), labelled(view)
    theta = theta_of(view)
    covariance = np.linalg.inv(precision_of(view, theta))
    gaps = [np.sqrt(square(a, b)) for a, b in combinations(past, 2)]
    width = min((g for g in gaps if g > 1e-9), default=middle(z))
    entropy: dict[Question, float] = {}
    for q, a in z.items():
        p = sigmoid(float(a @ theta) / np.sqrt(1 + np.pi / 8 * float(a @ covariance @ a)))
        entropy[q] = float(-p * np.log(p) - (1 - p) * np.log(1 - p))

    def coverage(chosen: list[Question], q: Question) -> float:
        points = [*past, *(z[s] for s in [*chosen, q])]
        return sum(
            entropy[x] * float(np.exp(-min(square(z[x], s) for s in points) / width**2)) for x in z
        )

    chosen = unordered(make_design("uncertainty-herding").select(view, 8))
    assert is_greedy(view, coverage, chosen)


def test_uncertainty_herding_is_uncertainty_sampling_when_labels_are_close(
    make_pool: MakePool, make_view: MakeView
) -> None:
    features = make_pool(0, 6, 5, 3).features.copy()
    features[1, 1] = features[1, 0] + features[0, 1] - features[0, 0] + 1e-3
    pool = Pool(features)
    pairs, labels = history(pool, 12)
    pairs = np.concatenate([pairs, [[0, 0, 1], [1, 0, 1]]])
    view = make_view(pool, pairs, [*labels, 1, 1], ridge=RIDGE)
    theta = theta_of(view)
    covariance = np.linalg.inv(precision_of(view, theta))

    def doubt(q: Question) -> float:
        z = difference(view, q)
        return float(-abs(z @ theta) / np.sqrt(1 + np.pi / 8 * z @ covariance @ z))

    expected = sorted(candidates(view), key=doubt, reverse=True)[:5]
    assert unordered(make_design("uncertainty-herding").select(view, 5)) == expected


# Coreset.


def bounds_of(data: Array, clusters: list[list[int]], radius: float) -> list[float]:
    """m_n of Lemma 3.1, a point being left out of its own cluster."""
    bounds = []
    for n in range(len(data)):
        total = 1.0
        for cluster in clusters:
            others = [p for p in cluster if p != n]
            if others:
                mean = np.mean([data[p] for p in others], axis=0)
                total += len(others) * np.exp(-radius * np.linalg.norm(mean - data[n]))
        bounds.append(len(data) / total)
    return bounds


def test_coreset_weighs_by_the_bounds_of_sensitivity(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, theta = candidates(view), theta_of(view)
    data = np.array([np.sign(a @ theta) * a for a in z.values()])
    seeds = [0, 3, 8]
    apart = np.array([[((a - data[s]) ** 2).sum() for s in seeds] for a in data])
    nearest = apart.argmin(axis=1)
    clusters = [np.flatnonzero(nearest == c).tolist() for c in range(3)]
    spread = np.mean(apart.min(axis=1))
    expected = bounds_of(data, clusters, 2.0 / np.sqrt(spread))
    listed, weighed = np.array(list(z)), []

    def sampled(view: View, pairs: Pairs, weights: Array, n: int) -> Pairs:
        weighed.append(weights)
        return sample_pairs(view, pairs, weights, n)

    module = module_of("coreset")
    monkeypatch.setattr(module, "fresh_pairs", lambda view, most: listed)
    monkeypatch.setattr(module, "sample_d2", lambda nearest, k, rng: np.array(seeds)[:k])
    monkeypatch.setattr(module, "sample_pairs", sampled)
    drawn = Counter(unordered(make_design("coreset", clusters=3, radius=2.0).select(view, 5000)))
    np.testing.assert_allclose(weighed[0], expected, rtol=1e-6)
    assert max(expected) > 1.5 * min(expected), "the pairs differ"
    share = np.array(expected) / sum(expected)
    assert chisquare([drawn[q] for q in z], share * 5000).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_coreset_bounds_are_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, radius = rng.normal(size=(30, 3)) * [3, 1, 0.3] + [1, 0, 0], 1.5
    cluster = rng.integers(4, size=30)
    cluster[cluster == 2] = 1  # numbers may be missing
    cluster[0] = 7  # and a cluster may be one point
    clusters = [np.flatnonzero(cluster == c).tolist() for c in set(cluster.tolist())]
    bounds = module_of("coreset").sensitivity_bounds(data, cluster, radius)
    np.testing.assert_allclose(bounds, bounds_of(data, clusters, radius), rtol=1e-12)
    theta = rng.normal(size=(4000, 3))
    theta *= radius * rng.random((4000, 1)) ** (1 / 3) / np.linalg.norm(theta, axis=1)[:, None]
    loss = np.log1p(np.exp(-theta @ data.T))
    sensitivity = (30 * loss / loss.sum(axis=1)[:, None]).max(axis=0)
    assert (sensitivity <= bounds).all()


def test_coreset_is_uniform_where_all_pairs_are_equal(make_view: MakeView) -> None:
    view = make_view(Pool(np.ones((2, 3, 2))))
    drawn = Counter(unordered(make_design("coreset").select(view, 6000)))
    assert chisquare([drawn[q] for q in all_pairs(view.pool)]).pvalue > 1e-3


# Successive elimination.


def fights(view: View, confidence: float) -> tuple[list[list[int]], list[int]]:
    """Each prompt's survivors, and of the others the one that lost by least."""
    theta, phi = theta_of(view), view.pool.phi
    covariance = np.linalg.inv(precision_of(view, theta))
    alive, closest = [], []
    for x in range(view.pool.n_prompts):
        there = np.flatnonzero(view.pool.valid[x]).tolist()
        loss = {}
        for i in there:
            z = {j: phi[x, j] - phi[x, i] for j in there if j != i}
            loss[i] = max(
                float(a @ theta) - confidence * np.sqrt(float(a @ covariance @ a))
                for a in z.values()
            )
        alive.append([i for i in there if loss[i] <= 0])
        lost = sorted((i for i in there if loss[i] > 0), key=lambda i: loss[i])
        closest.append(lost[0] if lost else -1)
    return alive, closest


@pytest.mark.parametrize(("confidence", "labels"), [(1.0, 15), (2.0, 25)])
def test_successive_elimination_draws_survivors(
    make_pool: MakePool, make_view: MakeView, confidence: float, labels: int
) -> None:
    pool = make_pool(3, 8, 5, 3, ragged=True)
    pairs, _ = history(pool, labels, seed=1)
    better = pool.differences(pairs) @ np.array([2.0, -2.0, 1.0])
    answers = np.random.default_rng(0).random(labels) < 1 / (1 + np.exp(-better))
    view = make_view(pool, pairs, answers, n=8, ridge=0.1)
    alive, closest = fights(view, confidence)
    assert {len(a) for a in alive} == {1, 2, 3}, "all cases are met"
    design = make_design("successive-elimination", confidence=confidence)
    assert isinstance(design, DuelDesign)
    belief = design.belief(view)
    drawn: Counter[Question] = Counter()
    for seed in range(1000):
        first, second = design.duel(belief, np.random.default_rng(seed))
        drawn.update(zip(range(8), first.tolist(), second.tolist(), strict=True))
    for x in range(8):
        if len(alive[x]) == 1:
            assert drawn[x, alive[x][0], closest[x]] == 1000
        else:
            duels = [(x, i, j) for i in alive[x] for j in alive[x] if i != j]
            assert sum(drawn[p] for p in duels) == 1000
            assert chisquare([drawn[p] for p in duels]).pvalue > 1e-3


def test_successive_elimination_eliminates_nothing_before_the_first_label(first: View) -> None:
    drawn = Counter(unordered(make_design("successive-elimination").select(first, 6000)))
    for x in range(6):
        questions = [q for q in all_pairs(first.pool) if q[0] == x]
        counts = [drawn[q] for q in questions]
        assert len(counts) == 1 or chisquare(counts).pvalue > 1e-4


def test_successive_elimination_is_not_beaten_by_what_does_not_exist(make_view: MakeView) -> None:
    # φ of the last is 0, as is that of the second, whose mean is below the prompt's.
    phi = [[1.0, 0.1], [0.0, 0.0], [0.9, 0.0], [0.0, 0.0]]
    pool = Pool([phi], valid=[[1, 1, 1, 0]])
    view = make_view(pool, [[0, 0, 1]], [1.0], ridge=0.1)
    assert fights(view, 2.0)[0] == [[0, 1, 2]]
    drawn = Counter(unordered(make_design("successive-elimination").select(view, 600)))
    assert chisquare([drawn[q] for q in all_pairs(pool)]).pvalue > 1e-3


def test_successive_elimination_keeps_equal_completions_alike(make_view: MakeView) -> None:
    # Of seven completions six are equal, and the last is out.
    best = np.random.default_rng(0).normal(size=(20, 1, 17)).repeat(7, axis=1)
    best[:, 6] *= -1
    pairs = [[x, 0, 6] for x in range(20)] * 8
    view = make_view(Pool(best), pairs, np.ones(160), ridge=0.1)
    design = make_design("successive-elimination", confidence=0.1)
    assert isinstance(design, DuelDesign)
    belief = design.belief(view)
    survivors = belief.mean[:, :6]
    assert (survivors != survivors[:, :1]).any(), "rounding tells some of them apart"
    drawn = np.zeros((20, 7), dtype=np.int64)
    for seed in range(100):
        for y in design.duel(belief, np.random.default_rng(seed)):
            np.add.at(drawn, (np.arange(20), y), 1)
    assert (drawn[:, :6] > 0).all()
    assert not drawn[:, 6].any()
