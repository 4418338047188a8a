from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pairs, Pool
from pairbench.information import greedy, greedy_pairs
from pairbench.information.laplacian import pair_forms
from tests.information.reference import all_pairs, atoms_of, covariance_of, sorted_pairs

MakePool = Callable[..., Pool]
Array = NDArray[np.float64]


def gains(criterion: str, information: Array, covariance: Array, atoms: Array) -> Array:
    """What each pair would gain, from the definition."""
    inverse = np.linalg.inv(information)
    if criterion == "d":
        rise: Array = np.log1p(np.einsum("pi,ij,pj->p", atoms, inverse, atoms))
        return rise
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    fall = np.square(atoms @ inverse @ root).sum(axis=1)
    gain: Array = fall / (1 + np.einsum("pi,ij,pj->p", atoms, inverse, atoms))
    return gain


def check(
    pool: Pool,
    chosen: Pairs,
    criterion: str,
    start: Array,
    *,
    theta: Array | None = None,
    covariance: Array | None = None,
    candidates: Pairs | None = None,
    asked: Pairs | None = None,
    repeats: bool = True,
) -> None:
    """Each choice is the best of all candidates, up to rounding."""
    pairs = all_pairs(pool) if candidates is None else sorted_pairs(candidates)
    atoms = atoms_of(pool, pairs, theta)
    rows = {tuple(row): k for k, row in enumerate(pairs.tolist())}
    free = np.ones(len(pairs), dtype=np.bool_)
    if not repeats and asked is not None:
        for row in sorted_pairs(asked).tolist():
            if tuple(row) in rows:
                free[rows[tuple(row)]] = False
    c = np.eye(pool.dim)
    if criterion == "i":
        c = covariance_of(pool, theta) if covariance is None else covariance
    for x, i, j in chosen.tolist():
        gain = gains(criterion, start, c, atoms)
        mine = rows[x, min(i, j), max(i, j)]
        assert free[mine]
        assert gain[mine] >= gain[free].max() * (1 - 1e-6)
        free[mine] &= repeats
        start = start + np.outer(atoms[mine], atoms[mine])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    criterion=st.sampled_from(["d", "i", "a"]),
    active=st.sampled_from([2, 5, 4096]),
    prior=st.sampled_from([1e-6, 1e-2, 1.0, 100.0]),
    flags=st.tuples(*[st.booleans()] * 5),
)
def test_each_choice_is_the_best_of_all(
    make_pool: MakePool,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    criterion: str,
    active: int,
    prior: float,
    flags: tuple[bool, bool, bool, bool, bool],
) -> None:
    monkeypatch.setattr(greedy, "_ACTIVE_PAIRS", active)
    repeats, ragged, at_zero, with_past, listed = flags
    rng = np.random.default_rng(seed)
    shape = rng.integers([1, 4, 1], [6, 7, 5])
    pool = make_pool(seed, *shape.tolist(), ragged=ragged, duplicates=seed % 5 == 0, weighted=True)
    pairs = all_pairs(pool)
    theta = None if at_zero else 2 * rng.normal(size=pool.dim)
    past = rng.choice(pairs, size=3)[:, [0, 2, 1]] if with_past else None
    candidates = None
    if listed:
        candidates = rng.permutation(pairs)[: len(pairs) // 2 + 1][:, [0, 2, 1]]
    start = prior * np.eye(pool.dim)
    if past is not None:
        old = atoms_of(pool, past, theta)
        start = start + old.T @ old
    left = {
        tuple(row) for row in (pairs if candidates is None else sorted_pairs(candidates)).tolist()
    }
    if past is not None and not repeats:
        left -= {tuple(row) for row in sorted_pairs(past).tolist()}
    n = int(rng.integers(0, 13)) if repeats else min(12, len(left))
    chosen = greedy_pairs(
        pool,
        n,
        criterion,
        theta,
        past=past,
        prior=prior,
        candidates=candidates,
        repeats=repeats,
        memory=int(rng.choice([3000, 2**28])),
    )
    assert chosen.shape == (n, 3)
    assert pool.proper(chosen).all()
    check(
        pool, chosen, criterion, start,
        theta=theta, candidates=candidates, asked=past, repeats=repeats,
    )  # fmt: skip


@pytest.mark.parametrize("criterion", ["i", "a"])
def test_rounding_does_not_say_which_way_round_a_pair_is_told(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, criterion: str
) -> None:
    pool = make_pool(3, prompts=6, completions=5)
    upper = greedy_pairs(pool, 30, criterion, prior=1.0)
    lower = 1 + 1e-13 * np.tril(np.ones((5, 5)))
    monkeypatch.setattr(greedy, "pair_forms", lambda phi, matrix: pair_forms(phi, matrix) * lower)
    np.testing.assert_array_equal(greedy_pairs(pool, 30, criterion, prior=1.0), upper)
    assert (upper[:, 1] < upper[:, 2]).all()


@pytest.mark.parametrize("criterion", ["i", "a"])
def test_the_best_gain_need_not_have_the_largest_fall(
    monkeypatch: pytest.MonkeyPatch, criterion: str
) -> None:
    """With a weak prior the gain depends on the direction alone, the fall on the length too."""
    monkeypatch.setattr(greedy, "_ACTIVE_PAIRS", 2)
    # Long differences along a direction that hardly counts, a short one along that which does.
    phi = np.zeros((6, 2, 2))
    phi[:5, 0, 1] = np.linspace(50, 60, 5)
    phi[5, 0, 0] = 1.0
    pool, covariance = Pool(phi), np.diag([1.0, 0.5])
    chosen = greedy_pairs(pool, 1, criterion, prior=np.diag([1e-2, 1e-2]), covariance=covariance)
    check(pool, chosen, criterion, 1e-2 * np.eye(2), covariance=covariance)


def test_a_pair_is_repeated_where_nothing_else_tells_as_much() -> None:
    pool = Pool([[[0.0, 0.0], [3.0, 0.0], [0.0, 0.1]]])
    candidates = np.array([[0, 0, 1], [0, 0, 2]])
    chosen = greedy_pairs(pool, 4, candidates=candidates, prior=1.0)
    np.testing.assert_array_equal(chosen, [[0, 0, 1]] * 4)
    chosen = greedy_pairs(pool, 2, candidates=candidates, prior=1.0, repeats=False)
    np.testing.assert_array_equal(chosen, candidates)


@pytest.mark.parametrize("criterion", ["d", "i", "a"])
def test_without_prior_the_first_choices_span_what_can_be_told(
    make_pool: MakePool, criterion: str
) -> None:
    pool = make_pool(0, 6, 5, 4)
    chosen = greedy_pairs(pool, 4, criterion)
    assert np.linalg.matrix_rank(atoms_of(pool, chosen, None)) == 4


def test_a_pool_of_equal_completions_has_choices_too() -> None:
    pool = Pool(np.full((2, 3, 2), 1000.1))
    for criterion in ("d", "i", "a"):
        assert pool.proper(greedy_pairs(pool, 3, criterion)).all()
        assert len(np.unique(greedy_pairs(pool, 6, criterion, repeats=False), axis=0)) == 6


def test_the_choices_do_not_depend_on_the_number_of_threads(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy, "_ACTIVE_PAIRS", 3)
    # Equal prompts in different tiles: ties must be broken alike.
    pool = Pool(np.tile(make_pool(0, 5, 4, 3).features, (8, 1, 1)))
    for criterion in ("d", "i"):
        one = greedy_pairs(pool, 30, criterion, prior=0.1, memory=3000, threads=1)
        for _ in range(3):
            three = greedy_pairs(pool, 30, criterion, prior=0.1, memory=9000, threads=3)
            np.testing.assert_array_equal(one, three)


def test_what_is_given_is_not_changed(make_pool: MakePool) -> None:
    pool = make_pool()
    prior, past, candidates = np.eye(3), all_pairs(pool)[:3], all_pairs(pool)[::2, [0, 2, 1]]
    before = [prior.copy(), past.copy(), candidates.copy()]
    greedy_pairs(pool, 5, prior=prior, past=past, candidates=candidates)
    np.testing.assert_equal([prior, past, candidates], before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "e"}, r"no greedy criterion 'e'\..* There are: a, d, i"),
        ({"n": -1}, "n must be 0 or more, got -1"),
        ({"theta": np.ones(2)}, r"theta must be a finite array \(3,\) .* shape \(2,\)"),
        ({"theta": [0, np.inf, 0]}, "theta must be a finite array"),
        ({"prior": 0.0}, "prior and past together must be positive definite"),
        ({"past": [[0, 0, 1]]}, "prior and past together must be positive definite"),
        ({"past": [[0, 1, 1]], "prior": 1.0}, "past must be proper pairs"),
        ({"prior": np.ones(3)}, r"prior must be a finite matrix \(3, 3\), got shape \(3,\)"),
        ({"prior": -1.0}, "prior must be symmetric and positive semidefinite"),
        ({"criterion": "i", "covariance": np.eye(2)}, r"covariance must be a finite matrix"),
        ({"criterion": "i", "covariance": np.full((3, 3), np.nan)}, "covariance must be a finite"),
        ({"candidates": []}, "candidates must be an integer array"),
        ({"candidates": [[0, 1, 1]]}, "candidates must be proper pairs"),
        ({"n": 31, "repeats": False}, "1 more pairs are to be chosen, but every candidate is"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    make_pool: MakePool, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        greedy_pairs(make_pool(), **{"n": 3, **options})
