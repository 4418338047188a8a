"""The decision-theoretic designs, against quadrature, BoTorch and refits."""

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from pairbench import (
    InvalidParameter,
    Laplace,
    LaplaceBelief,
    LogLinearDPO,
    Pairs,
    Pool,
    View,
    fresh_pairs,
    make_design,
)
from pairbench.information import policy_covariance
from tests.reference import all_pairs, precision_of, sigmoid, theta_of, unordered

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

RIDGE, BETA = 0.5, 0.8


@pytest.fixture
def make_round(make_pool: MakePool, make_view: MakeView) -> Callable[..., View]:
    """Makes the same later round of a ragged pool of weighted prompts again and again."""

    def make(asked: int = 15, seed: int = 0, prompts: int = 8) -> View:
        pool = make_pool(7, prompts, 5, 3, ragged=True, weighted=True)
        rng = np.random.default_rng(3)
        pairs = rng.permutation(np.array(all_pairs(pool)))[:asked]
        pairs[::2] = pairs[::2][:, [0, 2, 1]]
        logits = pool.differences(pairs) @ np.array([1.0, -1.0, 0.5])
        labels = (rng.random(len(pairs)) < 1 / (1 + np.exp(-logits))).astype(np.float64)
        labels[::7] = np.nan
        return make_view(pool, pairs, labels, n=6, ridge=RIDGE, beta=BETA, seed=seed)

    return make


@pytest.fixture
def view(make_round: Callable[..., View]) -> View:
    return make_round()


def fresh(view: View) -> list[Question]:
    """The pairs not asked before."""
    asked = set(unordered(view.pairs))
    return [pair for pair in all_pairs(view.pool) if pair not in asked]


def means(view: View) -> Array:
    """μ, each prompt's valid completions around 0; −∞ where not valid."""
    rewards = np.where(view.pool.valid, view.pool.phi @ theta_of(view), np.nan)
    centred = rewards - np.nanmean(rewards, axis=1, keepdims=True)
    return np.where(view.pool.valid, centred, -np.inf)


def above_best(view: View, value: Callable[[Question], float]) -> Callable[[Question], float]:
    """What a pair's expected best exceeds the prompt's best mean by, times the prompt's weight."""
    best = means(view).max(axis=1)
    return lambda pair: float((value(pair) - best[pair[0]]) * view.pool.prompt_weights[pair[0]])


# eubo


def expected_best(view: View) -> Callable[[Question], float]:
    """E max(r_i, r_j) by quadrature over r_i − r_j."""
    mean, covariance = means(view), np.linalg.inv(precision_of(view, theta_of(view)))

    def value(pair: Question) -> float:
        x, i, j = pair
        z = view.pool.phi[x, i] - view.pool.phi[x, j]
        delta, s = mean[x, i] - mean[x, j], np.sqrt(z @ covariance @ z)

        def integrand(e: float) -> float:
            return float(max(delta + s * e, 0) * np.exp(-(e**2) / 2) / np.sqrt(2 * np.pi))

        return float(mean[x, j] + quad(integrand, -9, 9, points=[-delta / s])[0])

    return value


def test_eubo_takes_the_pairs_of_largest_expected_best(view: View) -> None:
    gain = above_best(view, expected_best(view))
    expected = sorted(fresh(view), key=lambda pair: -gain(pair))
    assert gain(expected[0]) > 0 > gain(expected[-1])
    assert unordered(make_design("eubo").select(view, 20)) == expected[:20]
    leverage = unordered(make_design("leverage").select(view, 20))
    assert leverage != expected[:20], "the pool tells the two apart"


def linear_model(view: View) -> Any:
    """BoTorch's model of r = φᵀθ with θ's Laplace posterior."""
    import torch

    # Imported by name: whoever checks types need not have them.
    models, posteriors, distributions = (
        importlib.import_module(name)
        for name in ("botorch.models.model", "botorch.posteriors", "gpytorch.distributions")
    )
    theta = torch.from_numpy(theta_of(view))
    covariance = torch.from_numpy(np.linalg.inv(precision_of(view, theta_of(view))))

    def posterior(_: Any, X: Any, **__: Any) -> Any:  # noqa: N803
        spread = X @ covariance @ X.transpose(-1, -2)
        jitter = 1e-9 * torch.eye(X.shape[-2], dtype=X.dtype)
        normal = distributions.MultivariateNormal(X @ theta, spread + jitter)
        return posteriors.GPyTorchPosterior(normal)

    datapoints = torch.zeros(1, dtype=torch.float64)
    members = {"posterior": posterior, "num_outputs": 1, "datapoints": datapoints}
    return type("Linear", (models.Model,), members)()


