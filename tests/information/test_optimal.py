from collections.abc import Callable, Sequence
from typing import Any

import cvxpy
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pool
from pairbench.information import optimal_weights
from pairbench.information.optimal import CRITERIA
from tests.information.reference import Problem, all_pairs, atoms_of, problem

MakePool = Callable[..., Pool]
cp: Any = cvxpy  # its names are not all typed
Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def thetas_of(criterion: str, dim: int, rng: np.random.Generator, scale: float = 2.0) -> Any:
    """θ as the criterion takes it, and as a list of cases."""
    if criterion in ("bayes-i", "minimax-i"):
        several = scale * rng.normal(size=(3, dim))
        return several, list(several)
    one = scale * rng.normal(size=dim)
    return one, [one]


def least_by_clarabel(given: Problem) -> float:
    """The least value, by an interior-point method over all pairs.

    Values of all criteria but E are the same in every basis, up to det² for D: the solver gets
    one in which information from equal weights is the identity, and traces relative to their value
    there, since duplicates make the pool's own basis too badly conditioned for it.
    """
    n, dim = len(given.pairs), len(given.known[0])
    equal = [b + z.T @ z / n for z, b in zip(given.atoms, given.known, strict=True)]
    basis = np.eye(dim) if given.criterion == "e" else np.linalg.cholesky(np.mean(equal, axis=0))
    to = np.linalg.inv(basis).T
    scale = 1.0 if given.criterion in "de" else given.value(given.pairs, np.full(n, 1 / n))
    w = cp.Variable(n, nonneg=True)
    cases = [
        to.T @ b @ to + (z @ to).T @ cp.diag(w) @ (z @ to)
        for z, b in zip(given.atoms, given.known, strict=True)
    ]
    if given.criterion == "d":
        objective = -cp.log_det(cases[0]) / dim
    elif given.criterion == "e":
        objective = -cp.lambda_min(cases[0])
    elif given.criterion == "g":
        rows = given.z @ to / np.sqrt(scale)
        objective = cp.max(cp.hstack([cp.matrix_frac(row, cases[0]) for row in rows]))
    else:
        traces = []
        for case, covariance in zip(cases, given.covariances, strict=True):
            values, vectors = np.linalg.eigh(covariance)
            roots = (vectors * np.sqrt(np.maximum(values, 0) / scale)).T @ to
            traces.append(sum(cp.matrix_frac(root, case) for root in roots))
        largest = given.criterion == "minimax-i"
        objective = cp.max(cp.hstack(traces)) if largest else sum(traces) / len(traces)
    found = cp.Problem(cp.Minimize(objective), [cp.sum(w) == 1])
    found.solve(solver="CLARABEL")
    value = float(found.value) * scale
    if given.criterion == "d":
        return float(np.exp(value - 2 * np.linalg.slogdet(basis)[1] / dim))
    return -1 / value if given.criterion == "e" else value


@pytest.mark.slow
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("seed", range(30))
def test_the_value_is_that_of_an_independent_solver(
    make_pool: MakePool, seed: int, criterion: str
) -> None:
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(2, 5))
    pool = make_pool(seed, 3, 4, dim, ragged=seed % 3 == 1, weighted=True, duplicates=seed % 5 == 4)
    theta, thetas = thetas_of(criterion, dim, rng)
    options: dict[str, Any] = {"n": 7.0, "beta": 0.8}
    root = rng.normal(size=(dim, dim))
    if seed % 4:
        options["prior"] = 0.02 * root @ root.T + 0.05 * np.eye(dim)
    if seed % 4 == 2:
        options["past"] = rng.choice(all_pairs(pool), size=6)
    if seed % 4 == 3:
        options["candidates"] = all_pairs(pool)[rng.permutation(pool.n_pairs)[: dim + 2]]
        options["candidates"][::2] = options["candidates"][::2][:, [0, 2, 1]]
    design = optimal_weights(pool, criterion, theta, tol=5e-5, **options)
    given = problem(pool, criterion, thetas, **options)
    least = least_by_clarabel(given)
    assert design.value == pytest.approx(least, rel=1e-4)
    assert design.value == pytest.approx(given.value(design.pairs, design.weights), rel=1e-6)
    assert 1 - 5e-5 <= design.efficiency_bound <= 1
    assert design.weights.sum() == pytest.approx(1, abs=1e-12)
    assert (design.weights > 0).all()
    assert pool.proper(design.pairs).all()
    assert len(np.unique(design.pairs, axis=0)) == len(design.pairs)


KINDS = ("plain", "duplicates", "constant", "tiny", "faint", "offset", "one-prompt", "two", "wide")


