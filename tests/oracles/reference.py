"""What tests of annotators share: whether answers come as often as a formula says."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from pairbench import Pairs, World
from pairbench.oracles import Oracle

Array = NDArray[np.float64]
Chance = Callable[[int, int, int], float]
"""The probability that the first is preferred, of prompt, first and second."""


def ordered_pairs(world: World) -> Pairs:
    """Every pair of the pool, shown either way."""
    valid = world.pool.valid
    other = ~np.eye(world.pool.n_completions, dtype=np.bool_)
    return np.argwhere(valid[:, :, None] & valid[:, None, :] & other)


def many(pairs: Pairs, labels: int = 100_000) -> tuple[Pairs, NDArray[np.int64]]:
    """About so many questions of these pairs, each many times, and how often before.

    A pair that is shown the other way round is another question here, with coins of its own.
    """
    times = -(-labels // len(pairs))
    repeat = np.arange(times) + times * (pairs[:, 1] > pairs[:, 2])[:, None]
    return np.repeat(pairs, times, axis=0), repeat.reshape(-1)


def shares(oracle: Oracle, pairs: Pairs, value: float, labels: int = 100_000) -> Array:
    """How often each pair is answered so, ``(n,)``, NaN being no answer."""
    given = oracle.label(*many(pairs, labels)).reshape(len(pairs), -1)
    same = np.isnan(given) if np.isnan(value) else given == value
    return np.asarray(same.mean(axis=1))


def come_as_often(found: Array, p: Array, times: float) -> bool:
    """Whether shares of this many independent answers could well have these probabilities."""
    assert found.shape == p.shape
    sure = (p < 1e-12) | (p > 1 - 1e-12)
    if not np.allclose(found[sure], p[sure], atol=1e-9):
        return False
    variance = (p * (1 - p))[~sure] / times
    # Binomials of few expected hits are not nearly normal.
    common = times**2 * variance >= 5
    score = ((found - p)[~sure] ** 2 / np.where(common, variance, 1))[common]
    assert len(score) > 5, "there is nothing to be told"
    return bool(chi2(len(score)).sf(score.sum()) > 1e-3)


def answers_as(oracle: Oracle, world: World, chance: Chance) -> bool:
    """Whether 10⁵ answers, all of them for one of the two, come with these probabilities."""
    pairs = ordered_pairs(world)
    p = np.array([chance(*(int(k) for k in row)) for row in pairs])
    wins, losses = (shares(oracle, pairs, value) for value in (1.0, 0.0))
    np.testing.assert_allclose(wins + losses, 1)
    return come_as_often(wins, p, -(-100_000 // len(pairs)))