def centred_phi(view: View) -> Array:
    """φ less its mean over the prompt's valid completions."""
    phi = view.pool.phi
    mean = [phi[x, view.pool.valid[x]].mean(axis=0) for x in range(view.pool.n_prompts)]
    centred: Array = phi - np.array(mean)[:, None]
    return centred


def test_eubo_is_that_of_botorch(view: View) -> None:
    acquisition = pytest.importorskip("botorch.acquisition.preference")
    import torch

    analytic = acquisition.AnalyticExpectedUtilityOfBestOption(linear_model(view))
    phi = centred_phi(view)
    gain = above_best(view, lambda p: float(analytic(torch.from_numpy(phi[p[0], list(p[1:])]))))
    expected = sorted(fresh(view), key=lambda pair: -gain(pair))[:20]
    assert unordered(make_design("eubo").select(view, 20)) == expected


# qeubo


def greedy_sets(
    view: View, value: Callable[[int, list[int]], float], n: int
) -> list[tuple[Question, float]]:
    """Each choice with what it gains: ``value(x, s)`` is E max over completions s of prompt x."""
    pool, mean = view.pool, means(view)
    sets = {x: [int(mean[x].argmax())] for x in range(pool.n_prompts)}
    chosen = []
    for _ in range(n):
        gains = {}
        for x, members in sets.items():
            for j in np.flatnonzero(pool.valid[x]).tolist():
                if j not in members:
                    gain = value(x, [*members, j]) - value(x, members)
                    gains[x, j] = pool.prompt_weights[x] * gain
        x, j = max(gains, key=lambda place: gains[place])
        first = sets[x][0]
        chosen.append(((x, min(first, j), max(first, j)), float(gains[x, j])))
        sets[x].append(j)
    return chosen


def test_qeubo_adds_the_completion_that_raises_the_expected_best_most(
    make_round: Callable[..., View],
) -> None:
    view, again = make_round(), make_round()
    draws = Laplace().fit(again).draws(400, again.rng)

    def value(x: int, members: list[int]) -> float:
        return float(np.mean([max(draw[x, k] for k in members) for draw in draws]))

    expected = greedy_sets(view, value, 10)
    assert min(gain for _, gain in expected) > 0
    prompts = Counter(pair[0] for pair, _ in expected)
    assert max(prompts.values()) > 1, "some prompt gets a set of three"
    chosen = make_design("qeubo", draws=400).select(view, 10)
    assert unordered(chosen) == [pair for pair, _ in expected]


def test_qeubo_is_that_of_botorch(make_round: Callable[..., View]) -> None:
    acquisition = pytest.importorskip("botorch.acquisition.preference")
    import torch

    view, phi = make_round(), centred_phi(make_round())
    normal = importlib.import_module("botorch.sampling.normal")
    sampler = normal.SobolQMCNormalSampler(torch.Size([4096]), seed=0)
    qeubo = acquisition.qExpectedUtilityOfBestOption(linear_model(view), sampler=sampler)

    def value(x: int, members: list[int]) -> float:
        return float(qeubo(torch.from_numpy(phi[x, members])))

    expected = greedy_sets(view, value, 4)
    chosen = make_design("qeubo", draws=100_000).select(view, 4)
    assert unordered(chosen) == [pair for pair, _ in expected]


def test_qeubo_with_one_label_for_a_prompt_is_eubo_with_the_best_looking_one(
    make_round: Callable[..., View],
) -> None:
    view = make_round(asked=12)
    best, gain = means(view).argmax(axis=1), above_best(view, expected_best(view))
    pairs = [p for p in all_pairs(view.pool) if best[p[0]] in p[1:]]
    chosen = unordered(make_design("qeubo", draws=100_000).select(view, 1))
    assert chosen == [max(pairs, key=gain)]