def odd_pool(kind: str, seed: int) -> Pool:
    """Pools that are hard on rounding errors or leave directions out."""
    rng = np.random.default_rng(seed)
    shape = {"one-prompt": (1, 6, 3), "two": (4, 2, 3), "wide": (2, 3, 5)}.get(
        kind, (int(rng.integers(1, 5)), int(rng.integers(2, 6)), int(rng.integers(1, 5)))
    )
    phi = rng.normal(size=shape)
    if kind == "duplicates":
        phi[:, 1 : max(2, shape[1] - 1)] = phi[:, :1]
    if kind == "constant":
        phi[:, :, -1] = 3.7
    if kind == "tiny":
        phi[:, :, -1] *= 1e-6
    if kind == "faint":
        phi[:, :, -1] *= 1e-12
    if kind == "offset":
        phi += 1000
    rank = rng.permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1)
    valid = (rng.random(shape[:2]) < 0.7) | (rank < 2) if rng.random() < 0.3 else None
    log_ref = rng.normal(size=shape[:2])
    return Pool(phi, valid=valid, log_ref=log_ref, prompt_weights=rng.uniform(0.2, 2, shape[0]))


def unclear_rank(pool: Pool, thetas: Sequence[Array]) -> bool:
    """Whether it is a matter of rounding which directions the pairs leave out.

    That is so where they tell next to nothing, or where all labels saturate: what they tell is
    summed up to rounding errors of what they would tell at θ = 0.
    """
    size = np.square(atoms_of(pool, all_pairs(pool), None)).sum()
    if any(np.square(atoms_of(pool, all_pairs(pool), t)).sum() < 1e-6 * size for t in thetas):
        return True
    atoms = [atoms_of(pool, all_pairs(pool), theta) for theta in thetas]
    spectrum = np.linalg.eigvalsh(sum(a.T @ a for a in atoms))
    ratio = spectrum / max(spectrum[-1], 1e-300)
    return bool(((ratio > 1e-19) & (ratio < 1e-11)).any())


@settings(max_examples=500)
@given(
    seed=SEEDS,
    kind=st.sampled_from(KINDS),
    criterion=st.sampled_from(CRITERIA),
    scale=st.sampled_from([0.0, 1.0, 3.0, 10.0, 100.0]),
    prior=st.sampled_from([None, 1e-6, 1e-3, 1.0]),
    max_sweeps=st.sampled_from([1, 2, 3, 100]),
    # A large tolerance keeps the search in float32.
    tol=st.sampled_from([0.2, 0.01, 1e-4]),
)
@pytest.mark.slow
def test_the_efficiency_bound_is_never_above_the_efficiency(
    seed: int,
    kind: str,
    criterion: str,
    scale: float,
    prior: float | None,
    max_sweeps: int,
    tol: float,
) -> None:
    pool = odd_pool(kind, seed)
    theta, thetas = thetas_of(criterion, pool.dim, np.random.default_rng(seed + 1), scale)
    design = optimal_weights(
        pool, criterion, theta, n=7, prior=prior, max_sweeps=max_sweeps, tol=tol
    )
    assert 0 < design.efficiency_bound <= 1
    assert np.isfinite(design.value)
    assert design.weights.sum() == pytest.approx(1)
    assert pool.proper(design.pairs).all()
    assert design.iterations <= max_sweeps
    assert design.efficiency_bound >= 1 - tol or design.iterations == max_sweeps
    if not design.iterations:
        return
    matrix = None if prior is None else prior * np.eye(pool.dim)
    given = problem(pool, criterion, thetas, n=7, prior=matrix)
    cases = [b + a.T @ a / len(a) for a, b in zip(given.atoms, given.known, strict=True)]
    spectra = np.linalg.eigvalsh(cases)
    if spectra.max() > 1e7 * spectra.min() or unclear_rank(pool, thetas):
        return  # the definition itself cannot be computed in float64
    value = given.value(design.pairs, design.weights)
    assert design.value == pytest.approx(value, rel=1e-5)
    other = given.at(given.another_design())
    assert design.efficiency_bound <= other / value * (1 + 1e-6)


def many(pool: Pool, **options: Any) -> list[Any]:
    """Every criterion's weights."""
    rng, found = np.random.default_rng(0), []
    for criterion in CRITERIA:
        theta = thetas_of(criterion, pool.dim, rng, 1.0)[0]
        found.append(optimal_weights(pool, criterion, theta, tol=0.02, **options))
    return found


def test_the_result_does_not_depend_on_the_number_of_threads(make_pool: MakePool) -> None:
    # Many tiles, and equal prompts in different ones: ties must be broken alike.
    phi = np.tile(make_pool(0, 10, 6, 3).features, (4, 1, 1))
    pool = Pool(phi)
    one = many(pool, threads=1, memory=3 * 2000)
    three = many(pool, threads=3, memory=9 * 2000)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a.pairs, b.pairs)
        np.testing.assert_array_equal(a.weights, b.weights)
        assert a[2:5] == b[2:5]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(12, 6, 3), (1, 20, 4)], ids=["prompts", "rows"])
