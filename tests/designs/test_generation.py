"""PILAF's mixture, against its definition."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import Pool, View, make_design
from tests.reference import all_pairs, drawn_as, theta_of

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]


def unordered_chances(view: View, apart: float) -> dict[Question, float]:
    """The chance of each question, pairs drawn from π⁺ and π⁻ with probability ``apart``."""
    pool, beta = view.pool, view.beta
    ref = np.exp(pool.log_ref)
    policy = ref * np.exp(pool.phi @ theta_of(view) / beta)
    policy /= policy.sum(axis=1, keepdims=True)
    safe = np.where(pool.valid, ref, 1.0)
    bold, timid = policy ** (1 + beta) * safe**-beta, policy ** (1 - beta) * safe**beta
    chances: dict[Question, float] = {}
    for x in range(pool.n_prompts):
        own = [(i, j) for y, i, j in all_pairs(pool) if y == x]
        for first, second, share in (
            (policy[x], policy[x], 1 - apart),
            (bold[x], timid[x], apart),
        ):
            joint = {(i, j): first[i] * second[j] + first[j] * second[i] for i, j in own}
            for (i, j), chance in joint.items():
                part = pool.prompt_weights[x] * share * chance / sum(joint.values())
                chances[x, i, j] = chances.get((x, i, j), 0) + float(part)
    return chances


@pytest.fixture
def trained(make_pool: MakePool, make_view: MakeView) -> View:
    """A view of a policy that is far from its reference, on a ragged pool of unequal prompts."""
    pool = make_pool(7, 4, 5, 3, ragged=True, weighted=True)
    asked = all_pairs(pool)[::2]
    labels = (pool.differences(np.array(asked)) @ np.array([3.0, -3.0, 1.0]) > 0).astype(np.float64)
    return make_view(pool, asked, labels, n=40_000, ridge=0.3, beta=0.7)


def sides(view: View, n: int) -> NDArray[np.int64]:
    chosen = make_design("pilaf").select(view, n)
    return np.concatenate([chosen[:, :1], np.sort(chosen[:, 1:], axis=1)], axis=1)


def test_pilaf_draws_half_of_the_pairs_from_the_interpolated_policies(trained: View) -> None:
    chosen = sides(trained, 40_000)
    assert drawn_as(chosen, unordered_chances(trained, 0.5))
    for other in (0.0, 0.4, 1.0):
        assert not drawn_as(chosen, unordered_chances(trained, other))


def test_pilaf_begins_on_policy(trained: View, make_view: MakeView) -> None:
    view = make_view(trained.pool, n=40_000, beta=0.7)
    assert drawn_as(sides(view, 40_000), unordered_chances(view, 0.0))


def test_pilaf_puts_the_better_one_first_half_of_the_time(trained: View) -> None:
    prompt, first, second = make_design("pilaf").select(trained, 40_000).T
    reward = trained.pool.phi @ theta_of(trained)
    share = float(np.mean(reward[prompt, first] > reward[prompt, second]))
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(40_000)


def test_pilaf_stands_rewards_of_which_no_exponential_is_a_number(make_view: MakeView) -> None:
    pool = Pool(np.tile(np.array([0.0, 1.0, -2000.0, 500.0, 2000.0])[:, None], (3, 1, 1)))
    view = make_view(pool, [[0, 1, 0]], [1], n=3000, ridge=1e-3, beta=5.0)
    assert (pool.phi @ theta_of(view)).max() > 5000
    chosen = sides(view, 3000)
    pairs, counts = np.unique(chosen[:, 1:], axis=0, return_counts=True)
    # On-policy pairs are of the two best; those drawn apart, as β > 1, of the worst and the best.
    assert pairs.tolist() == [[2, 4], [3, 4]]
    assert abs(counts[0] / 3000 - 0.5) < 4 * 0.5 / np.sqrt(3000)
