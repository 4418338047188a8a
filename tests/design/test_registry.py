"""Names to designs and environments, and what is said when a name leads nowhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import pairbench
from pairbench import (
    Design,
    Environment,
    InvalidParameter,
    Laplace,
    RunSpec,
    make_design,
    make_env,
    make_estimator,
    play,
)
from pairbench.design.registry import (
    DESIGNS,
    describe_design,
    design_details,
    design_from,
    design_names,
    design_spec,
)
from pairbench.errors import PluginError, UnknownDesign, UnknownEnvironment, UnknownEstimator
from pairbench.spec.loading import from_file, source_digest
from pairbench.spec.record import Spec
from pairbench.spec.text import parse_spec
from pairbench.worlds.registry import (
    describe_env,
    environment_from,
    environment_ids,
    environment_spec,
    register_with_gymnasium,
)
from tests.conftest import Install, Write

TINY = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
FUNCTION = """
    import numpy as np
    def select(view, n, step=1, *, kind="a"):
        return np.tile([0, 0, step], (n, 1))
"""
CLASSES = """
    from dataclasses import dataclass
    import numpy as np
    from pairbench import Design

    @dataclass(frozen=True)
    class One(Design):
        step: int = 1
        def select(self, view, n):
            return np.tile([0, 0, self.step], (n, 1))

    class Two(One):
        pass
"""
ENVIRONMENT = """
    from dataclasses import dataclass
    from pairbench import Environment, make_env

    @dataclass(frozen=True)
    class Mine(Environment):
        '''A world of my own.'''
        dim: int = 3
        def world(self, seed):
            small = dict(prompts=4, held_out_prompts=4, completions=3, dim=self.dim)
            return make_env("pairbench/LogLinear-v1", **small).world(seed)