def test_the_result_does_not_depend_on_the_tiles_or_the_device(
    make_pool: MakePool, shape: tuple[int, int, int]
) -> None:
    pool = make_pool(1, *shape, ragged=True)
    assert len(list(pool.tiles(500))) > 5
    whole = many(pool)
    for other in (many(pool, memory=1500), many(pool, device="cpu")):
        for a, b in zip(whole, other, strict=True):
            # Which pairs are found may differ where rounding decides; what is proven may not.
            assert a.value == pytest.approx(b.value, rel=0.02)
            assert min(a.efficiency_bound, b.efficiency_bound) >= 0.98
    mapped = many(pool, memory=1500, threads=2)
    for a, b in zip(many(pool, memory=1500, threads=1), mapped, strict=True):
        assert a.value == pytest.approx(b.value, rel=0.02)


@pytest.mark.parametrize("kind", ["duplicates", "constant", "one-pair", "one-prompt"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_pairs_may_leave_directions_out(make_pool: MakePool, kind: str, criterion: str) -> None:
    shape, flags = {
        "duplicates": ((2, 4, 5), {"duplicates": True}),
        "constant": ((4, 4, 3), {"constant": True}),
        "one-pair": ((1, 2, 4), {}),
        "one-prompt": ((1, 5, 3), {}),
    }[kind]
    pool = make_pool(2, *shape, **flags)
    theta, thetas = thetas_of(criterion, pool.dim, np.random.default_rng(0), 1.0)
    design = optimal_weights(pool, criterion, theta, tol=0.01)
    given = problem(pool, criterion, thetas)
    value = given.value(design.pairs, design.weights)
    assert design.value == pytest.approx(value, rel=1e-6)
    assert 0.99 <= design.efficiency_bound <= given.at(given.another_design()) / value * (1 + 1e-6)


def test_past_labels_may_leave_directions_out(make_pool: MakePool) -> None:
    pool = make_pool(3, 6, 4, 3)
    for criterion in CRITERIA:
        theta, thetas = thetas_of(criterion, 3, np.random.default_rng(0), 1.0)
        past = all_pairs(pool)[:1]
        design = optimal_weights(pool, criterion, theta, n=5, past=past, tol=1e-3)
        given = problem(pool, criterion, thetas, n=5, past=past)
        assert design.value == pytest.approx(least_by_clarabel(given), rel=2e-3)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("at_zero", [True, False], ids=["zero", "theta"])
@pytest.mark.parametrize("value", [1.0, 0.1, 1000.1])
def test_a_pool_of_equal_completions_has_a_design_too(
    value: float, at_zero: bool, criterion: str
) -> None:
    pool = Pool(np.full((2, 3, 2), value), log_ref=[[0.3, -1.2, 0.7], [0.1, 0.2, -0.4]])
    theta = None if at_zero else np.array([0.3, -0.2])
    if criterion in ("bayes-i", "minimax-i"):
        theta = np.array([[0.3, -0.2], [1.0, 0.0]])
    for prior in (None, 1.0):
        design = optimal_weights(pool, criterion, theta, prior=prior)
        assert design.weights.sum() == pytest.approx(1)
        assert pool.proper(design.pairs).all()
        assert np.isfinite(design.value)
        assert design.efficiency_bound >= 0.99


def test_labels_that_all_saturate_break_nothing(make_pool: MakePool) -> None:
    pool = make_pool(4, 5, 4, 3)
    for criterion in CRITERIA:
        for scale in (50.0, 1e3, 1e6):
            theta, _ = thetas_of(criterion, 3, np.random.default_rng(0), scale)
            design = optimal_weights(pool, criterion, theta, max_sweeps=5)
            assert np.isfinite(design.value)
            assert 0 < design.efficiency_bound <= 1


def test_one_saturated_case_of_several_is_no_obstacle(make_pool: MakePool) -> None:
    pool = make_pool(4, 5, 4, 3)
    thetas = np.array([[0.1, 0.2, 0.0], [1e4, -1e4, 2e4]])
    for criterion in ("bayes-i", "minimax-i"):
        design = optimal_weights(pool, criterion, thetas, max_sweeps=5)
        assert np.isfinite(design.value)
        assert 0 < design.efficiency_bound <= 1


def test_a_covariance_of_other_prompts_is_what_counts(make_pool: MakePool) -> None:
    pool, covariance = make_pool(5, 6, 4, 3), np.diag([1.0, 0.0, 0.0])
    design = optimal_weights(pool, covariance=covariance, prior=1e-4, tol=1e-4)
    given = problem(pool, "i", [None], prior=1e-4 * np.eye(3))
    given.covariances = [covariance]
    assert design.value == pytest.approx(least_by_clarabel(given), rel=1e-3)


def test_what_is_given_is_not_changed(make_pool: MakePool) -> None:
    pool = make_pool()
    options = {
        "theta": np.ones(3),
        "prior": np.eye(3),
        "covariance": np.eye(3),
        "past": all_pairs(pool)[:2],
        "candidates": all_pairs(pool)[::2, [0, 2, 1]],
    }
    before = {name: value.copy() for name, value in options.items()}
    optimal_weights(pool, "i", **options)  # type: ignore[arg-type]
    np.testing.assert_equal(options, before)


NAN = np.full((3, 3), np.nan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "I-opt"}, "no criterion 'I-opt'.*There are: a, bayes-i, d, e, g, i"),
        ({"criterion": "baes-i"}, "Did you mean 'bayes-i'"),
        ({"theta": np.ones(2)}, r"theta must be a finite array \(3,\) .* got shape \(2,\)"),
        ({"theta": np.ones((1, 3))}, r"theta must be a finite array \(3,\) .* \(1, 3\)"),
        ({"theta": [1, np.nan, 0]}, "theta must be a finite array"),
        ({"theta": "abc"}, "theta must be numbers"),
        ({"criterion": "bayes-i"}, r"is over several θ: give theta as \(m, 3\)"),
        ({"criterion": "bayes-i", "theta": np.ones(3)}, r"finite array \(m, 3\)"),
        ({"criterion": "minimax-i", "theta": np.ones((0, 3))}, r"\(m, 3\) .* shape \(0, 3\)"),
        ({"criterion": "minimax-i", "theta": np.ones((2, 2))}, r"\(m, 3\) .* shape \(2, 2\)"),
        ({"prior": np.ones(3)}, r"prior must be a finite matrix \(3, 3\), got shape \(3,\)"),
        ({"prior": np.nan}, "prior must be a finite matrix .* with NaN"),
        ({"prior": NAN}, "prior must be a finite matrix .* with NaN"),
        ({"prior": -1.0}, "prior must be symmetric and positive semidefinite"),
        ({"prior": np.diag([1.0, 1.0, -1.0])}, "prior must be symmetric and positive semidefin"),
        ({"prior": np.triu(np.ones((3, 3)))}, "prior must be symmetric"),
        ({"prior": "strong"}, "prior must be numbers"),
        (
            {"covariance": np.eye(2)},
            r"covariance must be a finite matrix \(3, 3\), got .* \(2, 2\)",
        ),
        ({"covariance": 1.0}, r"covariance must be a finite matrix \(3, 3\), got shape \(\)"),
        ({"covariance": NAN}, "covariance must be a finite matrix .* with NaN"),
        ({"covariance": -np.eye(3)}, "covariance must be symmetric and positive semidefinite"),
        ({"tol": 0.0}, "tol must lie between 0 and 1, got 0.0"),
        ({"tol": 1.0}, "tol must lie between 0 and 1"),
        ({"tol": -0.1}, "tol must lie between 0 and 1"),
        ({"tol": np.nan}, "tol must lie between 0 and 1, got nan"),
        ({"max_sweeps": 0}, "max_sweeps must be 1 or more, got 0"),
        ({"n": 0}, "n must be positive and finite, got 0"),
        ({"n": np.inf}, "n must be positive and finite, got inf"),
        ({"n": np.nan}, "n must be positive and finite, got nan"),
        ({"beta": 0.0}, "beta must be positive and finite, got 0.0"),
        ({"beta": np.nan}, "beta must be positive and finite, got nan"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"device": "meta"}, "cannot search on device 'meta': "),
        ({"device": "no-such"}, "cannot search on device 'no-such': "),
        ({"candidates": np.empty((0, 3), dtype=np.int64)}, "candidates must be at least one pair"),
        ({"candidates": []}, r"candidates must be an integer array \(n, 3\).* got shape \(0,\)"),
        ({"candidates": [[0, 1]]}, r"candidates must be an integer array .* shape \(1, 2\)"),
        ({"candidates": [[0, 0.5, 1]]}, r"candidates must be an integer array .* float64"),
        ({"candidates": [[0, 0, 1], [0, 1, 1]]}, "1 of 2 are not, the first at row 1: .* itself"),
        ({"candidates": [[9, 0, 1]]}, "prompt 9 is outside the pool"),
        ({"candidates": [[0, -1, 1]]}, "completion -1 is outside the pool"),
        ({"past": [[0, 0, 4]]}, "past must be proper pairs; .* completion 4 is outside"),
        ({"past": [[0, 0, 0]]}, "past must be proper pairs; .* compares completion 0 with itself"),
        ({"past": [0, 0, 1]}, r"past must be an integer array \(n, 3\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    make_pool: MakePool, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        optimal_weights(make_pool(), **options)
