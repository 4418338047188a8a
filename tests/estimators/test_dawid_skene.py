from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import InvalidParameter, Laplace, Pool, View, make_estimator
from pairbench.estimators.dawid_skene import dawid_skene
from pairbench.pool.votes import Votes
from tests.conftest import MakeView

Array = NDArray[np.float64]
RELIABILITIES = np.array([0.95, 0.95, 0.9, 0.9, 0.7, 0.7, 0.3, 0.1, 0.0, 0.0])


def crowd(
    seed: int, n: int = 200, voters: int = 3, *, ties: float = 0.0, missing: float = 0.0
) -> tuple[Votes, NDArray[np.bool_]]:
    """Votes of ten annotators, and whether the first is better."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    who = rng.permuted(np.tile(np.arange(10), (n, 1)), axis=1)[:, :voters]
    right = rng.random(who.shape) < (1 + RELIABILITIES[who]) / 2
    answers = np.where(right, truth[:, None], ~truth[:, None]).astype(float)
    answers[rng.random(who.shape) < ties] = 0.5
    answers[rng.random(who.shape) < missing] = np.nan
    return Votes(who * 3 - 5, answers), truth


def by_the_paper(votes: Votes, steps: int, prior: float = 0.0) -> tuple[Array, Any, float]:
    """Dawid and Skene's equations (2.3) to (2.5), question by question."""
    answers = votes.answers
    n, v = answers.shape
    kinds = [0.0, 1.0, 0.5] if (answers == 0.5).any() else [0.0, 1.0]
    given = answers[~np.isnan(answers)]
    ties = float(np.mean(given == 0.5))
    names = sorted({int(votes.annotators[i, j]) for i, j in np.argwhere(~np.isnan(answers))})
    indicator = np.array([np.nanmean(row) for row in answers])
    for _ in range(steps):
        share = (indicator.sum() + prior) / (n + 2 * prior)
        rates: dict[tuple[int, int, float], float] = {}
        for name in names:
            for truth in (0, 1):
                counts = {}
                for kind in kinds:
                    right = (kind == truth) * 2 / 3 + (kind == 1 - truth) / 3
                    counts[kind] = prior * (ties if kind == 0.5 else (1 - ties) * right)
                for i in range(n):
                    weight = indicator[i] if truth else 1 - indicator[i]
                    for j in range(v):
                        if votes.annotators[i, j] == name and answers[i, j] in counts:
                            counts[answers[i, j]] += weight
                for kind in kinds:
                    rates[name, truth, kind] = counts[kind] / sum(counts.values())
        for i in range(n):
            likelihood = [1 - share, share]
            for j in range(v):
                if not np.isnan(answers[i, j]):
                    for truth in (0, 1):
                        likelihood[truth] *= rates[votes.annotators[i, j], truth, answers[i, j]]
            indicator[i] = likelihood[1] / sum(likelihood)
    return indicator, [[[rates[a, t, k] for k in kinds] for t in (0, 1)] for a in names], share


@pytest.mark.parametrize("prior", [0.0, 3.0])
@pytest.mark.parametrize("ties", [0.0, 0.2])
def test_it_is_the_papers_em(prior: float, ties: float) -> None:
    votes, _ = crowd(0, n=60, voters=7, ties=ties)
    found = dawid_skene(votes, prior=prior, tol=0.0 if prior else 1e-8)
    posterior, confusion, share = by_the_paper(votes, found.iterations, prior)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-9)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-9)
    assert found.share == pytest.approx(share, abs=1e-12)
    assert found.annotators.tolist() == [k * 3 - 5 for k in range(10)]


