"""Old names of public objects."""

import importlib
import warnings

import numpy as np
import pytest

from pairbench import PairEnv, make_env
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext
from pairbench.pool.pool import CompletionIndex
from pairbench.worlds.world import World

MODULES = ["pairbench", "pairbench.information", "pairbench.coverage"]


@pytest.mark.parametrize("name", MODULES)
def test_an_old_name_is_the_new_object_with_a_warning_at_the_users_line(name: str) -> None:
    module = importlib.import_module(name)
    assert module.RENAMED
    for old, new in module.RENAMED.items():
        message = rf"^{name}\.{old} is deprecated; use {name}\.{new}\.$"
        with pytest.warns(DeprecationWarning, match=message) as warned:
            value = getattr(module, old)
        assert warned[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert value is getattr(module, new)


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = importlib.import_module(name).nothing


ENVIRONMENT = "pairbench/LogLinear-v1(prompts=4, held_out_prompts=4, completions=4, dim=3)"


@pytest.fixture
def world() -> World:
    return make_env(ENVIRONMENT).world(0)


def test_a_world_still_takes_an_annotator_under_the_old_name(world: World) -> None:
    with pytest.warns(DeprecationWarning, match="use World.with_annotator") as warned:
        other = world.answered_by("deterministic", 0)
    assert warned[0].filename == __file__
    assert type(other.oracle) is type(world.with_annotator("deterministic", 0).oracle)


@pytest.mark.parametrize(("old", "new"), [("start", "initial_score"), ("best", "best_in_class")])
def test_a_world_still_has_attributes_under_their_old_names(
    world: World, old: str, new: str
) -> None:
    with pytest.warns(DeprecationWarning, match=f"use World.{new}") as warned:
        value = getattr(world, old)
    assert warned[0].filename == __file__
    assert value is getattr(world, new)


def test_a_world_is_still_regrouped_under_the_old_name(world: World) -> None:
    index = CompletionIndex(np.array([2]), np.array([[0, 3]]), np.ones(1))
    with pytest.warns(DeprecationWarning, match="use World.regroup") as warned:
        part = world.over(index)
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(part.truth.rewards, world.truth.rewards[[2]][:, [0, 3]])


def test_schedules_are_still_read_under_the_old_name() -> None:
    env = PairEnv(ENVIRONMENT, budgets=(2, 6))
    env.reset(seed=0)
    with pytest.warns(DeprecationWarning, match="use PairEnv.budgets") as warned:
        assert env.marks == (2, 6)
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use Ledger.budgets") as warned:
        assert env.ledger.marks == (2, 6)
    assert warned[0].filename == __file__


def test_stages_still_draw_answers_under_the_old_name(world: World) -> None:
    context = AnnotatorContext(world.pool, world.truth.rewards, None, seed=0)
    questions = Questions(np.array([[0, 0, 1], [1, 2, 3]]), np.zeros(2, dtype=np.int64))
    with pytest.warns(DeprecationWarning, match="use AnnotatorContext.draw_bernoulli") as warned:
        draws = context.chance(questions, 0.5)
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(draws, context.draw_bernoulli(questions, 0.5))
