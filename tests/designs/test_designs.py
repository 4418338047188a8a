"""What every design keeps to, and each design's rule against a slow transcription of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import (
    ControlView,
    Design,
    InvalidParameter,
    LogLinearDPO,
    Pairs,
    Pool,
    View,
    make_design,
    make_env,
    play,
)
from pairbench.information import label_information, policy_covariance
from pairbench.registry import design_names

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
MakeCase = Callable[[], View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

RIDGE, BETA = 0.5, 0.8
CASES = [
    "first-round", "later-round", "ragged", "two-completions", "one-prompt", "one-pair",
    "duplicates", "equal-completions", "labels-all-one", "labels-missing", "every-pair-asked",
    "more-labels-than-pairs", "one-label",
]  # fmt: skip


@pytest.fixture(params=CASES)
def make_case(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> MakeCase:
    """Makes the same view again and again."""
    case: str = request.param

    def make() -> View:
        shape = {
            "two-completions": (8, 2, 3),
            "one-prompt": (1, 6, 3),
            "one-pair": (1, 2, 3),
        }.get(case, (6, 5, 3))
        pool = make_pool(1, *shape, ragged=case == "ragged", duplicates=case == "duplicates")
        if case == "equal-completions":
            pool = Pool(np.ones((6, 5, 3)))
        rng = np.random.default_rng(2)
        pairs = rng.permutation(np.argwhere(pool.pair_mask))
        if case != "every-pair-asked":
            pairs = pairs[: len(pairs) // 2]
        if case == "first-round":
            pairs = pairs[:0]
        labels = rng.integers(2, size=len(pairs)).astype(np.float64)
        if case == "labels-all-one":
            labels[:] = 1
        if case == "labels-missing":
            labels[:] = np.nan
        n = {"more-labels-than-pairs": 3 * pool.n_pairs + 1, "one-label": 1}.get(case, 7)
        return make_view(pool, pairs, labels, n=n, ridge=RIDGE, beta=BETA, seed=4)

    return make


def shown(name: str, view: View) -> View:
    """The view that this design gets: a control's tells the truth."""
    if not make_design(name).control:
        return view
    theta = np.random.default_rng(5).normal(size=view.pool.dim)
    covariance = policy_covariance(view.pool, theta, view.beta)
    return ControlView(**vars(view), theta=theta, covariance=covariance)


@pytest.mark.parametrize("name", design_names())
def test_a_design_keeps_to_the_contract(name: str, make_case: MakeCase) -> None:
    view, again = shown(name, make_case()), shown(name, make_case())
    before, ledger = [view.pairs.copy(), view.labels.copy()], view.ledger
    state = np.random.get_state()  # noqa: NPY002 - that no design touches it is what is tested
    chosen = make_design(name).select(view, view.budget_left)
    after = np.random.get_state()  # noqa: NPY002
    assert chosen.shape == (view.budget_left, 3)
    assert np.issubdtype(chosen.dtype, np.integer)
    assert view.pool.proper(chosen).all()
    np.testing.assert_equal([view.pairs, view.labels], before)
    assert view.ledger == ledger
    np.testing.assert_equal(state, after)
    # The same view gives the same answer, from a new object as from the old one.
    np.testing.assert_array_equal(make_design(name).select(again, again.budget_left), chosen)


@pytest.mark.parametrize("name", design_names())
def test_a_design_asks_other_questions_under_another_seed_where_nothing_is_known(
    name: str, make_view: MakeView
) -> None:
    if name in {"leverage", "max-distance"}:
        pytest.skip("its first questions follow from the pool alone")
    pool = Pool(np.random.default_rng(0).normal(size=(40, 4, 3)))
    views = [shown(name, make_view(pool, n=20, seed=s)) for s in (0, 1)]
    chosen = [make_design(name).select(view, 20) for view in views]
    assert (chosen[0] != chosen[1]).any()


# Each rule, slowly.


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    """A later round of a ragged pool."""
    pool = make_pool(7, 6, 5, 3, ragged=True)
    rng = np.random.default_rng(3)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:9]
    pairs[::2] = pairs[::2][:, [0, 2, 1]]
    labels = rng.choice([0.0, 1.0, 0.5], size=9)
    labels[4] = np.nan
    return make_view(pool, pairs, labels, n=6, ridge=RIDGE, beta=BETA)


