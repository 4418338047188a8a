import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from pairbench import BradleyTerry, LogLinearDPO, Pool, Truth, World
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.scoring.exact import best_in_class, gap, objective, optimal_log_probs, win_rate

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
BETAS = st.floats(0.2, 5.0)


def drawn(pool: Pool, seed: int, beta: float) -> tuple[Array, Array]:
    """Rewards that no feature explains and the log-probabilities of some policy."""
    rng = np.random.default_rng(seed)
    rewards = np.where(pool.valid, rng.normal(size=pool.valid.shape), 0.0)
    return rewards, LogLinearPolicy(rng.normal(size=pool.dim), beta).log_probs(pool)


def slow_objective(probs: list[list[float]], pool: Pool, rewards: Array, beta: float) -> float:
    """J(π) by its definition."""
    terms = []
    for x in range(pool.n_prompts):
        for y in range(pool.n_completions):
            if pool.valid[x, y]:
                p, ref = probs[x][y], math.exp(pool.log_ref[x, y])
                reward = float(rewards[x, y]) - beta * math.log(p / ref)
                terms.append(float(pool.prompt_weights[x]) * p * reward)
    return math.fsum(terms)


def slow_optimum(pool: Pool, rewards: Array, beta: float) -> list[list[float]]:
    """π* ∝ π_ref exp(r*/β)."""
    rows = []
    for x in range(pool.n_prompts):
        row = [
            math.exp(pool.log_ref[x, y]) * math.exp(rewards[x, y] / beta) if there else 0.0
            for y, there in enumerate(pool.valid[x])
        ]
        rows.append([p / math.fsum(row) for p in row])
    return rows


@given(SEEDS, st.integers(1, 4), st.integers(2, 5), BETAS)
def test_the_gap_is_what_the_objective_loses(
    make_pool: Callable[..., Pool], seed: int, prompts: int, completions: int, beta: float
) -> None:
    pool = make_pool(seed, prompts, completions, 2, ragged=True, weighted=True)
    rewards, log_probs = drawn(pool, seed, beta)
    probs = [[math.exp(value) for value in row] for row in log_probs]
    lost = slow_objective(slow_optimum(pool, rewards, beta), pool, rewards, beta)
    mine = slow_objective(probs, pool, rewards, beta)
    assert objective(log_probs, pool, rewards, beta) == pytest.approx(mine, rel=1e-12, abs=1e-12)
    assert gap(log_probs, pool, rewards, beta) == pytest.approx(lost - mine, rel=1e-12, abs=1e-12)


@given(SEEDS, BETAS)
def test_the_optimal_policy_has_no_gap(
    make_pool: Callable[..., Pool], seed: int, beta: float
) -> None:
    pool = make_pool(seed, ragged=True, weighted=True)
    rewards, log_probs = drawn(pool, seed, beta)
    optimal = optimal_log_probs(pool, rewards, beta)
    np.testing.assert_allclose(np.exp(optimal), slow_optimum(pool, rewards, beta), atol=1e-14)
    assert gap(optimal, pool, rewards, beta) <= 1e-14
    assert gap(log_probs, pool, rewards, beta) > 0


def test_the_gap_holds_in_log_space_where_probabilities_vanish() -> None:
    pool = Pool(np.zeros((1, 2, 1)))
    # π is sure of the wrong one: the gap is r*(y₁) − r*(y₀) less β log of what π* leaves over.
    log_probs = np.array([[0.0, -2000.0]])
    assert gap(log_probs, pool, np.array([[0.0, 3000.0]]), 1.0) == pytest.approx(3000)


def test_a_constant_added_to_a_prompts_rewards_changes_no_figure(
    make_pool: Callable[..., Pool],
) -> None:
    pool = make_pool(2, weighted=True)
    rewards, log_probs = drawn(pool, 2, 1.0)
    moved = rewards + np.arange(pool.n_prompts)[:, None]
    assert gap(log_probs, pool, moved, 1.0) == pytest.approx(gap(log_probs, pool, rewards, 1.0))
    assert win_rate(log_probs, pool, moved) == pytest.approx(win_rate(log_probs, pool, rewards))