"""


@pytest.mark.parametrize(
    ("spec", "name", "params"),
    [
        ("uniform", "uniform", {}),
        ("  uniform ", "uniform", {}),
        ("uniform()", "uniform", {}),
        ("x(pilot=0.3)", "x", {"pilot": 0.3}),
        ("x (pilot = -1, kind='a, (b)')", "x", {"pilot": -1, "kind": "a, (b)"}),
        (
            "x(on=True, none=None, many=[1, 2.5],)",
            "x",
            {"on": True, "none": None, "many": [1, 2.5]},
        ),
        ("x(on=true, off=false)", "x", {"on": True, "off": False}),
        (
            "x(many=[true, (False, 1)], kind='true')",
            "x",
            {"many": [True, (False, 1)], "kind": "true"},
        ),
        ("a/b.py:Class(k=1)", "a/b.py:Class", {"k": 1}),
        ("pairbench/LogLinear-v1(dim=32)", "pairbench/LogLinear-v1", {"dim": 32}),
    ],
)
def test_a_spec_is_a_name_and_python_literals(spec: str, name: str, params: dict[str, Any]) -> None:
    assert parse_spec(spec) == (name, params)


@pytest.mark.parametrize(
    "spec",
    [
        "x(",
        "x(0.3)",
        "x(pilot=)",
        "x(pilot=0.3",
        "x(pilot=0.3))",
        "x(pilot=0.3) + 1",
        "x(pilot=0.3)(pilot=0.4)",
        "x(pilot=0.3).y(pilot=0.4)",
        "x(pilot=abc)",
        "x(pilot=TRUE)",
        "x(pilot=null)",
        "x(pilot=true())",
        "x(pilot=true.real)",
        "x(true)",
        "x(pilot=__import__('os').getpid())",
        "x(pilot=1, pilot=2)",
        "x(**{'pilot': 1})",
        "x(*[1])",
        "x(a b)",
        "x(pilot=\x00)",
    ],
)
def test_other_brackets_are_refused(spec: str) -> None:
    with pytest.raises(InvalidParameter, match="cannot read the parameters") as caught:
        parse_spec(spec)
    assert repr(spec) in str(caught.value)


def test_true_is_the_same_cell_as_capital_true() -> None:
    small, capital = design_spec("guro(bayesian=true)"), design_spec("guro(bayesian=True)")
    assert small == capital
    assert small.identity() == capital.identity()
    assert small.params["bayesian"] is True
    assert small.label == "guro(bayesian=True)"
    assert small != design_spec("guro(bayesian=false)") == design_spec("guro")
    assert make_design("guro(bayesian=true)") == make_design("guro", bayesian=True)
    keys = [
        {
            cell.key
            for cell in RunSpec(
                name="custom",
                environments=[TINY],
                designs=[text],
                seeds=range(2),
                reference="uniform",
                budgets=(5,),
            ).cells()[0]
        }
        for text in ("guro(bayesian=true)", "guro(bayesian=True)", "guro")
    ]
    assert keys[0] == keys[1] != keys[2]


def test_unreadable_brackets_are_refused_by_an_optimised_interpreter_too(root: Path) -> None:
    code = "from pairbench.spec.text import parse_spec; print(parse_spec('x(0.3)'))"
    done = subprocess.run(
        [sys.executable, "-O", "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "InvalidParameter: cannot read the parameters of 'x(0.3)'" in done.stderr


def test_every_listed_design_makes_a_design() -> None:
    names = design_names()
    assert len(names) >= 11
    assert all(isinstance(make_design(name), Design) for name in names)


def test_every_listed_environment_makes_an_environment() -> None:
    ids = environment_ids()
    assert len(ids) >= 10
    assert all(isinstance(make_env(id_), Environment) for id_ in ids)


def test_the_namespace_of_an_id_may_be_left_out() -> None:
    assert make_env("Isotropic-v1") == make_env("pairbench/Isotropic-v1")
    assert environment_spec("Isotropic-v1") == environment_spec("pairbench/Isotropic-v1")


def test_objects_are_given_back() -> None:
    design, environment = make_design("uniform"), make_env(TINY)
    assert make_design(design) is design
    assert make_env(environment) is environment


def test_a_function_is_a_design() -> None:
    episode = play(TINY, lambda view, n: np.tile([0, 1, 2], (n, 1)), budgets=(3, 5))
    assert [r.pairs.tolist() for r in episode.rounds] == [[[0, 1, 2]] * 3, [[0, 1, 2]] * 2]


def test_a_function_in_a_file_is_a_design_with_parameters(write: Write) -> None:
    path = write(FUNCTION)
    for design in (make_design(f"{path}(step=3)"), make_design(str(path), step=3)):
        assert play(TINY, design, budgets=(2,)).rounds[0].pairs.tolist() == [[0, 0, 3]] * 2


def test_any_function_of_a_file_can_be_named(write: Write) -> None:
    path = write("import numpy as np\ndef pick(view, n): return np.tile([1, 0, 2], (n, 1))\n")
    made = make_design(f"{path}:pick")
    assert play(TINY, made, budgets=(2,)).rounds[0].pairs.tolist() == [[1, 0, 2]] * 2


def test_the_only_class_of_a_file_is_found_and_one_of_several_is_named(write: Write) -> None:
    only = write(CLASSES.replace("class Two(One):\n        pass", ""), "only.py")
    several = write(CLASSES)
    assert type(make_design(str(only))).__name__ == "One"
    assert type(make_design(f"{several}:Two(step=2)")).__name__ == "Two"


def test_classes_that_a_file_imports_are_not_its_own(write: Write) -> None:
    path = write("from pairbench import Design, View, make_design\n" + dedent(FUNCTION))
    assert make_design(str(path)) is not None


def test_an_environment_in_a_file(write: Write) -> None:
    made = make_env(f"{write(ENVIRONMENT)}(dim=2)")
    assert made.world(0).pool.dim == 2


def test_a_file_under_a_folder_with_brackets_is_found_by_workers(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FUNCTION, "my project (1)/mine.py")
    monkeypatch.chdir(path.parent)
    assert vars(design_from(design_spec("mine.py(step=2)")))["params"]["step"] == 2


BAD_FILES = [
    ("", "mine.py", "mine.py defines no design. Define a function select(view, n) or a subclass"),
    (CLASSES, "mine.py", "mine.py defines 2: One, Two. Say which: mine.py:One"),
    (CLASSES, "mine.py:Twoo", "no design 'Twoo'. Did you mean 'Two'? It defines: One, Two."),
    (CLASSES, "mine.py:Design", "mine.py defines no design 'Design'"),
    (ENVIRONMENT, "mine.py", "mine.py defines no design."),
    ("1 / 0", "mine.py", "does not load: ZeroDivisionError: division by zero"),
    ("import no_such_module", "mine.py", "does not load: ModuleNotFoundError: No module named"),
    ("def select(:", "mine.py", "does not load: SyntaxError"),
    ("raise SystemExit(3)", "mine.py", "does not load: SystemExit: 3"),
    ("select = 5", "mine.py", "mine.py defines no design."),
    ("", "other.py", "cannot read"),
    ("", "no/such/folder.py:Class", "No such file or directory"),
]


@pytest.mark.parametrize(("text", "name", "message"), BAD_FILES)
def test_a_file_that_holds_no_design_says_why(
    write: Write, tmp_path: Path, text: str, name: str, message: str
) -> None:
    write(text)
    with pytest.raises(PluginError, match=re.escape(message)):
        make_design(f"{tmp_path}/{name}")


def test_a_file_without_an_environment_says_what_to_define(write: Write) -> None:
    with pytest.raises(PluginError, match=r"Define a subclass of pairbench\.Environment"):
        make_env(str(write(CLASSES)))


def test_a_file_that_failed_to_load_is_loaded_again_once_mended(write: Write) -> None:
    path = write("1 / 0")
    with pytest.raises(PluginError):
        make_design(str(path))
    write(FUNCTION)
    assert make_design(str(path)) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "unifrm",
            r"no design 'unifrm'\. Did you mean 'uniform'\?.* lists all \d+;.*my_design\.py",
        ),
        ("Leverages", r"Did you mean 'leverage'\?"),
        ("i_optimal", r"no design 'i_optimal'\. Did you mean 'i-optimal'\?"),
        ("zzzzqqqq", r"no design 'zzzzqqqq'\. `pairbench designs` lists"),
        ("", r"no design ''\."),
        ("__init__", r"no design '__init__'"),
    ],
)
def test_an_unknown_design_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UnknownDesign, match=message):
        make_design(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pairbench/Isotropc-v1", r"Did you mean 'pairbench/Isotropic-v1'\?"),
        ("isotropic-v1", r"Did you mean 'pairbench/Isotropic-v1'\?"),
        ("pairbench/Isotropic-v2", r"Did you mean 'pairbench/Isotropic-v1'\?"),
        ("other/PowerLaw-v1", r"Did you mean 'pairbench/PowerLaw-v1'\?"),
        ("", r"no environment ''\."),
    ],
)
def test_an_unknown_environment_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UnknownEnvironment, match=message):
        make_env(name)


@pytest.mark.parametrize(
    ("make", "spec", "message"),
    [
        (make_design, "i-optimal-two-stage(pilt=0.3)", r"Did you mean 'pilot'\? It has pilot, tol"),
        (make_design, "uniform(x=1)", r"design 'uniform' has no parameter 'x'\. It has none\."),
        (make_design, "i-optimal-two-stage(pilot='x')", r"pilot: .*valid number.*, got 'x'"),
        (make_design, "i-optimal-two-stage(pilot=2)", r"pilot is a share .*, got 2\.0"),
        (make_env, "pairbench/LogLinear-v1(prompts=0.5)", r"prompts: .*integer.*got 0\.5"),
        (make_design, "i-optimal(tol=0)", r"tol must lie between 0 and 1, got 0"),
        (make_env, "LogLinear-v1(dims=3)", r"Did you mean 'dim'\?"),
        (make_env, "LogLinear-v1(dim='three')", r"dim: .*integer.*got 'three'"),
        (make_env, "LogLinear-v1(dim=0)", r"dim must be 1 or more, got 0"),
        (make_env, "LogLinear-v1(dim=[1, 2])", r"dim: .*integer"),
        (make_env, "LogLinear-v1(reward_scale=1e999)", r"reward_scale must be a finite number"),
        (make_env, "LogLinear-v1(budgets=[1])", r"no parameter 'budgets'"),
    ],
)
def test_a_wrong_parameter_is_named(make: Callable[[str], Any], spec: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make(spec)


def test_a_wrong_parameter_of_a_function_is_named(write: Write) -> None:
    with pytest.raises(InvalidParameter, match=r"Did you mean 'step'\? It has step, kind"):
        make_design(f"{write(FUNCTION)}(stepp=1)")


def test_a_parameter_without_default_must_be_given(write: Write) -> None:
    function = write("def select(view, n, step): return None", "function.py")
    class_ = write(CLASSES.replace("step: int = 1", "step: int"), "classes.py")
    for spec in (f"{function}", f"{class_}:One"):
        with pytest.raises(InvalidParameter, match="step"):
            make_design(spec)


@pytest.mark.parametrize("value", ["{1, 2}", "b'x'", "1e999", "2j", "{1: 2}", "2**60"])
def test_a_parameter_that_no_record_can_hold_is_refused(write: Write, value: str) -> None:
    value = str(2**60) if value == "2**60" else value
    spec = f"{write(FUNCTION)}(kind={value})"
    with pytest.raises(InvalidParameter, match="kind"):
        pairbench.RunSpec("custom", [TINY], [spec], [0], "uniform", [5]).cells()[0][-1].key  # noqa: B018


def test_registered_designs_are_known_by_name() -> None:
    def select(view: pairbench.View, n: int) -> pairbench.Pairs:
        return np.tile([0, 1, 0], (n, 1))

    assert pairbench.register_design("mine", select) is select
    assert pairbench.register_design("mine")(select) is select
    pairbench.register_design("also-mine", type(make_design("uniform")))
    assert {"mine", "also-mine"} <= set(design_names())
    assert play(TINY, "mine", budgets=(2,)).rounds[0].pairs.tolist() == [[0, 1, 0]] * 2
    assert make_design("also-mine") == make_design("uniform")


def test_registered_environments_are_known_by_id() -> None:
    parent = type(make_env("LogLinear-v1"))
    made: type[Environment] = type("Mine", (parent,), {"__doc__": "Mine."})
    assert pairbench.register_env("mine/Mine-v1")(made) is made
    assert "mine/Mine-v1" in environment_ids()
    assert type(make_env("mine/Mine-v1(dim=3)")) is made
    assert environment_spec("mine/Mine-v1(dim=3)").name == "mine/Mine-v1"


def test_installed_designs_are_known_by_name(install: Install) -> None:
    entries = {"their-class": "their:Two", "their-function": "their_function:select"}
    entries["their-module"] = "their_function"
    install("pairbench.designs", entries, their=CLASSES, their_function=FUNCTION)
    assert set(entries) <= set(design_names())
    assert type(make_design("their-class(step=2)")).__name__ == "Two"
    for name in ("their-function", "their-module"):
        made = make_design(f"{name}(step=2)")
        assert play(TINY, made, budgets=(1,)).rounds[0].pairs.tolist() == [[0, 0, 2]]
    assert design_spec("their-class").source is not None


@pytest.mark.parametrize("name", ["their/Mine-v1", "pairbench/Theirs-v1", "Mine-v1"])
def test_installed_environments_are_known_by_id(install: Install, name: str) -> None:
    install("pairbench.envs", {name: "their_env:Mine"}, their_env=ENVIRONMENT)
    assert name in environment_ids()
    assert make_env(f"{name}(dim=2)").world(0).pool.dim == 2
    spec = environment_spec(f"{name}(dim=2)")
    assert environment_from(spec).world(0).pool.dim == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:x", "entry point 'broken'"),
        ("fine:no_such_name", "entry point 'broken'"),
        ("raises:select", "ZeroDivisionError"),
        ("fine:number", "broken"),
    ],
)
def test_a_broken_plugin_does_not_hide_the_others(
    install: Install, value: str, message: str
) -> None:
    modules = {"fine": FUNCTION + "    number = 5\n", "raises": "1 / 0"}
    install("pairbench.designs", {"broken": value, "fine": "fine:select"}, **modules)
    with pytest.raises(PluginError, match=message):
        make_design("broken")
    listed = {entry["name"]: entry for entry in map(describe_design, design_names())}
    assert listed["broken"]["summary"].startswith("does not load: ")
    assert set(listed["broken"]) == set(listed["uniform"])
    with pytest.raises(PluginError, match=message):
        design_details("broken")
    assert listed["fine"]["parameters"] == {"step": 1, "kind": "a"}
    assert "uniform" in listed


def test_a_broken_environment_does_not_hide_the_others(install: Install) -> None:
    install("pairbench.envs", {"their/Broken-v1": "no_such_module:x"})
    listed = {entry["name"]: entry for entry in map(describe_env, environment_ids())}
    assert listed["their/Broken-v1"]["summary"].startswith("does not load: ")
    assert "pairbench/Isotropic-v1" in listed


def test_descriptions_hold_what_a_listing_needs() -> None:
    stage = describe_design("i-optimal-two-stage")
    assert stage["parameters"] == {"pilot": 0.2, "tol": 0.05, "rounding": "systematic"}
    assert stage["summary"].startswith("Pairs that minimise the predicted gap")
    assert stage["text"].startswith(stage["summary"])
    assert stage["about"]["tol"] == "the weights' proven efficiency is at least 1 − tol."
    assert not stage["control"]
    assert describe_design("oracle-i-optimal")["control"]
    assert Path(stage["file"]).name == "i_optimal_two_stage.py"
    strong = describe_env("pairbench/StrongReward-v1")
    assert strong["preset_of"] == "pairbench/LogLinear-v1"
    assert strong["differs"] == {"reward_scale": 6.0, "ridge": 1 / 36}


def test_an_environments_own_parameters_are_listed_before_what_all_of_its_kind_have() -> None:
    listed = list(describe_env("pairbench/AlpacaEval57-v1")["parameters"])
    own, common = ["temperature", "residual"], ["beta", "ridge", "trainer"]
    assert listed[: len(own)] == own
    assert set(common) < set(listed[len(own) :])


def test_a_design_in_a_file_says_what_our_own_say(write: Write) -> None:
    path = write(
        '''
        """Pairs of mine.

        More of it, as ``uniform`` has it.

        Family: Plain.
        Source: me 2026,
            at home.
        Assumes: nothing.
        Cost: O(n).
        """
        def select(view, n, step=1, *, kind="a"):
            """Choose.

            Args:
                view: the view.
                n: how many.
                step: how far, see :func:`pairbench.play`,
                    and why.
            """
        '''
    )
    assert design_details(str(path)) == {
        "name": str(path),
        "summary": "Pairs of mine.",
        "text": "Pairs of mine.\n\nMore of it, as ``uniform`` has it.",
        "parameters": {"step": 1, "kind": "a"},
        "about": {"step": "how far, see `pairbench.play`, and why."},
        "control": False,
        "family": "plain",
        "source": "me 2026, at home",
        "assumes": "nothing",
        "cost": "O(n)",
        "file": str(path),
    }


def test_a_spec_holds_defaults_and_shows_what_differs() -> None:
    spec = design_spec("i-optimal-two-stage(pilot=0.5)")
    assert spec.params == {"pilot": 0.5, "tol": 0.05, "rounding": "systematic"}
    assert spec.label == "i-optimal-two-stage(pilot=0.5)"
    assert design_spec("i-optimal-two-stage(pilot=0.2)").label == "i-optimal-two-stage"
    assert environment_spec("LogLinear-v1(dim=3)").label == "pairbench/LogLinear-v1(dim=3)"
    assert environment_spec("Isotropic-v1").params["dim"] == 16


def test_a_spec_of_a_function_holds_its_defaults(write: Write) -> None:
    spec = design_spec(f"{write(FUNCTION)}(step=2)")
    assert spec.params == {"step": 2, "kind": "a"}
    assert spec.label == "mine.py(step=2)"


def test_equal_parameters_written_otherwise_are_one_spec() -> None:
    one, other = (
        design_spec("i-optimal-two-stage(pilot=1)"),
        design_spec("i-optimal-two-stage(pilot=1.0)"),
    )
    assert one == other
    assert one.identity() == other.identity()
    assert type(one.params["pilot"]) is float


def test_a_file_is_remembered_without_its_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(CLASSES, "here/mine.py")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    specs = [design_spec(f"{p}:One") for p in (path, "here/mine.py", "there/mine.py")]
    assert specs[0] == specs[1] == specs[2]
    assert specs[0].name == specs[0].label == "mine.py:One"
    assert [spec.location for spec in specs] == [f"{path}:One"] * 2 + [
        f"{tmp_path}/there/mine.py:One"
    ]


def test_a_spec_makes_the_same_from_another_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(CLASSES)
    monkeypatch.chdir(tmp_path)
    spec = design_spec("mine.py:One(step=2)")
    monkeypatch.chdir("/")
    assert vars(design_from(spec))["step"] == 2


def test_an_edited_file_has_another_source_and_is_loaded_anew(write: Write) -> None:
    path = write(FUNCTION)
    before = design_spec(str(path))
    first = play(TINY, str(path), budgets=(1,)).rounds[0].pairs.tolist()
    write(FUNCTION.replace("[0, 0, step]", "[1, 0, step]"))
    after = design_spec(str(path))
    assert (first, play(TINY, str(path), budgets=(1,)).rounds[0].pairs.tolist()) == (
        [[0, 0, 1]],
        [[1, 0, 1]],
    )
    assert before.source != after.source
    assert before.params == after.params


def test_files_of_which_a_comment_was_edited_have_the_same_source(write: Write) -> None:
    for content, name, spec_of in (
        (FUNCTION, "mine.py", design_spec),
        (ENVIRONMENT, "env.py", environment_spec),
    ):
        before = spec_of(str(write(content, name)))
        edited = write(content, name)
        edited.write_text(f"{edited.read_text()}\n# A comment.\n'A text.'\n")
        assert spec_of(str(edited)) == before


def test_a_file_that_was_broken_since_it_was_loaded_says_so(write: Write) -> None:
    path = write(FUNCTION)
    factory = from_file(str(path), DESIGNS.contract)
    path.write_text("def select(view, n:")
    with pytest.raises(PluginError, match=r"has no digest: it is no Python"):
        source_digest(factory)


def test_built_in_designs_and_files_carry_a_source_and_environments_of_an_id_none(
    write: Write,
) -> None:
    sources = [design_spec(name).source for name in ("uniform", str(write(FUNCTION)))]
    sources.append(environment_spec(str(write(ENVIRONMENT, "env.py"))).source)
    assert all(re.fullmatch("[0-9a-f]{64}", str(source)) for source in sources)
    assert environment_spec("Isotropic-v1").source is None


def test_an_environment_file_that_reads_data_has_another_source_when_the_data_changes(
    write: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data.txt"
    method = f"    def data_digest(self):\n            return open({str(data)!r}).read()\n"
    path = write(ENVIRONMENT + "    " + method)
    specs = []
    for content in ("a" * 64, "b" * 64):
        data.write_text(content)
        specs.append(environment_spec(str(path)))
    assert specs[0].source != specs[1].source


def test_specs_compare_without_their_location() -> None:
    assert Spec("a", {}, None, "a", "/x") == Spec("a", {}, None, "a", "/y")
    assert Spec("a", {}, None, "a") != Spec("a", {}, "1", "a")


@pytest.mark.parametrize("name", ["World", "mine/World", "mine/a/World-v1", "mine/World v1", ""])
def test_an_id_that_gymnasium_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="a namespace, a name and a version"):
        pairbench.register_env(name)


def test_an_entry_point_of_another_name_does_not_break_gymnasium(install: Install) -> None:
    install("pairbench.envs", {"no id at all": "their_env:Mine"}, their_env=ENVIRONMENT)
    assert "no id at all" in environment_ids()
    register_with_gymnasium()


def test_an_estimator_is_made_by_spec_and_missed_by_name() -> None:
    assert make_estimator("laplace(trust=0.5)") == Laplace(0.5)
    with pytest.raises(UnknownEstimator, match=r"no estimator 'laplas'\. Did you mean 'laplace'\?"):
        make_estimator("laplas")
    with pytest.raises(InvalidParameter, match="estimator 'laplace' has no parameter 'thrust'"):
        make_estimator("laplace(thrust=1)")
