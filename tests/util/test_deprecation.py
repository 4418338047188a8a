"""Old names of public objects."""

import importlib
import warnings

import pytest

from pairbench import make_env

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


def test_a_world_still_takes_an_annotator_under_the_old_name() -> None:
    world = make_env("pairbench/LogLinear-v1(prompts=4, held_out_prompts=4, dim=3)").world(0)
    with pytest.warns(DeprecationWarning, match="use World.with_annotator") as warned:
        other = world.answered_by("deterministic", 0)
    assert warned[0].filename == __file__
    assert type(other.oracle) is type(world.with_annotator("deterministic", 0).oracle)