def theta_of(view: View) -> Array:
    return LogLinearDPO(view.ridge).fit(view.pool, BETA, view.pairs, view.labels).theta


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def precision_of(view: View, theta: Array) -> Array:
    precision = view.ridge * np.eye(view.pool.dim)
    for (x, i, j), label in zip(view.pairs, view.labels, strict=True):
        if not np.isnan(label):
            z = view.pool.phi[x, i] - view.pool.phi[x, j]
            p = sigmoid(float(z @ theta))
            precision = precision + p * (1 - p) * np.outer(z, z)
    return precision


def all_pairs(pool: Pool) -> list[Question]:
    return [
        (x, i, j)
        for x in range(pool.n_prompts)
        for i in range(pool.n_completions)
        for j in range(i + 1, pool.n_completions)
        if pool.valid[x, i] and pool.valid[x, j]
    ]


def unordered(pairs: Pairs) -> list[Question]:
    return [(int(x), int(min(i, j)), int(max(i, j))) for x, i, j in pairs]


def best_fresh(view: View, score: Callable[[Array], float], n: int) -> list[Question]:
    """The n pairs not asked before whose z has the highest score, in falling order."""
    asked, phi = set(unordered(view.pairs)), view.pool.phi
    fresh = [pair for pair in all_pairs(view.pool) if pair not in asked]
    fresh.sort(key=lambda pair: -score(phi[pair[0], pair[1]] - phi[pair[0], pair[2]]))
    assert len(fresh) > n
    return fresh[:n]