def test_it_is_crowd_kits() -> None:
    aggregation = pytest.importorskip("crowdkit.aggregation", exc_type=ImportError)
    pd = pytest.importorskip("pandas")
    votes, _ = crowd(1, n=150, voters=5)
    data = pd.DataFrame(
        [
            (i, votes.annotators[i, j], int(votes.answers[i, j]))
            for i, j in np.ndindex(votes.answers.shape)
        ],
        columns=["task", "worker", "label"],
    )
    theirs = aggregation.DawidSkene(n_iter=300, tol=-1.0).fit(data)
    ours = dawid_skene(votes, prior=0.0, tol=1e-12)
    np.testing.assert_allclose(ours.posterior, theirs.probas_[1].sort_index(), atol=1e-6)
    for row, name in enumerate(ours.annotators):
        for kind in (0, 1):
            expected = theirs.errors_.loc[(name, kind)]
            np.testing.assert_allclose(ours.confusion[row, :, kind], expected[[0, 1]], atol=1e-6)


def test_it_recovers_reliabilities_and_beats_the_majority() -> None:
    votes, truth = crowd(2, n=2000, voters=3)
    found = dawid_skene(votes)
    # Right with probability (1 + reliability)/2, whichever is better.
    right = (found.confusion[:, 0, 0] + found.confusion[:, 1, 1]) / 2
    np.testing.assert_allclose(right, (1 + RELIABILITIES) / 2, atol=0.06)
    wrong = [np.mean((p > 0.5) != truth) for p in (found.posterior, votes.majority())]
    assert wrong[0] < 0.85 * wrong[1]

    def log_loss(p: Array) -> float:
        p = np.clip(p, 0.01, 0.99)
        return float(-np.mean(np.where(truth, np.log(p), np.log(1 - p))))

    assert log_loss(found.posterior) < 0.9 * log_loss(votes.mean())


@pytest.mark.parametrize("n", [30, 100])
def test_few_votes_of_unsure_people_do_no_harm(n: int) -> None:
    # Those who judge for themselves follow Bradley and Terry; the paper's own estimate is misled.
    wrong = np.zeros(3)
    for seed in range(30):
        rng = np.random.default_rng([n, seed])
        delta, who = rng.normal(size=n) * 2, rng.permuted(np.tile(range(10), (n, 1)), axis=1)[:, :3]
        sure = rng.random(who.shape) < RELIABILITIES[who]
        p = np.where(sure, expit(delta)[:, None], 0.5)
        votes = Votes(who, (rng.random(who.shape) < p).astype(float))
        labels = dawid_skene(votes).posterior, votes.majority(), dawid_skene(votes, 0.0).posterior
        wrong += [np.mean((y > 0.5) != (delta > 0)) / 30 for y in labels]
    assert wrong[0] < wrong[1] + 0.01
    assert wrong[2] > wrong[1] + 0.01


def test_one_who_always_takes_the_first_says_nothing() -> None:
    votes, truth = crowd(3, n=400, voters=3)
    liking = np.column_stack([votes.answers, np.ones(400)])
    found = dawid_skene(Votes(np.column_stack([votes.annotators, np.full(400, 99)]), liking))
    assert found.annotators[-1] == 99
    np.testing.assert_allclose(found.confusion[-1], [[0, 1], [0, 1]], atol=0.05)
    without = dawid_skene(votes)
    assert np.mean((found.posterior > 0.5) != (without.posterior > 0.5)) < 0.02
    assert np.mean((found.posterior > 0.5) == truth) > 0.85


def test_the_order_of_questions_and_votes_does_not_matter() -> None:
    votes, _ = crowd(4, n=80, voters=4, ties=0.1, missing=0.2)
    rng = np.random.default_rng(0)
    order, columns = rng.permutation(80), rng.permutation(4)
    shuffled = Votes(votes.annotators[order][:, columns], votes.answers[order][:, columns])
    np.testing.assert_allclose(
        dawid_skene(shuffled).posterior, dawid_skene(votes).posterior[order], atol=1e-6
    )


def test_who_did_not_vote_is_not_there_and_no_vote_is_no_label() -> None:
    answers = np.array([[1.0, np.nan], [np.nan, np.nan], [0.0, np.nan]])
    found = dawid_skene(Votes(np.tile([3, 8], (3, 1)), answers))
    assert found.annotators.tolist() == [3]
    np.testing.assert_array_equal(np.isnan(found.posterior), [False, True, False])
    assert found.posterior[0] > 0.5 > found.posterior[2]