def test_qeubo_compares_all_before_it_repeats(view: View) -> None:
    sizes = view.pool.valid.sum(axis=1)
    size = int((sizes - 1).sum())
    chosen = unordered(make_design("qeubo").select(view, size + 3))
    assert len(set(chosen[:size])) == size
    assert Counter(x for x, _, _ in chosen[:size]) == dict(enumerate((sizes - 1).tolist()))
    assert chosen[size:] == chosen[:3]
    with pytest.raises(InvalidParameter, match="draws must be 1 or more, got 0"):
        make_design("qeubo", draws=0)


# knowledge-gradient


def policy(view: View, rewards: Array) -> Array:
    """π ∝ π_ref exp(r/β), from its definition."""
    pi = np.zeros(rewards.shape)
    for x in range(view.pool.n_prompts):
        there = np.flatnonzero(view.pool.valid[x])
        mass = np.exp(view.pool.log_ref[x, there] + rewards[x, there] / view.beta)
        pi[x, there] = mass / mass.sum()
    return pi


def objective(view: View, pi: Array, rewards: Array) -> float:
    """J(π) = E_x [Σ π r − β KL(π ‖ π_ref)], from its definition."""
    total = 0.0
    for x, k in np.argwhere(view.pool.valid):
        kl = np.log(pi[x, k]) - view.pool.log_ref[x, k]
        total += view.pool.prompt_weights[x] * pi[x, k] * (rewards[x, k] - view.beta * kl)
    return total


def value(view: View, mean: Array) -> float:
    """V(μ), the best policy's J at r = μ."""
    total = 0.0
    for x in range(view.pool.n_prompts):
        there = np.flatnonzero(view.pool.valid[x])
        mass = np.exp(view.pool.log_ref[x, there] + mean[x, there] / view.beta)
        total += view.pool.prompt_weights[x] * view.beta * np.log(mass.sum())
    return total


def closed_form(view: View, pair: Question) -> float:
    """E_y V(μ_y) − V(μ), with the updated mean of all rewards written out."""
    theta, phi = theta_of(view), view.pool.phi
    covariance = np.linalg.inv(precision_of(view, theta))
    z = phi[pair[0], pair[1]] - phi[pair[0], pair[2]]
    kappa = 1 / np.sqrt(1 + np.pi / 8 * z @ covariance @ z)
    p = sigmoid(kappa * z @ theta)
    now = phi @ theta
    if_first = value(view, now + kappa * (1 - p) * (phi @ covariance @ z))
    if_second = value(view, now - kappa * p * (phi @ covariance @ z))
    return p * if_first + (1 - p) * if_second - value(view, now)


def gains_of(view: View, pairs: Pairs) -> Array:
    design: Any = make_design("knowledge-gradient")
    gains: Array = design.gains(view, Laplace().fit(view), pairs)
    return gains


@pytest.mark.parametrize("asked", [0, 15])
def test_the_knowledge_gradient_is_the_expected_rise_of_the_policys_value(
    make_round: Callable[..., View], asked: int
) -> None:
    view = make_round(asked)
    pairs = np.array(all_pairs(view.pool))
    expected = [closed_form(view, pair) for pair in all_pairs(view.pool)]
    gains = gains_of(view, pairs)
    np.testing.assert_allclose(gains, expected, rtol=1e-8)
    assert (gains > 0).all()
    # The same question either way round.
    np.testing.assert_allclose(gains_of(view, pairs[:, [0, 2, 1]]), gains, rtol=1e-10)


def test_the_value_is_the_best_policys_objective(view: View) -> None:
    rewards = np.where(view.pool.valid, view.pool.phi @ theta_of(view), 0)
    best = objective(view, policy(view, rewards), rewards)
    assert value(view, rewards) == pytest.approx(best)
    other = policy(view, rewards + 0.1 * np.random.default_rng(0).normal(size=rewards.shape))
    assert objective(view, other, rewards) < best