@pytest.fixture(params=[0.02, 0.5])
def wide_view(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> View:
    """A pool of many pairs of which few were asked, some that saturate, under a weak prior too."""
    pool = make_pool(7, 12, 5, 4, ragged=True)
    pairs = np.array(all_pairs(pool))[::6]
    labels = (pool.differences(pairs) @ np.array([3.0, -3.0, 1.0, 0.0]) > 0).astype(np.float64)
    labels[::5] = np.nan
    return make_view(pool, pairs, labels, ridge=request.param, beta=BETA)


def test_max_distance_takes_the_farthest(wide_view: View) -> None:
    expected = best_fresh(wide_view, lambda z: float(np.linalg.norm(z)), 25)
    assert unordered(make_design("max-distance").select(wide_view, 25)) == expected


def test_smallest_gap_takes_the_least_difference(wide_view: View) -> None:
    theta = theta_of(wide_view)
    expected = best_fresh(wide_view, lambda z: -abs(float(z @ theta)), 25)
    assert unordered(make_design("smallest-gap").select(wide_view, 25)) == expected


def test_uncertainty_takes_the_label_of_most_entropy(wide_view: View) -> None:
    theta = theta_of(wide_view)
    covariance = np.linalg.inv(precision_of(wide_view, theta))

    def entropy(z: Array) -> float:
        p = sigmoid(float(z @ theta) / np.sqrt(1 + np.pi * float(z @ covariance @ z) / 8))
        return float(-p * np.log(p) - (1 - p) * np.log(1 - p))

    expected = best_fresh(wide_view, entropy, 25)
    assert unordered(make_design("uncertainty").select(wide_view, 25)) == expected
    by_gap = unordered(make_design("smallest-gap").select(wide_view, 25))
    assert by_gap != expected, "the pool tells the two apart"


def test_leverage_takes_what_is_known_least(wide_view: View) -> None:
    covariance = np.linalg.inv(precision_of(wide_view, theta_of(wide_view)))
    expected = best_fresh(wide_view, lambda z: float(z @ covariance @ z), 25)
    assert unordered(make_design("leverage").select(wide_view, 25)) == expected


@pytest.mark.parametrize("name", ["max-distance", "smallest-gap", "uncertainty", "leverage"])
def test_ranking_designs_repeat_nothing_before_all_is_asked(name: str, view: View) -> None:
    left = view.pool.n_pairs - len(view.pairs)
    chosen = unordered(make_design(name).select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


def test_greedy_d_is_the_greedy_determinant(view: View) -> None:
    theta, phi = theta_of(view), view.pool.phi
    matrix = precision_of(view, theta)
    expected = []
    for _ in range(6):
        raised = {}
        for x, i, j in all_pairs(view.pool):
            z = phi[x, i] - phi[x, j]
            p = sigmoid(float(z @ theta))
            raised[x, i, j] = matrix + p * (1 - p) * np.outer(z, z)
        best = max(raised, key=lambda pair: float(np.linalg.slogdet(raised[pair])[1]))
        expected.append(best)
        matrix = raised[best]
    assert unordered(make_design("greedy-d").select(view, 6)) == expected


def test_greedy_i_is_the_greedy_trace(view: View) -> None:
    theta, phi = theta_of(view), view.pool.phi
    matrix, covariance = precision_of(view, theta), policy_covariance(view.pool, theta, BETA)
    expected = []
    for _ in range(6):
        raised = {}
        for x, i, j in all_pairs(view.pool):
            z = phi[x, i] - phi[x, j]
            p = sigmoid(float(z @ theta))
            raised[x, i, j] = matrix + p * (1 - p) * np.outer(z, z)
        best = min(raised, key=lambda q: float(np.trace(covariance @ np.linalg.inv(raised[q]))))
        expected.append(best)
        matrix = raised[best]
    assert unordered(make_design("greedy-i").select(view, 6)) == expected


def per_prompt(chosen: Pairs) -> dict[int, tuple[int, int]]:
    assert len(set(chosen[:, 0].tolist())) == len(chosen), "a prompt came twice in one turn"
    return {int(x): (int(i), int(j)) for x, i, j in chosen}


def fresh_of(view: View, make_view: MakeView) -> View:
    """The same labels of prompts that all had one, so that every prompt's turn is due."""
    pairs = np.array([all_pairs(view.pool.subset([x]))[0] for x in range(6)])
    pairs[:, 0] = np.arange(6)
    return make_view(view.pool, pairs, [1, 0, 1, 1, 0, 0.5], ridge=RIDGE, beta=BETA)


def test_best_versus_worst_takes_the_extremes(view: View, make_view: MakeView) -> None:
    view = fresh_of(view, make_view)
    reward = view.pool.phi @ theta_of(view)
    expected = {}
    for x in range(6):
        there = sorted(np.flatnonzero(view.pool.valid[x]).tolist(), key=lambda y: reward[x, y])
        expected[x] = (there[-1], there[0])
    assert per_prompt(make_design("best-versus-worst").select(view, 6)) == expected


def test_most_likely_takes_the_modes_of_the_reference(view: View, make_view: MakeView) -> None:
    view = fresh_of(view, make_view)
    expected = {}
    for x in range(6):
        order = sorted(range(5), key=lambda y: -view.pool.log_ref[x, y])
        expected[x] = (order[0], order[1])
    assert per_prompt(make_design("most-likely").select(view, 6)) == expected


def test_first_two_takes_the_first_two_that_are_there(view: View, make_view: MakeView) -> None:
    view = fresh_of(view, make_view)
    expected = {x: tuple(y for y in range(5) if view.pool.valid[x, y])[:2] for x in range(6)}
    assert not view.pool.valid[:, :2].all(), "the pool is ragged at the front"
    assert per_prompt(make_design("first-two").select(view, 6)) == expected


@pytest.mark.parametrize("name", ["best-versus-worst", "most-likely", "first-two"])
def test_prompts_take_turns(name: str, view: View, make_view: MakeView) -> None:
    pairs = [[x, *np.flatnonzero(view.pool.valid[x])[:2]] for x in (0, 2, 5)]
    due = make_view(view.pool, pairs, [1, 0, 1], n=9)
    prompts = make_design(name).select(due, 9)[:, 0].tolist()
    assert sorted(prompts[:3]) == [1, 3, 4]
    assert sorted(prompts[3:]) == list(range(6))


def test_uniform_draws_every_pair_alike_either_way_round(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(7, 6, 5, 3, ragged=True)
    sizes = pool.valid.sum(axis=1)
    assert len(set(sizes.tolist())) > 1, "prompts differ in their number of pairs"
    chosen = make_design("uniform").select(make_view(pool, n=40_000), 40_000)
    drawn = Counter((int(x), int(i), int(j)) for x, i, j in chosen)
    assert len(drawn) == 2 * pool.n_pairs
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def criterion(pool: Pool, frequency: Array, theta: Array, prior: Array) -> float:
    """tr(C M⁻¹) of weights over `all_pairs`, from the definition."""
    information = prior.copy()
    for (x, i, j), weight in zip(all_pairs(pool), frequency, strict=True):
        z = pool.phi[x, i] - pool.phi[x, j]
        p = sigmoid(float(z @ theta))
        information += weight * p * (1 - p) * np.outer(z, z)
    return float(np.trace(policy_covariance(pool, theta, BETA) @ np.linalg.inv(information)))


def least_criterion(pool: Pool, theta: Array, prior: Array) -> float:
    """A long multiplicative run over all pairs."""
    z = pool.differences(np.array(all_pairs(pool)))
    p = 1 / (1 + np.exp(-z @ theta))
    z = z * np.sqrt(p * (1 - p))[:, None]
    covariance = policy_covariance(pool, theta, BETA)
    weights, value = np.full(len(z), 1 / len(z)), np.inf
    for _ in range(5000):
        inverse = np.linalg.inv(prior + (z * weights[:, None]).T @ z)
        effect = inverse @ covariance @ inverse
        value = float(np.trace(covariance @ inverse))
        sensitivity = np.einsum("pi,ij,pj->p", z, effect, z) + np.sum(effect * prior)
        weights = weights * np.sqrt(sensitivity / value)
        weights /= weights.sum()
    return value


def frequencies(pool: Pool, chosen: Pairs) -> Array:
    drawn = Counter(unordered(chosen))
    return np.array([drawn[pair] for pair in all_pairs(pool)]) / len(chosen)


def test_i_optimal_draws_from_weights_that_are_optimal_at_zero(
    make_pool: MakePool, make_view: MakeView
) -> None:
    n, pool = 20_000, make_pool(7, 6, 5, 3, ragged=True)
    view = make_view(pool, n=n, ridge=RIDGE, beta=BETA)
    chosen = make_design("i-optimal", tol=0.05).select(view, n)
    zero, prior = np.zeros(3), RIDGE / n * np.eye(3)
    best = least_criterion(pool, zero, prior)
    value = criterion(pool, frequencies(pool, chosen), zero, prior)
    uniform = criterion(pool, np.full(pool.n_pairs, 1 / pool.n_pairs), zero, prior)
    # 5 % for the tolerance, 1 % for the draws.
    assert best * 0.99 <= value <= best / 0.95 * 1.01 < uniform
    turned = np.mean(chosen[:, 1] > chosen[:, 2])
    assert abs(turned - 0.5) < 4 * 0.5 / np.sqrt(n)


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("a-optimal", lambda m: np.trace(np.linalg.inv(m))),
        ("d-optimal", lambda m: np.linalg.det(m) ** (-1 / 3)),
        ("e-optimal", lambda m: 1 / np.linalg.eigvalsh(m)[0]),
    ],
)
@pytest.mark.parametrize("rounding", ["systematic", "independent"])
def test_the_other_optimal_designs_have_the_better_figure(
    make_pool: MakePool,
    make_view: MakeView,
    name: str,
    figure: Callable[[Array], float],
    rounding: str,
) -> None:
    n, pool = 20_000, make_pool(7, 6, 5, 3, ragged=True)
    pool = Pool(pool.features * np.array([1, 0.3, 0.1], dtype=np.float32), valid=pool.valid)
    view = make_view(pool, n=n, ridge=RIDGE, beta=BETA)

    def reached(chosen: Pairs) -> float:
        z = pool.differences(chosen)
        return float(figure(z.T @ z / (4 * n) + RIDGE / n * np.eye(3)))

    mine = reached(make_design(name, tol=0.02, rounding=rounding).select(view, n))
    for other in ("a-optimal", "d-optimal", "e-optimal", "i-optimal", "uniform"):
        # 2 % for the tolerance, 1 % for the draws.
        assert mine <= reached(make_design(other).select(view, n)) / 0.98 * 1.01


def test_g_optimal_has_the_least_worst_variance(make_pool: MakePool, make_view: MakeView) -> None:
    n, pool = 20_000, make_pool(7, 6, 5, 3, ragged=True)
    view, z = make_view(pool, n=n, ridge=RIDGE), pool.differences(np.array(all_pairs(pool)))

    def reached(name: str) -> float:
        inverse = np.linalg.inv(label_information(pool, make_design(name).select(view, n)) / n)
        return float(np.einsum("pi,ij,pj->p", z, inverse, z).max())

    worst = {name: reached(name) for name in ("g-optimal", "uniform", "a-optimal", "i-optimal")}
    assert min(worst, key=lambda name: worst[name]) == "g-optimal"
    # At θ = 0 and with next to no ridge the least is 4 d (Kiefer and Wolfowitz 1960).
    assert 12 * 0.99 <= worst["g-optimal"] <= 12 / 0.95 * 1.01


def test_the_oracle_is_optimal_at_what_it_is_told(make_pool: MakePool, make_view: MakeView) -> None:
    n, pool = 2000, make_pool(7, 6, 5, 3, ragged=True)
    theta = np.array([3.0, -2.0, 1.0])
    view = ControlView(
        **vars(make_view(pool, n=n, ridge=RIDGE, beta=BETA)),
        theta=theta,
        covariance=policy_covariance(pool, theta, BETA),
    )
    chosen = make_design("oracle-i-optimal", tol=0.01).select(view, n)
    prior = RIDGE / n * np.eye(3)
    best = least_criterion(pool, theta, prior)
    value = criterion(pool, frequencies(pool, chosen), theta, prior)
    assert best * 0.99 <= value <= best / 0.99 * 1.005


def test_only_a_control_is_shown_the_truth() -> None:
    assert [name for name in design_names() if make_design(name).control] == ["oracle-i-optimal"]
    seen: list[View] = []

    @dataclass(frozen=True)
    class Plain(Design):
        def select(self, view: View, n: int) -> Pairs:
            seen.append(view)
            pairs: Pairs = np.argwhere(view.pool.pair_mask)[:n]
            return pairs

    @dataclass(frozen=True)
    class Told(Plain):
        control: ClassVar[bool] = True

    environment = make_env("pairbench/LogLinear-v1", prompts=6, completions=4, dim=3)
    play(environment, Plain(), 0, (4, 8))
    play(environment, Told(), 0, (4, 8))
    assert [type(view) for view in seen] == [View, View, ControlView, ControlView]
    world = environment.world(0)
    for view in seen[2:]:
        assert isinstance(view, ControlView)
        np.testing.assert_array_equal(view.theta, world.best[0])
        np.testing.assert_array_equal(view.covariance, world.best_covariance)
    for view in seen[:2]:
        assert not {"theta", "covariance"} & set(vars(view))


@pytest.mark.parametrize("pilot", [0.2, 0.9])
def test_i_optimal_two_stage_is_optimal_at_the_estimate_after_its_pilot(
    make_pool: MakePool, make_view: MakeView, pilot: float
) -> None:
    n, pool = 2000, make_pool(7, 6, 5, 3, ragged=True)
    rng = np.random.default_rng(0)
    # Nearly all labels are of one prompt, so that what is known already weighs.
    share = np.where(np.array(all_pairs(pool))[:, 0] == 0, 40.0, 1.0)
    pairs = rng.choice(np.array(all_pairs(pool)), size=2000, p=share / share.sum())
    labels = (pool.differences(pairs) @ np.array([3.0, -3.0, 1.0]) > 0).astype(np.float64)
    # 2000 of 4000 labels are bought: more than a fifth, less than nine tenths.
    view = make_view(pool, pairs, labels, n=n, ridge=RIDGE, beta=BETA)
    chosen = make_design("i-optimal-two-stage", pilot=pilot, tol=0.01).select(view, n)
    theta = np.zeros(3) if pilot == 0.9 else theta_of(view)
    prior = precision_of(view, theta) / n
    value = criterion(pool, frequencies(pool, chosen), theta, prior)
    best = least_criterion(pool, theta, prior)
    # 1 % for the tolerance, ½ % for the draws.
    assert best * 0.99 <= value <= best / 0.99 * 1.005
    other = np.zeros(3) if pilot == 0.2 else theta_of(view)
    other_prior = precision_of(view, other) / n
    elsewhere = criterion(pool, frequencies(pool, chosen), other, other_prior)
    assert elsewhere > least_criterion(pool, other, other_prior) / 0.99 * 1.005


@pytest.mark.parametrize("pilot", [-0.1, 1.1, np.nan])
def test_a_pilot_that_is_no_share_is_refused(pilot: float) -> None:
    with pytest.raises(InvalidParameter, match="pilot is a share of the labels"):
        make_design("i-optimal-two-stage", pilot=pilot)


WEIGHING = [name for name in design_names() if "optimal" in name]


@pytest.mark.parametrize("name", WEIGHING)
@pytest.mark.parametrize("tol", [0.0, 1.0, -1.0, np.nan])
def test_a_tolerance_outside_its_range_is_refused_at_once(name: str, tol: float) -> None:
    with pytest.raises(InvalidParameter, match="tol must lie between 0 and 1"):
        make_design(name, tol=tol)


@pytest.mark.parametrize("name", WEIGHING)
def test_a_rounding_that_is_none_is_refused_at_once(name: str) -> None:
    with pytest.raises(
        InvalidParameter, match=r"no rounding 'systemic'\. Did you mean 'systematic'"
    ):
        make_design(name, rounding="systemic")
