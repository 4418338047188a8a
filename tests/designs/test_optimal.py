"""The optimal designs, each against a slow transcription of its equation."""

from collections import Counter
from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import (
    ControlView,
    InvalidParameter,
    Laplace,
    Pairs,
    Pool,
    View,
    fresh_pairs,
    make_design,
    uniform_pairs,
)
from pairbench.design.registry import design_names
from pairbench.information import label_information, policy_covariance
from pairbench.policies.log_linear import LogLinearPolicy
from tests.reference import all_pairs, precision_of, sigmoid, theta_of, unordered

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

RIDGE, BETA = 0.5, 0.8


@pytest.fixture
def view(make_pool: MakePool, make_view: MakeView) -> View:
    """A later round of a ragged pool."""
    return later_round(make_pool, make_view)


def later_round(make_pool: MakePool, make_view: MakeView, seed: int = 0) -> View:
    """That round, its random numbers as they were at first."""
    pool = make_pool(7, 6, 5, 3, ragged=True)
    rng = np.random.default_rng(3)
    pairs = rng.permutation(np.argwhere(pool.pair_mask))[:9]
    pairs[::2] = pairs[::2][:, [0, 2, 1]]
    labels = rng.choice([0.0, 1.0, 0.5], size=9)
    labels[4] = np.nan
    return make_view(pool, pairs, labels, n=6, ridge=RIDGE, beta=BETA, seed=seed)


@pytest.fixture(params=[0.02, 0.5])
def wide_view(request: pytest.FixtureRequest, make_pool: MakePool, make_view: MakeView) -> View:
    """A pool of many pairs of which few were asked, some that saturate, under a weak prior too."""
    pool = make_pool(7, 12, 5, 4, ragged=True)
    pairs = np.array(all_pairs(pool))[::6]
    labels = (pool.differences(pairs) @ np.array([3.0, -3.0, 1.0, 0.0]) > 0).astype(np.float64)
    labels[::5] = np.nan
    return make_view(pool, pairs, labels, ridge=request.param, beta=BETA)


def fresh(view: View) -> list[Question]:
    """The pairs not asked before."""
    asked = set(unordered(view.pairs))
    return [pair for pair in all_pairs(view.pool) if pair not in asked]


def best_fresh(view: View, score: Callable[[Array], float], n: int) -> list[Question]:
    """The n pairs not asked before whose z has the highest score, in falling order."""
    phi = view.pool.phi
    ranked = sorted(fresh(view), key=lambda p: -score(phi[p[0], p[1]] - phi[p[0], p[2]]))
    assert len(ranked) > n
    return ranked[:n]


def test_leverage_takes_what_is_known_least(wide_view: View) -> None:
    covariance = np.linalg.inv(precision_of(wide_view, theta_of(wide_view)))
    expected = best_fresh(wide_view, lambda z: float(z @ covariance @ z), 25)
    assert unordered(make_design("leverage").select(wide_view, 25)) == expected


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


