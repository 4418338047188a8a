"""A world in which every stage of an annotator has something to go by."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from pairbench import BradleyTerry, LogLinearDPO, Pool, Truth, World
from pairbench.oracles import ExpectedLabelOracle

MakeWorld = Callable[..., World]
Answering = Callable[..., ExpectedLabelOracle]


def drawn(
    seed: int = 0, prompts: int = 6, completions: int = 5, dim: int = 3, *, ragged: bool = True
) -> World:
    """A random world, with lengths, a reference policy, and rewards in four steps.

    Where it is ragged, the first prompt has two completions, and others have up to all of them.
    """
    rng = np.random.default_rng(seed)
    shape = (prompts, completions)
    valid = rng.random(shape) < 0.8 if ragged else np.ones(shape, dtype=np.bool_)
    valid[:, :2], valid[0, 2:] = True, not ragged
    steps = np.where(valid[:, :, None], rng.normal(size=(*shape, 4)), 0.0)
    pool = Pool(
        rng.normal(size=(*shape, dim)),
        log_ref=rng.normal(size=shape),
        lengths=rng.integers(1, 500, size=shape),
        valid=valid,
        prompt_weights=rng.uniform(0.5, 2, size=prompts),
    )
    truth = Truth(steps.sum(axis=2), np.zeros(shape), steps=steps)
    oracle = BradleyTerry(truth.rewards, seed)
    return World(pool, Pool(pool.features), truth, oracle, LogLinearDPO(), 1.0)


def with_rewards(world: World, rewards: ArrayLike, lengths: ArrayLike | None = None) -> World:
    """The same world with other rewards, which come in the same steps plus a constant."""
    pool = world.pool
    r = np.where(pool.valid, rewards, 0.0)
    assert world.truth.steps is not None
    off = (r - world.truth.steps.sum(axis=2)) / world.truth.steps.shape[2]
    truth = Truth(r, world.truth.held_out, steps=world.truth.steps + off[:, :, None])
    if lengths is not None:
        log_ref = np.where(pool.valid, pool.log_ref, 0.0)
        pool = Pool(pool.features, log_ref=log_ref, lengths=lengths, valid=pool.valid)
    return replace(world, pool=pool, truth=truth)


@pytest.fixture(scope="session")
def make_world() -> MakeWorld:
    """Worlds of any small shape."""
    return drawn


@pytest.fixture(scope="session")
def answering(make_world: MakeWorld) -> Answering:
    """The oracle of an annotator by its text, on such a world."""

    def make(annotator: str, seed: int = 0, world: World | None = None) -> ExpectedLabelOracle:
        world = make_world() if world is None else world
        oracle = world.with_annotator(annotator, seed).oracle
        assert isinstance(oracle, ExpectedLabelOracle)
        return oracle

    return make