@pytest.mark.parametrize("shape", [(0, 3), (2, 3), (4, 0)])
def test_no_votes_at_all(shape: tuple[int, int]) -> None:
    found = dawid_skene(Votes(np.zeros(shape, dtype=np.int64), np.full(shape, np.nan)))
    assert np.isnan(found.posterior).all()
    assert found.posterior.shape == shape[:1]
    assert found.confusion.shape[0] == len(found.annotators) == found.iterations == 0


@pytest.mark.parametrize("prior", [0.0, 10.0])
def test_all_alike(prior: float) -> None:
    # Certainty of whatever was never seen is bounded, and nothing divides by zero.
    found = dawid_skene(Votes(np.zeros((3, 2), dtype=np.int64), np.ones((3, 2))), prior=prior)
    assert (found.posterior > 0.5).all()
    ties = dawid_skene(Votes(np.zeros((3, 2), dtype=np.int64), np.full((3, 2), 0.5)), prior=prior)
    np.testing.assert_allclose(ties.posterior, 0.5)


@pytest.mark.parametrize("name", ["prior", "tol"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_parameters_that_mean_nothing_are_refused(name: str, value: float) -> None:
    votes, _ = crowd(0, n=5)
    with pytest.raises(InvalidParameter, match=f"{name} must be a finite number, 0 or more"):
        dawid_skene(votes, **{name: value})


# As a parameter of the estimators.


def voted_view(make_view: MakeView) -> tuple[View, Array]:
    """A view whose labels are majorities of a crowd half of which guesses, and true rewards."""
    rng = np.random.default_rng(6)
    pool = Pool(rng.normal(size=(30, 4, 3)))
    rewards = pool.phi @ np.array([2.0, -2.0, 1.0])
    first = rng.integers(4, size=300)
    second = (first + rng.integers(1, 4, size=300)) % 4
    pairs = np.stack([rng.integers(30, size=300), first, second], axis=1)
    p = expit(rewards[pairs[:, 0], first] - rewards[pairs[:, 0], second])
    who = rng.permuted(np.tile(np.arange(8), (300, 1)), axis=1)[:, :3]
    p = np.where(who < 3, p[:, None], 0.5)
    votes = Votes(who, (rng.random(who.shape) < p).astype(float))
    return replace(make_view(pool, pairs, votes.majority()), votes=votes), rewards


@pytest.mark.parametrize("name", ["laplace", "ensemble(members=2, steps=5)"])
def test_an_estimator_learns_from_the_posteriors(name: str, make_view: MakeView) -> None:
    view, _ = voted_view(make_view)
    assert view.votes is not None
    base, _, brackets = name.partition("(")
    spec = f"{base}(votes='dawid-skene', {brackets or ')'}"
    plain = replace(view, labels=dawid_skene(view.votes).posterior, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(
        make_estimator(spec).fit(view).mean, make_estimator(name).fit(plain).mean
    )


def test_which_is_better_than_from_majorities(make_view: MakeView) -> None:
    view, rewards = voted_view(make_view)
    found = [
        np.corrcoef(make_estimator(spec).fit(view).mean.ravel(), rewards.ravel())[0, 1]
        for spec in ("laplace", "laplace(votes='dawid-skene')")
    ]
    assert found[1] > found[0]


def test_votes_that_are_not_known_cannot_be_weighed(make_view: MakeView, make_pool: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"needs an annotator that gives single votes"):
        Laplace(votes="dawid-skene").fit(make_view(make_pool()))


@pytest.mark.parametrize("estimator", ["laplace", "ensemble", "dropout", "epistemic"])
def test_another_way_of_weighing_is_refused(estimator: str) -> None:
    with pytest.raises(InvalidParameter, match="votes must be 'dawid-skene' or None, got 'glad'"):
        make_estimator(f"{estimator}(votes='glad')")
