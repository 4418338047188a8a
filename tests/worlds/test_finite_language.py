"""A language's world rates designs by its pool, and finds its floor by training."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from pairbench import BradleyTerry, Pool, Truth, make_trainer
from pairbench.information import policy_covariance
from pairbench.policies.log_linear import LogLinearPolicy
from pairbench.pool.pool import Pairs
from pairbench.scoring.exact import best_in_class
from pairbench.worlds.finite_language import LanguageWorld


@dataclass
class Fixed:
    """Trains to what it is, and keeps what it was trained on."""

    theta: float
    ridge: float = 1.0
    seen: tuple[Pairs, NDArray[np.float64]] | None = None

    def fit(
        self, pool: Pool, beta: float, pairs: Pairs, labels: NDArray[np.float64]
    ) -> LogLinearPolicy:
        self.seen = (pairs, labels)
        return LogLinearPolicy(np.array([self.theta]), beta)


@pytest.fixture
def world() -> LanguageWorld:
    rng = np.random.default_rng(0)
    pool = Pool(rng.normal(size=(4, 3, 2)))
    held_out = Pool(rng.normal(size=(5, 7, 1)))  # features of its own, or none
    rewards, there = rng.normal(size=(4, 3)), 2.0 * held_out.phi[:, :, 0]
    return LanguageWorld(
        pool=pool,
        held_out=held_out,
        truth=Truth(rewards, there),
        oracle=BradleyTerry(rewards, 0),
        trainer=make_trainer("dpo", 1.0),
        saturated_trainers=[Fixed(0.0), Fixed(1.5), Fixed(9.0)],
        beta=1.0,
    )


def test_the_floor_is_the_least_gap_of_all_trainings(world: LanguageWorld) -> None:
    gaps = [world.gap(LogLinearPolicy(np.array([t]), 1.0)) for t in (0.0, 1.5, 9.0)]
    assert world.best_in_class[1] == min(gaps) == gaps[1]


def test_they_see_all_pairs_without_noise(world: LanguageWorld) -> None:
    assert world.best_in_class
    (first, *_) = world.saturated_trainers
    assert isinstance(first, Fixed)
    assert first.seen is not None
    pairs, labels = first.seen
    assert len({tuple(row) for row in pairs.tolist()}) == 4 * 3
    x, i, j = pairs.T
    rewards = world.truth.rewards
    np.testing.assert_allclose(labels, expit(rewards[x, i] - rewards[x, j]))


def test_designs_are_rated_by_the_pool(world: LanguageWorld) -> None:
    theta, _ = best_in_class(world.pool, world.truth.rewards, 1.0)
    np.testing.assert_allclose(world.best_in_class[0], theta)
    np.testing.assert_allclose(world.best_covariance, policy_covariance(world.pool, theta, 1.0))