def slow_win_rate(log_probs: Array, pool: Pool, rewards: Array) -> float:
    total = 0.0
    for x in range(pool.n_prompts):
        there = np.flatnonzero(pool.valid[x])
        for y in there:
            for other in there:
                share = float(np.sign(rewards[x, y] - rewards[x, other]) + 1) / 2
                weight = math.exp(log_probs[x, y]) * math.exp(pool.log_ref[x, other])
                total += float(pool.prompt_weights[x]) * weight * share
    return total


@given(SEEDS, st.integers(1, 4), st.integers(2, 6), st.booleans())
def test_the_win_rate_is_that_of_all_pairs(
    make_pool: Callable[..., Pool], seed: int, prompts: int, completions: int, ties: bool
) -> None:
    pool = make_pool(seed, prompts, completions, 2, ragged=True, weighted=True)
    rewards, log_probs = drawn(pool, seed, 1.0)
    if ties:
        rewards = np.round(rewards)
    expected = slow_win_rate(log_probs, pool, rewards)
    assert win_rate(log_probs, pool, rewards) == pytest.approx(expected, abs=1e-12)


@given(SEEDS, st.booleans())
def test_the_reference_policy_wins_half(
    make_pool: Callable[..., Pool], seed: int, ties: bool
) -> None:
    pool = make_pool(seed, ragged=True, weighted=True)
    rewards, _ = drawn(pool, seed, 1.0)
    rewards = np.round(rewards) if ties else rewards
    assert win_rate(pool.log_ref, pool, rewards) == pytest.approx(0.5, abs=1e-12)


def test_the_win_rate_of_a_sure_policy_counts_what_lies_below() -> None:
    pool = Pool(np.zeros((1, 4, 1)))
    log_probs = np.log([[1e-300, 1e-300, 1e-300, 1.0]])
    # Above one of four, level with itself and another, below one.
    assert win_rate(log_probs, pool, np.array([[0.0, 2.0, 1.0, 1.0]])) == pytest.approx(0.5)
    assert win_rate(log_probs, pool, np.array([[0.0, 1.0, 2.0, 3.0]])) == pytest.approx(7 / 8)


@given(SEEDS, BETAS)
def test_a_linear_reward_has_no_floor(
    make_pool: Callable[..., Pool], seed: int, beta: float
) -> None:
    pool = make_pool(seed, 8, 4, 3, ragged=True, weighted=True)
    theta = np.random.default_rng(seed).normal(size=3)
    rewards = np.where(pool.valid, pool.phi @ theta, 0.0)
    found, floor = best_in_class(pool, rewards, beta)
    assert 0 <= floor < 1e-8
    log_probs = LogLinearPolicy(found, beta).log_probs(pool)
    assert gap(log_probs, pool, rewards, beta) == pytest.approx(floor, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_no_random_start_beats_the_best_in_class(make_pool: Callable[..., Pool], seed: int) -> None:
    pool, beta = make_pool(seed, 20, 4, 3, ragged=True, weighted=True), 0.7
    rewards, _ = drawn(pool, seed, beta)
    theta, floor = best_in_class(pool, rewards, beta)

    def loss(candidate: Array) -> float:
        return gap(LogLinearPolicy(candidate, beta).log_probs(pool), pool, rewards, beta)

    assert loss(theta) == pytest.approx(floor, abs=1e-12)
    rng = np.random.default_rng(seed)
    others = [float(minimize(loss, rng.normal(size=3) * 2, method="BFGS").fun) for _ in range(20)]
    assert floor > 1e-3
    assert floor <= min(others) + 1e-6


def test_where_all_completions_are_equal_every_design_is_the_best() -> None:
    pool = Pool(np.ones((3, 4, 2)))
    world = World(
        pool=pool,
        held_out=pool,
        truth=Truth(np.zeros((3, 4)), np.zeros((3, 4)), np.zeros(2)),
        oracle=BradleyTerry(np.zeros((3, 4)), 0),
        trainer=LogLinearDPO(),
        beta=1.0,
    )
    pairs = np.array([[0, 1, 2]])
    policy = world.trainer.fit(pool, 1.0, pairs, np.array([1.0]))
    score = world.score(policy, pairs)
    assert (score.gap, score.design_efficiency) == (0.0, 1.0)
