"""What a world is checked for, and what it keeps when another annotator answers."""

from dataclasses import replace

import numpy as np
import pytest

from pairbench import World, make_env
from pairbench.errors import InvalidPool


@pytest.fixture
def world() -> World:
    return make_env("LogLinear-v1", prompts=4, held_out_prompts=3, completions=3, dim=2).world(1)


def test_rewards_by_step_must_be_the_rewards(world: World) -> None:
    r = world.truth.rewards
    steps = np.stack([r - 1, np.ones(r.shape)], axis=2)
    truth = replace(world.truth, steps=steps)
    assert replace(world, truth=truth).truth.steps is steps
    for wrong, message in (
        (steps[:, :, 0], r"must have shape \(4, 3, steps\), got \(4, 3\)"),
        (steps[:3], r"must have shape \(4, 3, steps\), got \(3, 3, 2\)"),
        (steps + 1e-3, "must sum to the rewards"),
        (steps * np.nan, "must sum to the rewards"),
    ):
        with pytest.raises(InvalidPool, match=message):
            replace(world, truth=replace(world.truth, steps=wrong))


def test_another_annotator_changes_the_answers_and_nothing_else(world: World) -> None:
    other = world.with_annotator("deterministic | mistake(rate=1)", 1)
    assert other.oracle is not world.oracle
    for name in ("pool", "held_out", "truth", "trainer", "beta"):
        assert getattr(other, name) is getattr(world, name)
    labels = other.oracle.label(np.array([[0, 0, 1]]), np.zeros(1, dtype=np.int64))
    assert labels[0] == float(world.truth.rewards[0, 0] < world.truth.rewards[0, 1])
