"""The cells of a plan, and the identity of cells."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785

from pairbench import InvalidParameter, RunSpec
from pairbench.cells.plan import PROTOCOL, REFERENCE_REACH, Cell, RunEnvironment
from pairbench.design.registry import design_spec
from pairbench.errors import MissingData, UnknownDesign, UnknownEnvironment
from pairbench.worlds.registry import environment_spec

SELECT = "import numpy as np\ndef select(view, n, step=1): return np.tile([0, 0, step], (n, 1))\n"
STAGE = "i-optimal-two-stage"


def cell(
    environment: str, design: str = STAGE, seed: int = 0, budgets: Sequence[int] = (5,)
) -> Cell:
    return Cell(environment_spec(environment), design_spec(design), seed, tuple(budgets))


def plan(
    environments: Sequence[str | RunEnvironment],
    designs: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    reference: str = "uniform",
    budgets: Sequence[int] | None = (5, 10),
) -> list[Cell]:
    return RunSpec("custom", environments, designs, seeds, reference, budgets).cells()[0]


def test_a_key_is_the_digest_of_canonical_json(tiny: str) -> None:
    planned = cell(tiny, "uniform")
    text = json.dumps(planned.identity(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Python's JSON is RFC 8785's but for whole floats, which that writes without a point.
    canonical = re.sub(r"(?<=\d)\.0(?=[,}])", "", text).encode()
    assert planned.key == hashlib.sha256(canonical).hexdigest()
    assert planned.identity()["protocol"] == PROTOCOL


def test_the_same_cell_has_the_same_key_however_it_is_written(tiny: str) -> None:
    assert cell("Isotropic-v1").key == cell("pairbench/Isotropic-v1(dim=16, beta=1)").key
    assert cell(tiny).key == cell(tiny, f"{STAGE}(tol=0.05, pilot=0.2)").key


@pytest.mark.parametrize(
    ("environment", "digest"),
    [
        ("Isotropic-v1", "a481816ddee6a5b402a908ad52a68c4c2fe761f3849d333eef03f6de605ec36b"),
        (
            "LogLinear-v1(dim=32, annotator=None, steps=1)",
            "90ebcc701cea644ef14f3f0c73c7fee34779afe77baf2231a0e93124eb4b08af",
        ),
    ],
)
def test_the_recorded_identity_of_an_environment_has_not_changed(
    environment: str, digest: str
) -> None:
    # Parameters that were added later are left out while they have their defaults.
    identity = rfc8785.dumps(environment_spec(environment).identity())
    assert hashlib.sha256(identity).hexdigest() == digest


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "Isotropic-v1(dim=17)"},
        {"environment": "PowerLaw-v1(decay=0)"},  # same worlds, but another promise
        {"environment": "Isotropic-v1(trainer='xpo')"},
        {"environment": "Isotropic-v1(annotator='mistake')"},
        {"environment": "Isotropic-v1(steps=2)"},
        {"design": f"{STAGE}(pilot=0.3)"},
        {"design": "uniform"},
        {"seed": 1},
        {"budgets": (6,)},
        {"budgets": (4, 5)},
    ],
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"environment": "Isotropic-v1"}
    assert cell(**usual).key != cell(**usual | change).key


def test_an_edited_file_makes_other_cells(tmp_path: Path, tiny: str) -> None:
    path = tmp_path / "mine.py"
    keys = []
    for text in (SELECT, SELECT + "MORE = 1\n", SELECT + "# more\n"):
        path.write_text(text)
        keys.append(cell(tiny, str(path)).key)
    assert keys[0] == keys[2] != keys[1]


def test_a_file_makes_the_same_cells_wherever_it_lies(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mine.py").write_text(SELECT)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    keys = set()
    for folder, name in (
        ("here", "mine.py"),
        ("there", "mine.py"),
        ("here", "../there/mine.py"),
        ("/", str(tmp_path / "here/mine.py")),
    ):
        monkeypatch.chdir(tmp_path / folder)
        keys.add(cell(tiny, f"{name}(step=2)").key)
    assert len(keys) == 1


def test_all_designs_play_all_seeds_of_all_environments(tiny: str) -> None:
    cells = plan([tiny, "Isotropic-v1"], ["leverage"], seeds=(3, 1))
    combinations = {(c.environment.name, c.design.name, c.seed) for c in cells}
    assert combinations == {
        (f"pairbench/{environment}-v1", design, seed)
        for environment in ("LogLinear", "Isotropic")
        for design in ("uniform", "leverage")
        for seed in (3, 1)
    }
    assert len(cells) == 8


def test_cells_of_one_world_are_adjacent(tiny: str) -> None:
    worlds = [
        (c.environment.name, c.seed) for c in plan([tiny, "Isotropic-v1"], ["leverage"], (0, 1))
    ]
    assert worlds == sorted(worlds, key=worlds.index)


def test_the_reference_is_added_and_plays_to_two_four_and_eight_times_the_last_budget(
    tiny: str,
) -> None:
    assert REFERENCE_REACH == (2, 4, 8)
    budgets = {c.design.name: c.budgets for c in plan([tiny], ["leverage"])}
    assert budgets == {"uniform": (5, 10, 20, 40, 80), "leverage": (5, 10)}


def test_another_reference_leaves_uniform_an_ordinary_design(tiny: str) -> None:
    budgets = {c.design.name: c.budgets for c in plan([tiny], ["uniform"], reference="leverage")}
    assert budgets == {"uniform": (5, 10), "leverage": (5, 10, 20, 40, 80)}


def test_a_repeated_environment_design_or_seed_is_played_once(tiny: str) -> None:
    designs = ["uniform", "leverage", "leverage", STAGE, f"{STAGE}(pilot=0.2)"]
    cells = plan([tiny, tiny], designs, seeds=(0, 1, 0))
    assert len(cells) == len({c.key for c in cells}) == 3 * 2


def test_a_design_with_other_parameters_is_another_design(tiny: str) -> None:
    assert len(plan([tiny], [STAGE, f"{STAGE}(pilot=0.3)"])) == 3


def test_budgets_come_from_the_entry_then_the_run_then_the_environment(tiny: str) -> None:
    overridden = plan([RunEnvironment(tiny, budgets=(2, 4))], ["leverage"])
    default = plan([tiny], ["leverage"], budgets=None)
    assert {c.budgets for c in overridden} == {(2, 4), (2, 4, 8, 16, 32)}
    assert default[1].budgets == (50, 100, 200, 400, 800)
    assert default[0].budgets[-3:] == (1600, 3200, 6400)


def test_seeds_come_from_the_entry_first(tiny: str) -> None:
    cells = plan([RunEnvironment(tiny, seeds=(7,)), "Isotropic-v1"], seeds=(0, 1))
    assert [c.seed for c in cells] == [7, 0, 1]


@pytest.mark.parametrize("seeds", [(), (-1,), (2**32,), (0.5,), ("1",), (None,), (True,)])
def test_an_invalid_seed_is_refused(tiny: str, seeds: Any) -> None:
    with pytest.raises(InvalidParameter, match="seeds must be whole numbers, 0 or more"):
        plan([tiny], seeds=seeds)
    with pytest.raises(InvalidParameter, match="seeds must be whole numbers, 0 or more"):
        plan([RunEnvironment(tiny, seeds=seeds)])


def test_seeds_may_be_any_sequence_of_whole_numbers(tiny: str) -> None:
    keys = [c.key for c in plan([tiny], seeds=(0, 1, 2**32 - 1))]
    assert keys == [c.key for c in plan([tiny], seeds=np.array([0, 1, 2**32 - 1]))]  # type: ignore[arg-type]
    assert keys[:2] == [c.key for c in plan([tiny], seeds=range(2))]


@pytest.mark.parametrize("budgets", [(0,), (-1, 5), (5, 5), (10, 5), (1.5,), ("5",), (5, None)])
def test_a_schedule_that_does_not_grow_is_refused(tiny: str, budgets: Any) -> None:
    with pytest.raises(InvalidParameter, match="whole cumulative numbers of labels, or"):
        plan([tiny], budgets=budgets)
    with pytest.raises(InvalidParameter, match="whole cumulative numbers of labels, or"):
        plan([RunEnvironment(tiny, budgets=budgets)])


def test_an_empty_schedule_is_refused_rather_than_replaced(tiny: str) -> None:
    with pytest.raises(InvalidParameter, match="whole cumulative numbers of labels, or"):
        plan([tiny], budgets=())
    with pytest.raises(InvalidParameter, match="whole cumulative numbers of labels, or"):
        plan([RunEnvironment(tiny, budgets=())])


def test_a_schedule_that_no_key_can_hold_is_refused(tiny: str) -> None:
    with pytest.raises(InvalidParameter):
        [c.key for c in plan([tiny], budgets=(2**53,))]


def test_unknown_names_stop_the_plan(tiny: str) -> None:
    with pytest.raises(UnknownDesign, match="Did you mean 'leverage'"):
        plan([tiny], ["levrage"])
    with pytest.raises(UnknownDesign, match="Did you mean 'uniform'"):
        plan([tiny], reference="unifrm")
    with pytest.raises(UnknownEnvironment, match="Did you mean"):
        plan(["Isotropc-v1"])


def test_the_error_for_missing_data_names_the_command_that_imports_it() -> None:
    with pytest.raises(MissingData, match="pairbench data import alpaca-eval PATH"):
        plan(["AlpacaEval57-v1"])


def test_an_optional_environment_without_its_data_is_left_out_with_a_note(tiny: str) -> None:
    entries: list[str | RunEnvironment] = [
        tiny,
        RunEnvironment("pairbench/AlpacaEval57-v1", optional=True),
    ]
    cells, notes = RunSpec("custom", entries, [], [0], "uniform", [5]).cells()
    assert [c.environment.name for c in cells] == ["pairbench/LogLinear-v1"]
    assert len(notes) == 1
    assert "AlpacaEval57-v1 is left out: " in notes[0]
    assert "pairbench data add FILE.npz" in notes[0]


def test_an_optional_environment_that_is_misspelt_is_still_an_error(tiny: str) -> None:
    with pytest.raises(UnknownEnvironment):
        plan([tiny, RunEnvironment("AlpacaEvil57-v1", optional=True)])


def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(InvalidParameter, match=r"nothing to run\. .*AlpacaEval57-v1 is left out"):
        plan([RunEnvironment("AlpacaEval57-v1", optional=True)])
    with pytest.raises(InvalidParameter, match="nothing to run"):
        plan([])
