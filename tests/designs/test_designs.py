"""What every design keeps to, and each design's rule against a slow transcription of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import (
    ControlView,
    Design,
    Pairs,
    Pool,
    View,
    make_design,
    make_env,
    play,
)
from pairbench.checks.conformance import CHECKS, FAIL, PASS, SKIPPED, run_check
from pairbench.checks.subject import Subject
from pairbench.design.registry import design_names
from tests.reference import unordered

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Array = NDArray[np.float64]
Question = tuple[int, int, int]

RIDGE, BETA = 0.5, 0.8
IN_PROCESS = [name for name in CHECKS if name not in {"another-process", "scale"}]
# Designs whose rule says when to stop.
THRIFTY = {"label-free"}


@lru_cache(maxsize=1)
def subject(name: str) -> Subject:
    return Subject(name)


@pytest.mark.parametrize("check", IN_PROCESS)
@pytest.mark.parametrize("name", design_names())
def test_a_design_keeps_to_the_contract(name: str, check: str) -> None:
    result = run_check(subject(name), check)
    assert result.status != FAIL, result.message
    assert not result.message or result.status == SKIPPED or name in THRIFTY, result.message
    assert (result.status == SKIPPED) == (check == "completion-order" and subject(name).ordered)


@pytest.mark.slow
@pytest.mark.parametrize("check", ["another-process", "scale"])
@pytest.mark.parametrize("name", design_names())
def test_a_design_keeps_to_the_contract_elsewhere_and_at_scale(name: str, check: str) -> None:
    result = run_check(subject(name), check)
    assert result.status == PASS, result.message


# Those of one kind.


@pytest.mark.parametrize(
    "name", ["max-distance", "smallest-gap", "largest-gap", "uncertainty", "leverage"]
)
def test_ranking_designs_repeat_nothing_before_all_is_asked(name: str, view: View) -> None:
    left = view.pool.n_pairs - len(view.pairs)
    chosen = unordered(make_design(name).select(view, left + 3))
    assert len({*chosen[:left], *unordered(view.pairs)}) == view.pool.n_pairs
    assert len(set(chosen[left:])) == 3


def test_only_a_control_is_shown_the_truth() -> None:
    controls = [name for name in design_names() if make_design(name).control]
    assert controls == ["adversarial", "label-free", "oracle-i-optimal"]
    seen: list[View] = []

    @dataclass(frozen=True)
    class Plain(Design):
        def select(self, view: View, n: int) -> Pairs:
            seen.append(view)
            pairs: Pairs = np.argwhere(view.pool.pair_mask)[:n]
            return pairs

    @dataclass(frozen=True)
    class Told(Plain):
        control: ClassVar[bool] = True

    environment = make_env("pairbench/LogLinear-v1", prompts=6, completions=4, dim=3)
    play(environment, Plain(), 0, (4, 8))
    play(environment, Told(), 0, (4, 8))
    assert [type(view) for view in seen] == [View, View, ControlView, ControlView]
    world = environment.world(0)
    for view in seen[2:]:
        assert isinstance(view, ControlView)
        np.testing.assert_array_equal(view.theta, world.best_in_class[0])
        np.testing.assert_array_equal(view.covariance, world.best_covariance)
    for view in seen[:2]:
        assert not {"theta", "covariance"} & set(vars(view))