def test_leverage_repeats_nothing_before_all_is_asked(view: View) -> None:
    left = view.pool.n_pairs - len(view.pairs)
    chosen = unordered(make_design("leverage").select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


def atom(view: View, theta: Array, pair: Question) -> Array:
    """√w z."""
    x, i, j = pair
    z = view.pool.phi[x, i] - view.pool.phi[x, j]
    p = sigmoid(float(z @ theta))
    scaled: Array = z * np.sqrt(p * (1 - p))
    return scaled


def test_i_optimal_adaptive_is_optimal_at_the_estimate(view: View) -> None:
    n, theta = 3000, theta_of(view)
    chosen = make_design("i-optimal-adaptive", tol=0.01).select(view, n)
    prior = precision_of(view, theta) / n
    value = criterion(view.pool, frequencies(view.pool, chosen), theta, prior)
    best = least_criterion(view.pool, theta, prior)
    # 1 % for the tolerance, ½ % for the draws.
    assert best * 0.99 <= value <= best / 0.99 * 1.005


def test_bayes_and_minimax_have_the_least_mean_and_the_least_worst_of_their_draws(
    make_pool: MakePool, make_view: MakeView
) -> None:
    n, pool = 4000, make_pool(7, 6, 5, 3, ragged=True)

    def due() -> View:
        return make_view(pool, n=n, ridge=0.1, beta=BETA)

    # The prior is wide, so the draws differ; a design begins with them.
    draws = Laplace().fit(due()).theta_draws(8, due().rng)
    names = ["bayes-i-optimal", "minimax-i-optimal", "i-optimal", "d-optimal", "uniform"]
    mean, worst = {}, {}
    for name in names:
        params = {"tol": 0.01} if "i-optimal" in name else {}
        share = frequencies(pool, make_design(name, **params).select(due(), n))
        values = [criterion(pool, share, theta, 0.1 / n * np.eye(3)) for theta in draws]
        mean[name], worst[name] = np.mean(values), np.max(values)
    assert min(mean, key=lambda name: mean[name]) == "bayes-i-optimal"
    assert min(worst, key=lambda name: worst[name]) == "minimax-i-optimal"


def test_greedy_i_robust_is_the_greedy_trace_with_repeats_discounted(view: View) -> None:
    theta, v, pool = theta_of(view), 0.3, view.pool
    matrix, covariance = precision_of(view, theta), policy_covariance(pool, theta, BETA)
    times = Counter(unordered(view.pairs))
    expected = []
    for _ in range(40):
        raised = {}
        for pair in all_pairs(pool):
            z = pool.phi[pair[0], pair[1]] - pool.phi[pair[0], pair[2]]
            p = sigmoid(float(z @ theta))
            # What m labels tell whose own residual has variance 2v, relative to the first.
            told = [m * p * (1 - p) / (1 + m * p * (1 - p) * 2 * v) for m in (0, 1)]
            m, w = times[pair], p * (1 - p)
            next_one = (m + 1) * w / (1 + (m + 1) * w * 2 * v) - m * w / (1 + m * w * 2 * v)
            raised[pair] = matrix + w * next_one / told[1] * np.outer(z, z)
        best = min(raised, key=lambda q: float(np.trace(covariance @ np.linalg.inv(raised[q]))))
        expected.append(best)
        matrix = raised[best]
        times[best] += 1
    assert max(times.values()) > 1, "questions are repeated"
    design = make_design("greedy-i-robust", selectivity=1000, residual=v)
    assert unordered(design.select(view, 40)) == expected


def test_greedy_i_robust_samples_more_the_more_labels_there_are(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(0, 40, 6, 4)
    for n, size in [(4, 8), (12, 48)]:  # n (1 + n/d)
        drawn = unordered(uniform_pairs(make_view(pool, n=n), size))
        design = make_design("greedy-i-robust", selectivity=1)
        assert set(unordered(design.select(make_view(pool, n=n), n))) <= set(drawn)


# arm-fi


def fisher_scores(view: View, candidates: list[Question], past: bool) -> dict[Question, float]:
    """w zᵀF⁻¹z of the candidates."""
    theta = theta_of(view)
    information = precision_of(view, theta) if past else view.ridge * np.eye(view.pool.dim)
    for pair in candidates:
        v = atom(view, theta, pair)
        information = information + np.outer(v, v)
    inverse = np.linalg.inv(information)
    atoms = {pair: atom(view, theta, pair) for pair in candidates}
    return {pair: float(v @ inverse @ v) for pair, v in atoms.items()}


@pytest.mark.parametrize("past", [True, False])
def test_arm_fi_takes_what_weighs_most_in_the_information_of_all(
    wide_view: View, past: bool
) -> None:
    scores = fisher_scores(wide_view, fresh(wide_view), past)
    expected = sorted(scores, key=lambda pair: -scores[pair])[:25]
    chosen = unordered(make_design("arm-fi", past=past).select(wide_view, 25))
    assert chosen == expected
    other = unordered(make_design("arm-fi", past=not past).select(wide_view, 25))
    assert chosen != other, "the pool tells the two apart"
    assert chosen != unordered(make_design("leverage").select(wide_view, 25))


def test_the_score_of_arm_fi_is_the_derivative_of_log_det(view: View) -> None:
    theta, candidates = theta_of(view), fresh(view)
    scores = fisher_scores(view, candidates, past=True)

    def log_det(pair: Question, weight: float) -> float:
        information = precision_of(view, theta)
        for other in candidates:
            v = atom(view, theta, other)
            information = information + (weight if other == pair else 1) * np.outer(v, v)
        return float(np.linalg.slogdet(information)[1])

    for pair in candidates[::5]:
        slope = (log_det(pair, 1 + 1e-5) - log_det(pair, 1 - 1e-5)) / 2e-5
        assert scores[pair] == pytest.approx(slope, rel=1e-6)


def test_arm_fi_ranks_the_candidates_that_it_draws(
    make_pool: MakePool, make_view: MakeView
) -> None:
    view, again = (later_round(make_pool, make_view) for _ in range(2))
    scores = fisher_scores(view, unordered(fresh_pairs(again, 8)), past=True)
    chosen = unordered(make_design("arm-fi", candidates=8).select(view, 10))
    expected = sorted(scores, key=lambda pair: -scores[pair])
    assert chosen == expected + expected[:2]


# adpo


def test_adpo_is_the_greedy_determinant_without_repeats(view: View) -> None:
    theta, left, n = theta_of(view), fresh(view), 12
    matrix, expected = precision_of(view, theta), []
    for _ in range(len(left)):
        raised = {}
        for pair in left:
            v = atom(view, theta, pair)
            raised[pair] = matrix + np.outer(v, v)
        best = max(raised, key=lambda pair: float(np.linalg.slogdet(raised[pair])[1]))
        matrix = raised[best]
        expected.append(best)
        left.remove(best)
    assert n < len(expected)
    assert unordered(make_design("adpo").select(view, n)) == expected[:n]
    # All pairs, and then over again.
    chosen = unordered(make_design("adpo").select(view, len(expected) + 2))
    assert chosen == expected + expected[:2]


def test_adpo_chooses_the_best_of_a_random_few(view: View) -> None:
    few, draws = 4, 2000
    design, ranks = make_design("adpo", candidates=few), Counter[int]()
    theta = theta_of(view)
    inverse = np.linalg.inv(precision_of(view, theta))
    gains = {p: float((v := atom(view, theta, p)) @ inverse @ v) for p in fresh(view)}
    order = sorted(gains, key=lambda pair: -gains[pair])
    for _ in range(draws):
        (chosen,) = unordered(design.select(view, 1))
        ranks[order.index(chosen)] += 1
    size = len(order)
    # The best of c out of m has rank r (from 0) where the others come from the m − 1 − r below.
    chance = np.array([comb(size - 1 - r, few - 1) / comb(size, few) for r in range(size)])
    counts = np.array([ranks[r] for r in range(size)])
    rare = chance * draws < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    chance = np.append(chance[~rare], chance[rare].sum())
    assert chisquare(counts, draws * chance).pvalue > 1e-3


def test_adpo_takes_its_weights_from_the_estimator(
    make_pool: MakePool, make_view: MakeView
) -> None:
    plain = make_pool(7, 6, 5, 3, ragged=True)
    scores = 4 * np.random.default_rng(0).normal(size=plain.valid.shape)
    view = make_view(Pool(plain.features, valid=plain.valid, scores=scores), ridge=RIDGE)

    def gain(pair: Question) -> float:
        x, i, j = pair
        z, p = plain.phi[x, i] - plain.phi[x, j], sigmoid(scores[x, i] - scores[x, j])
        return float(p * (1 - p) * z @ z)

    design = make_design("adpo", estimator="laplace(trust=1.0)")
    assert unordered(design.select(view, 1)) == [max(fresh(view), key=gain)]
    assert unordered(make_design("adpo").select(view, 1)) != [max(fresh(view), key=gain)]


# active-dpo


def gradients_of(view: View) -> Array:
    """∂ β log π_θ(y|x) / ∂θ at θ̂ by central differences, ``(N, K, d)``."""
    theta, found = theta_of(view), []
    for step in 1e-5 * np.eye(view.pool.dim):
        above, below = (
            np.where(view.pool.valid, LogLinearPolicy(t, view.beta).log_probs(view.pool), 0)
            for t in (theta + step, theta - step)
        )
        found.append(view.beta * (above - below) / 2e-5)
    return np.stack(found, axis=-1)


def greedy_novelty(
    view: View, gradients: Array, candidates: list[Question], n: int
) -> list[Question]:
    """argmax ‖g_i − g_j‖ in V⁻¹, one by one, without repeats."""
    v = view.ridge * np.eye(gradients.shape[2])
    for x, i, j in view.answered.tolist():
        v = v + np.outer(gradients[x, i] - gradients[x, j], gradients[x, i] - gradients[x, j])
    left, chosen = list(candidates), []
    for _ in range(n):
        difference = {(x, i, j): gradients[x, i] - gradients[x, j] for x, i, j in left}
        inverse = np.linalg.inv(v)
        best = max(left, key=lambda p: float(difference[p] @ inverse @ difference[p]))
        v = v + np.outer(difference[best], difference[best])
        chosen.append(best)
        left.remove(best)
    return chosen


def unit(gradients: Array, valid: NDArray[np.bool_]) -> Array:
    """Each completion's gradient at length one."""
    scaled = gradients.copy()
    for x, k in np.argwhere(valid):
        scaled[x, k] /= np.sqrt(sum(g**2 for g in gradients[x, k]))
    return scaled


def test_active_dpo_takes_the_newest_gradients(view: View) -> None:
    raw = gradients_of(view)
    expected = {
        True: greedy_novelty(view, unit(raw, view.pool.valid), fresh(view), 12),
        False: greedy_novelty(view, raw, fresh(view), 12),
    }
    assert expected[True] != expected[False]
    for normalized, pairs in expected.items():
        design = make_design("active-dpo", normalized=normalized)
        assert unordered(design.select(view, 12)) == pairs


def test_active_dpo_without_scaling_knows_nothing_of_the_policy(
    view: View, make_view: MakeView
) -> None:
    design = make_design("active-dpo", normalized=False)
    flipped = make_view(view.pool, view.pairs, 1 - view.labels, ridge=RIDGE, beta=BETA)
    assert unordered(design.select(flipped, 12)) == unordered(design.select(view, 12))
    scaled = make_design("active-dpo")
    assert unordered(scaled.select(flipped, 12)) != unordered(scaled.select(view, 12))


def test_active_dpo_repeats_nothing_before_all_candidates_are_taken(view: View) -> None:
    left = len(fresh(view))
    chosen = unordered(make_design("active-dpo").select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


def test_active_dpo_projects_long_gradients(make_pool: MakePool, make_view: MakeView) -> None:
    view, again = (later_round(make_pool, make_view, seed=4) for _ in range(2))
    matrix = again.rng.standard_normal((3, 2)) / np.sqrt(2)
    short = gradients_of(view) @ matrix
    expected = greedy_novelty(view, short, unordered(fresh_pairs(again, 18)), 17)
    design = make_design("active-dpo", projection=2, candidates=18, normalized=False)
    assert unordered(design.select(view, 17)) == expected
    assert short.shape == (6, 5, 2)


# odpo


def frank_wolfe(pool: Pool, epsilon: float) -> dict[Question, float]:
    """π from the uniform design on, with V inverted anew at each step."""
    pairs = all_pairs(pool)
    z = {(x, i, j): pool.phi[x, i] - pool.phi[x, j] for x, i, j in pairs}
    pi, d = dict.fromkeys(pairs, 1 / len(pairs)), pool.dim
    while True:
        inverse = np.linalg.inv(sum(pi[p] * np.outer(z[p], z[p]) for p in pairs))
        best = max(pairs, key=lambda p: float(z[p] @ inverse @ z[p]))
        top = float(z[best] @ inverse @ z[best])
        if top <= (1 + epsilon) * d:
            return pi
        step = (top / d - 1) / (top - 1)
        pi = {p: (1 - step) * share + step * (p == best) for p, share in pi.items()}


@pytest.mark.parametrize("epsilon", [0.5, 0.1])
def test_odpo_follows_the_frank_wolfe_weights(
    make_pool: MakePool, make_view: MakeView, epsilon: float
) -> None:
    n, pool = 20_000, make_pool(7, 6, 5, 3, ragged=True)
    pi = frank_wolfe(pool, epsilon)
    assert len(set(pi.values())) > 3, "some steps are made"
    chosen = make_design("odpo", epsilon=epsilon).select(make_view(pool, n=n), n)
    drawn = Counter(unordered(chosen))
    least = min(pi.values()) * n  # what is left of the uniform design, drawn at random
    for pair, share in pi.items():
        assert abs(drawn[pair] - n * share) <= 2 + 5 * np.sqrt(least)
    assert abs(np.mean(chosen[:, 1] > chosen[:, 2]) - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_the_step_of_odpo_is_the_best_on_its_line() -> None:
    rng = np.random.default_rng(0)
    b = rng.normal(size=(20, 3))
    v, z = b.T @ b / 20, 3 * rng.normal(size=3)
    top = float(z @ np.linalg.inv(v) @ z)
    step = (top / 3 - 1) / (top - 1)
    grid = np.linspace(0, 0.999, 10_000)
    values = [np.linalg.slogdet((1 - g) * v + g * np.outer(z, z))[1] for g in grid]
    assert grid[int(np.argmax(values))] == pytest.approx(step, abs=2e-4)


def test_odpo_is_near_the_optimum_that_kiefer_and_wolfowitz_tell(
    make_pool: MakePool, make_view: MakeView
) -> None:
    n, pool = 20_000, make_pool(3, 10, 6, 4, ragged=True)
    z = pool.differences(np.array(all_pairs(pool)))
    chosen = make_design("odpo", epsilon=0.02).select(make_view(pool, n=n), n)
    taken = pool.differences(chosen)
    inverse = np.linalg.inv(taken.T @ taken / n)
    assert 4 <= np.einsum("pi,ij,pj->p", z, inverse, z).max() <= 4 * 1.02 * 1.02


def test_odpo_learns_what_pairs_span_in_one_dimension_and_in_none(make_view: MakeView) -> None:
    phi = np.array([[[0.0, 0], [1, 2], [3, 6]], [[0, 0], [0.5, 1], [1, 2]]])
    line = make_design("odpo").select(make_view(Pool(phi), n=200), 200)
    assert Counter(unordered(line))[0, 0, 2] >= 199
    point = make_design("odpo").select(make_view(Pool(np.ones((2, 3, 2))), n=600), 600)
    assert chisquare(list(Counter(unordered(point)).values())).pvalue > 1e-3


# dope


def prompt_weights(pool: Pool, prior: float) -> Array:
    """D-optimal weights over prompts, by a long multiplicative run over explicit pairs."""
    informations = []
    for x in range(pool.n_prompts):
        z = pool.differences(np.array([p for p in all_pairs(pool) if p[0] == x]))
        informations.append(0.25 * z.T @ z / len(z) + prior * np.eye(pool.dim))
    pi = np.full(pool.n_prompts, 1 / pool.n_prompts)
    for _ in range(5000):
        inverse = np.linalg.inv(np.tensordot(pi, informations, 1))
        pi = pi * [np.trace(a @ inverse) for a in informations] / pool.dim
    inverse = np.linalg.inv(np.tensordot(pi, informations, 1))
    # Kiefer and Wolfowitz's theorem for matrices.
    assert max(np.trace(a @ inverse) for a in informations) <= pool.dim * (1 + 1e-4)
    return pi


def test_dope_draws_prompts_from_the_d_optimal_weights_and_their_pairs_alike(
    make_pool: MakePool, make_view: MakeView
) -> None:
    n, pool = 20_000, make_pool(9, 6, 5, 3, ragged=True)
    sizes = pool.valid.sum(axis=1)
    pi = prompt_weights(pool, RIDGE / n)
    assert len(set(sizes[pi > 0.05].tolist())) == 3, "prompts differ in their number of pairs"
    design = make_design("dope", tol=1e-5, iterations=20_000)
    chosen = design.select(make_view(pool, n=n, ridge=RIDGE), n)
    prompts = np.bincount(chosen[:, 0], minlength=6)
    told = n * pi >= 5
    assert prompts[~told].sum() <= 2 + 5 * n * pi[~told].sum()
    share = pi[told] / pi[told].sum()
    assert chisquare(prompts[told], prompts[told].sum() * share).pvalue > 1e-3
    for x in np.flatnonzero(told):
        drawn = Counter((i, j) for _, i, j in chosen[chosen[:, 0] == x].tolist())
        assert len(drawn) == sizes[x] * (sizes[x] - 1)
        assert chisquare(list(drawn.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("greedy-i-robust(candidates=0)", "candidates must be 1 or more, got 0"),
        ("greedy-i-robust(selectivity=-1)", "selectivity must be a finite number, 0 or more"),
        ("greedy-i-robust(residual=-1)", "residual must be a finite number, 0 or more"),
        ("bayes-i-optimal(draws=0)", "draws must be 1 or more, got 0"),
        ("minimax-i-optimal(draws=0)", "draws must be 1 or more, got 0"),
        ("arm-fi(candidates=0)", "candidates must be 1 or more, got 0"),
        ("adpo(candidates=0)", "candidates must be 1 or more, got 0"),
        ("active-dpo(candidates=0)", "candidates must be 1 or more, got 0"),
        ("active-dpo(projection=0)", "projection must be 1 or more, got 0"),
        ("odpo(epsilon=0.0)", r"epsilon must be a positive number, got 0\.0"),
        ("odpo(iterations=-1)", "iterations must be 0 or more, got -1"),
        ("dope(tol=-1.0)", r"tol must be a positive number, got -1\.0"),
        ("dope(iterations=-1)", "iterations must be 0 or more, got -1"),
    ],
)
def test_parameters_that_cannot_be_are_refused_at_once(spec: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_design(spec)
