from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from pairbench import Design, LogLinearDPO, Pairs, Pool, View
from pairbench.design.design import FunctionDesign
from tests.reference import history

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Question = tuple[int, int, int]
SEEDS = st.integers(0, 2**32 - 1)


def test_a_view_reads_the_round_off_its_ledger(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool()
    view = make_view(pool, [[0, 0, 1], [1, 0, 1]], [1, 0], n=7)
    assert (view.budget_left, view.horizon, view.round, view.rounds_left) == (7, 9, 1, 1)


def test_the_implicit_theta_is_the_trainers(make_pool: MakePool, make_view: MakeView) -> None:
    pool = make_pool(1, ragged=True)
    pairs, labels = history(pool, 12)
    view = make_view(pool, pairs, labels, ridge=0.4, beta=0.7)
    policy = LogLinearDPO(0.4).fit(pool, 0.7, pairs, labels)
    np.testing.assert_array_equal(view.implicit_theta(), policy.theta)
    np.testing.assert_allclose(view.implicit_rewards(), pool.phi @ policy.theta)
    # Up to a constant in x it is β log π/π_ref.
    with np.errstate(invalid="ignore"):
        ratio = 0.7 * (policy.log_probs(pool) - pool.log_ref) - view.implicit_rewards()
    for x in range(pool.n_prompts):
        assert np.ptp(ratio[x, pool.valid[x]]) < 1e-12


def test_the_log_policy_is_that_of_the_trained_policy(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(1, ragged=True)
    pairs, labels = history(pool, 12)
    view = make_view(pool, pairs, labels, ridge=0.4, beta=0.7)
    found = view.log_policy()
    trained = LogLinearDPO(0.4).fit(pool, 0.7, pairs, labels)
    np.testing.assert_allclose(found, trained.log_probs(pool), atol=1e-12)
    # π ∝ π_ref exp(r/β), over the completions that are there.
    theta = trained.theta
    for x in range(pool.n_prompts):
        there = np.flatnonzero(pool.valid[x])
        weight = [np.exp(pool.log_ref[x, y] + pool.phi[x, y] @ theta / 0.7) for y in there]
        np.testing.assert_allclose(np.exp(found[x, there]), weight / np.sum(weight), rtol=1e-10)
        assert np.isneginf(found[x, ~pool.valid[x]]).all()


def test_before_the_first_label_the_policy_is_the_reference(
    make_pool: MakePool, make_view: MakeView
) -> None:
    pool = make_pool(ragged=True)
    found = make_view(pool).log_policy()
    np.testing.assert_allclose(found[pool.valid], pool.log_ref[pool.valid], atol=1e-12)


def test_before_the_first_label_the_implicit_reward_is_zero(
    make_pool: MakePool, make_view: MakeView
) -> None:
    np.testing.assert_array_equal(make_view(make_pool()).implicit_rewards(), 0)


def test_a_function_is_a_design_with_its_parameters(
    make_pool: MakePool, make_view: MakeView
) -> None:
    def select(view: View, n: int, shift: int) -> Pairs:
        return np.full((n, 3), shift)

    design: Design = FunctionDesign(select, shift=4)
    np.testing.assert_array_equal(design.select(make_view(make_pool()), 2), np.full((2, 3), 4))