def refitted(view: View, belief: LaplaceBelief, pair: Question, draws: Array) -> float:
    """By how much J is expected to rise when the label is bought and DPO is fitted again.

    θ is drawn from the posterior, and the label follows from θ; the policy does not know θ.
    """
    x, i, j = pair
    phi = view.pool.phi
    win = 1 / (1 + np.exp(-draws @ (phi[x, i] - phi[x, j])))
    now = objective(view, policy(view, phi @ belief.theta), phi @ draws.mean(axis=0))
    then = 0.0
    for label, chance in ((1.0, win), (0.0, 1 - win)):
        pairs = np.vstack([view.pairs, [pair]])
        fit = LogLinearDPO(view.ridge).fit(
            view.pool, view.beta, pairs, np.append(view.labels, label)
        )
        # J is linear in r, so its mean over the draws is J at their mean, given the label.
        expected = chance @ draws / chance.sum()
        pi = policy(view, phi @ fit.theta)
        then += chance.mean() * objective(view, pi, phi @ expected)
    return then - now


@pytest.mark.parametrize(("asked", "tolerance"), [(0, 0.2), (20, 0.15)])
def test_the_knowledge_gradient_is_what_a_refit_brings(
    make_round: Callable[..., View], asked: int, tolerance: float
) -> None:
    view = make_round(asked, prompts=6)
    belief = Laplace().fit(view)
    pairs = all_pairs(view.pool)
    draws = belief.theta_draws(20_000, np.random.default_rng(1))
    truth = np.array([refitted(view, belief, pair, draws) for pair in pairs])
    gains = gains_of(view, np.array(pairs))
    np.testing.assert_allclose(gains, truth, rtol=tolerance)
    assert np.corrcoef(gains, truth)[0, 1] > 0.99
    assert truth[gains.argmax()] > 0.95 * truth.max()


def test_the_knowledge_gradient_of_small_moves_is_the_fall_of_the_trace(
    make_round: Callable[..., View], make_view: MakeView
) -> None:
    # A narrow prior, so that one label moves little.
    plain = make_round()
    view = make_view(plain.pool, plain.pairs, plain.labels, ridge=300.0, beta=BETA)
    theta, pairs = theta_of(view), np.array(all_pairs(view.pool))
    inverse = np.linalg.inv(precision_of(view, theta))
    z = view.pool.differences(pairs)
    felt = inverse @ policy_covariance(view.pool, theta, BETA) @ inverse
    p = 1 / (1 + np.exp(-z @ theta))
    fall = p * (1 - p) * np.einsum("pi,ij,pj->p", z, felt, z) / (2 * BETA)
    np.testing.assert_allclose(gains_of(view, pairs), fall, rtol=0.02)


def test_knowledge_gradient_asks_the_best_and_counts_it_as_labelled(view: View) -> None:
    theta, pool = theta_of(view), view.pool
    matrix, felt = precision_of(view, theta), policy_covariance(pool, theta, BETA)

    def small(pair: Question) -> float:
        z = pool.phi[pair[0], pair[1]] - pool.phi[pair[0], pair[2]]
        u = np.linalg.inv(matrix) @ z
        kappa = 1 / np.sqrt(1 + np.pi / 8 * z @ u)
        p = sigmoid(kappa * z @ theta)
        return float(kappa**2 * p * (1 - p) * u @ felt @ u)

    left = fresh(view)
    ratio = {pair: closed_form(view, pair) / small(pair) for pair in left}
    expected = []
    for _ in range(25):
        best = max(left, key=lambda pair: ratio[pair] * small(pair))
        expected.append(best)
        z = pool.phi[best[0], best[1]] - pool.phi[best[0], best[2]]
        p = sigmoid(float(z @ theta))
        matrix = matrix + p * (1 - p) * np.outer(z, z)
    design = make_design("knowledge-gradient")
    assert unordered(design.select(view, 25)) == expected
    assert expected[0] == max(left, key=lambda pair: closed_form(view, pair))


def test_knowledge_gradient_chooses_among_the_candidates_that_it_draws(
    make_round: Callable[..., View],
) -> None:
    view, again = make_round(seed=5), make_round(seed=5)
    drawn = unordered(fresh_pairs(again, 4))
    design = make_design("knowledge-gradient", candidates=4)
    chosen = unordered(design.select(view, 8))
    assert set(chosen) <= set(drawn)
    assert chosen[0] == max(drawn, key=lambda pair: closed_form(view, pair))
    with pytest.raises(InvalidParameter, match="candidates must be 1 or more, got 0"):
        make_design("knowledge-gradient", candidates=0)
