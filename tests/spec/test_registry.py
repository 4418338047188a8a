"""Registries: what is registered or installed is built as what ships."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pairbench import make_env, make_estimator, make_trainer, play
from pairbench.design.registry import DESIGNS, design_spec
from pairbench.errors import InvalidParameter, PluginError, UnknownName
from pairbench.estimators import ESTIMATORS, estimator_names
from pairbench.oracles.annotators import STAGES, annotator_names, describe_annotator, make_annotator
from pairbench.spec.registry import Registry
from pairbench.spec.syntax import syntax_digest
from pairbench.training import TRAINERS, trainer_names
from pairbench.worlds.registry import environment_spec
from tests.conftest import Install, Write

TINY = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
SOURCES = {
    "stage": """
        from dataclasses import dataclass
        import numpy as np
        from pairbench.oracles.stages import Reply

        @dataclass(frozen=True)
        class Mine(Reply):
            '''Answers with one value.'''
            value: float = 1.0

            def on(self, scene):
                return lambda asked, answers: np.full(len(answers), self.value)
        """,
    "estimator": """
        from dataclasses import dataclass
        from pairbench import Laplace

        @dataclass(frozen=True)
        class Mine(Laplace):
            '''Laplace under another name.'''
        """,
    "trainer": """
        from dataclasses import dataclass
        from pairbench import LogLinearDPO

        @dataclass(frozen=True)
        class Mine(LogLinearDPO):
            '''DPO with half of the labels' weight.'''
            weight: float = 0.5

            def theta(self, z, labels, beta):
                return self.weight * super().theta(z, labels, beta)
        """,
}
KINDS: dict[str, tuple[Registry[Any], Callable[[str], Any], Callable[[], list[str]]]] = {
    "stage": (STAGES, make_annotator, annotator_names),
    "estimator": (ESTIMATORS, make_estimator, estimator_names),
    "trainer": (TRAINERS, lambda spec: make_trainer(spec, 1.0), trainer_names),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_part_is_built_by_name(kind: str, install: Install) -> None:
    registry, make, names = KINDS[kind]
    install(registry.group, {"mine": f"their_{kind}:Mine"}, **{f"their_{kind}": SOURCES[kind]})
    assert "mine" in names()
    assert registry.describe("mine")["summary"]
    made = make("mine")
    part = dict(made.stages)["mine"] if kind == "stage" else made
    assert type(part).__module__ == f"their_{kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_part_is_built_by_name(kind: str) -> None:
    registry, make, names = KINDS[kind]
    built_in = next(iter(registry.built_in))
    registry.register("mine", registry.factory(built_in))
    assert "mine" in names()
    assert make("mine") is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_the_wrong_kind_is_refused(kind: str, install: Install) -> None:
    registry, make, _ = KINDS[kind]
    install(registry.group, {"mine": "their_wrong:Mine"}, their_wrong="class Mine:\n    pass\n")
    with pytest.raises(PluginError, match=rf"is no {registry.contract.noun} but"):
        make("mine")


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_in_a_file_is_refused_with_what_to_do(kind: str) -> None:
    registry, make, _ = KINDS[kind]
    with pytest.raises(InvalidParameter, match=rf"goes by name.*register_.*{registry.group}"):
        make("mine.py")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_part_names_the_nearest(kind: str) -> None:
    registry, make, _ = KINDS[kind]
    name = next(iter(registry.built_in))
    with pytest.raises(UnknownName, match=rf"no {registry.contract.noun} .* Did you mean '{name}'"):
        make(name + "x")


def test_a_third_party_stage_answers_and_its_code_is_part_of_the_identity(
    install: Install,
) -> None:
    site = install(
        STAGES.group, {"mine": "their_stage_code:Mine"}, their_stage_code=SOURCES["stage"]
    )
    spec = f"{TINY[:-1]}, annotator='mine(value=0.0)')"
    assert describe_annotator("mine")["family"] == "reply"
    episode = play(spec, "uniform", 1, [10])
    np.testing.assert_array_equal(episode.rounds[0].labels, 0.0)
    assert environment_spec(TINY).source is None
    before = environment_spec(spec).source
    assert before is not None
    path = site / "their_stage_code.py"
    path.write_text(path.read_text().replace("self.value)", "self.value / 2)"))
    assert environment_spec(spec).source != before


def test_a_third_party_trainer_trains_and_its_code_is_part_of_the_identity(
    install: Install,
) -> None:
    install(
        TRAINERS.group, {"mine": "their_trainer_code:Mine"}, their_trainer_code=SOURCES["trainer"]
    )
    spec = f"{TINY[:-1]}, trainer='mine')"
    own, theirs = (play(text, "uniform", 1, [10]).rounds[0] for text in (TINY, spec))
    np.testing.assert_array_equal(own.labels, theirs.labels)
    assert own.score.gap != theirs.score.gap
    assert environment_spec(spec).source is not None
    assert make_env(spec).parts() != ()


def test_a_third_party_estimator_is_part_of_the_designs_identity(install: Install) -> None:
    install(
        ESTIMATORS.group,
        {"mine": "their_estimator_code:Mine"},
        their_estimator_code=SOURCES["estimator"],
    )
    own, theirs = (design_spec(f"bald(estimator='{name}')").source for name in ("laplace", "mine"))
    assert own == design_spec("bald").source
    assert theirs not in (None, own)
    assert DESIGNS.group == "pairbench.designs"


def test_an_estimator_in_the_designs_own_file_is_part_of_that_file(write: Write) -> None:
    design = """
from dataclasses import dataclass

from pairbench import BeliefDesign, Laplace, uniform_pairs


class Narrow(Laplace):
    pass


@dataclass(frozen=True)
class Mine(BeliefDesign):
    @property
    def belief_estimator(self):
        return Narrow()

    def select(self, view, n):
        return uniform_pairs(view.pool, n, view.rng)
"""
    path = write(design)
    assert design_spec(str(path)).source == syntax_digest(path.read_bytes())
