"""What holds for all annotators: how they are named, what their answers depend on."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import BradleyTerry, Environment, InvalidParameter, PairEnv, World, make_env, play
from pairbench.cells.play import replay
from pairbench.errors import UnknownAnnotator
from pairbench.oracles.annotators import (
    _CHAINS,
    STAGES,
    _split,
    annotator_names,
    describe_annotator,
    make_annotator,
)
from pairbench.oracles.stages import Perception, Reply
from pairbench.spec.catalogue import ANNOTATORS
from pairbench.worlds.environment import draw_world
from pairbench.worlds.registry import environment_spec
from tests.oracles.conftest import Answering, MakeWorld, drawn

# Those that have a parameter without a default.
NEEDING = {
    "recorded": "recorded(file='votes.jsonl')",
    "judge": "judge(model='m')",
    "reward-model": "reward-model(model='m')",
}
ALL = [name for name in (*STAGES.built_in, *_CHAINS) if name not in NEEDING]
LONG = " | ".join(
    name
    for kind in (Perception, Reply)
    for name in sorted({*ALL} & {*STAGES.built_in})
    if any(isinstance(stage, kind) for _, stage in make_annotator(name).stages)
)
"""All stages but choices in one chain."""
WORLD = drawn()
PAIRS = np.argwhere(WORLD.pool.valid[:, :, None] & WORLD.pool.valid[:, None, :])
PAIRS = PAIRS[PAIRS[:, 1] != PAIRS[:, 2]]
ASKED = st.lists(
    st.tuples(
        st.integers(0, len(PAIRS) - 1),
        st.integers(0, 2**31),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=30,
)
Ints = NDArray[np.int64]


def split(asked: list[tuple[int, int, int]]) -> tuple[Ints, Ints, Ints]:
    rows = np.array(asked, dtype=np.int64)
    return PAIRS[rows[:, 0]], rows[:, 1], rows[:, 2]


# -- how they are named --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bradley-terry", ["bradley-terry"]),
        (" bradley-terry ( temperature = 2 ) ", ["bradley-terry"]),
        ("mistake", ["bradley-terry", "mistake"]),
        ("deterministic|mistake(rate=0.2)", ["deterministic", "mistake"]),
        ("mistake | mistake(rate=0.3)", ["bradley-terry", "mistake", "mistake"]),
        ("drift | drift | skip", ["drift", "drift", "bradley-terry", "skip"]),
        (
            "length-bias | b-pref-skip | mistake",
            ["length-bias", "deterministic", "skip", "mistake"],
        ),
    ],
)
def test_a_chain_is_its_stages_with_a_choice(text: str, names: list[str]) -> None:
    assert [name for name, _ in make_annotator(text).stages] == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' lacks a stage. Write one, such as 'bradley-terry'"),
        ("  ", "lacks a stage"),
        ("mistake | ", "'mistake | ' lacks a stage"),
        ("| mistake", "lacks a stage"),
        ("deterministic || mistake", "lacks a stage"),
        ("mistake(rate=1.5)", "rate must be between 0 and 1, got 1.5"),
        ("mistake(rate=-0.1)", "rate must be between 0 and 1, got -0.1"),
        ("mistake(rate=float('nan'))", "cannot read the parameters"),
        ("mistake(rate='often')", "rate: .* number.*, got 'often'"),
        ("mistake(rat=0.1)", "annotator 'mistake' has no parameter 'rat'. Did you mean 'rate'"),
        ("mistake(0.1)", "cannot read the parameters of 'mistake\\(0.1\\)'"),
        ("mistake(rate=0.1", "cannot read the parameters"),
        ("mistake(rate=0.1 | mistake)", "cannot read the parameters"),
        ("bradley-terry(temperature=0)", "temperature must be positive and finite, got 0"),
        ("bradley-terry(temperature=1e999)", "temperature must be positive and finite, got inf"),
        ("bradley-terry | deterministic", "2 choices, bradley-terry and deterministic"),
        ("deterministic | deterministic", "2 choices, deterministic and deterministic"),
        ("b-pref-oracle | deterministic", "2 choices"),
        ("b-pref-skip | b-pref-equal", "2 choices, deterministic and deterministic"),
        (
            "b-pref-skip(epsilon=0.2)",
            r"has no parameters: it stands for 'deterministic \| skip\(epsilon=0.1\)'",
        ),
        (
            "deterministic | drift | mistake | myopic",
            r"Write 'drift \| myopic \| deterministic \| mistake'",
        ),
        (
            "mistake | bradley-terry(temperature=2)",
            r"perceptions, the choice, replies. Write 'bradley-terry\(temperature=2\) \| mistake'",
        ),
    ],
)
def test_what_is_no_annotator_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mistakes", "no annotator 'mistakes'. Did you mean 'mistake'"),
        ("bradley-terri | mistake", "Did you mean 'bradley-terry'"),
        ("mistake | [red]", "no annotator '\\[red\\]'"),
        ("'a | b'", "no annotator \"'a | b'\""),
    ],
)
def test_an_unknown_stage_is_refused_with_the_nearest_name(text: str, message: str) -> None:
    with pytest.raises(UnknownAnnotator, match=message):
        make_annotator(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a|b", ["a", "b"]),
        (" a(x='|') | b ", ["a(x='|')", "b"]),
        ("""a(x="it's | ]") | b(y=[1, (2 | 3)])""", ["""a(x="it's | ]")""", "b(y=[1, (2 | 3)])"]),
        (r"a(x='\'|') | b", [r"a(x='\'|')", "b"]),
        ("a(x='''|''') | b", ["a(x='''|''')", "b"]),
        ("a(x='| b", ["a(x='| b"]),
        ("a('| b') | 'c | d", ["a('| b')", "'c", "d"]),
        ("a) | b", ["a) | b"]),
        ("", [""]),
        ("|", ["", ""]),
    ],
)
def test_bars_in_brackets_and_quotes_part_nothing(text: str, parts: list[str]) -> None:
    assert _split(text) == parts


# -- what answers depend on ----------------------------------------------------------------------


@pytest.mark.parametrize("annotator", [*ALL, LONG])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**64), asked=ASKED, data=st.data())
def test_an_answer_is_the_same_in_any_order_and_any_batch(
    annotator: str, seed: int, asked: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    pairs, repeat, time = split(asked)
    oracle = WORLD.with_annotator(annotator, seed).oracle
    labels = oracle.label(pairs, repeat, time)
    assert set(labels[~np.isnan(labels)]) <= {0.0, 0.5, 1.0}
    order = np.array(data.draw(st.permutations(range(len(asked)))))
    again = WORLD.with_annotator(annotator, seed).oracle.label(
        pairs[order], repeat[order], time[order]
    )
    np.testing.assert_array_equal(again, labels[order])
    cut = data.draw(st.integers(0, len(asked)))
    parts = [slice(cut), slice(cut, None)]
    halves = [oracle.label(pairs[part], repeat[part], time[part]) for part in parts]
    np.testing.assert_array_equal(np.concatenate(halves), labels)


@pytest.mark.parametrize("annotator", [*ALL, LONG])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**64), asked=ASKED)
def test_turning_a_question_turns_its_answer(
    annotator: str, seed: int, asked: list[tuple[int, int, int]]
) -> None:
    if "position" in annotator:
        annotator = annotator.replace("position-bias", "position-bias(weight=0)")
    pairs, repeat, time = split(asked)
    oracle = WORLD.with_annotator(annotator, seed).oracle
    turned = oracle.label(pairs[:, [0, 2, 1]], repeat, time)
    np.testing.assert_array_equal(turned, 1 - oracle.label(pairs, repeat, time))


PROCESS = """
import hashlib
import numpy as np
from tests.oracles.test_annotators import ALL, LONG, PAIRS, WORLD
rng = np.random.default_rng(5)
pairs = PAIRS[rng.integers(len(PAIRS), size=300)]
repeat, time = rng.integers(9, size=(2, 300))
digest = hashlib.sha256()
for annotator in [*ALL, LONG]:
    labels = WORLD.with_annotator(annotator, 3).oracle.label(pairs, repeat, time)
    digest.update(np.nan_to_num(labels, nan=-1).astype("<f8").tobytes())
found = digest.hexdigest()
"""


def test_answers_are_the_same_in_another_process(root: Path) -> None:
    here: dict[str, str] = {}
    exec(PROCESS, here)
    there = subprocess.run(
        [sys.executable, "-c", PROCESS + "print(found)"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.strip() == here["found"]


@given(seed=st.integers(0, 2**64), asked=ASKED)
def test_plain_bradley_terry_is_what_environments_name_bit_for_bit(
    seed: int, asked: list[tuple[int, int, int]]
) -> None:
    pairs, repeat, time = split(asked)
    plain = BradleyTerry(WORLD.truth.rewards, seed).label(pairs, repeat)
    chain = WORLD.with_annotator("bradley-terry", seed).oracle
    np.testing.assert_array_equal(chain.label(pairs, repeat, time), plain)
    np.testing.assert_array_equal(chain.label(pairs, repeat), plain)


def test_annotators_that_share_a_stage_share_its_luck(answering: Answering) -> None:
    pairs, repeat = np.repeat(PAIRS, 100, axis=0), np.tile(np.arange(100), len(PAIRS))
    plain, one, two = (
        answering(text).label(pairs, repeat)
        for text in ("bradley-terry", "mistake(rate=0.1)", "mistake(rate=0.1) | mistake(rate=0.2)")
    )
    other = answering("deterministic | mistake(rate=0.1)").label(pairs, repeat)
    sure = answering("deterministic").label(pairs, repeat)
    # The same answers are mistaken, whatever they were; a second mistake is another one.
    np.testing.assert_array_equal(one != plain, other != sure)
    assert np.mean(one != plain) == pytest.approx(0.1, abs=0.02)
    assert np.mean(two != one) == pytest.approx(0.2, abs=0.02)
    assert np.mean((two != one) & (one != plain)) == pytest.approx(0.02, abs=0.01)


# -- what they say of themselves ------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ALL, *NEEDING])
def test_a_stage_says_what_it_does(name: str) -> None:
    told = describe_annotator(name)
    assert told["family"] in ANNOTATORS
    assert told["summary"].endswith(".")
    assert len(told["summary"]) < 105
    assert set(told["about"]) == set(told["parameters"]), "each parameter is explained"
    assert "Attributes" not in told["text"]
    if name in STAGES.built_in:
        stages = make_annotator(NEEDING.get(name, name)).stages
        assert told["family"] in [stage.kind for _, stage in stages]
    else:
        assert f"``{_CHAINS[name][0]}``" in told["text"]


def test_an_unknown_name_says_nothing() -> None:
    assert annotator_names() == [*STAGES.built_in, *_CHAINS]
    with pytest.raises(UnknownAnnotator, match="Did you mean 'mistake'"):
        describe_annotator("mistakes")


# -- environments --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mine(Environment):
    """A user's own, with required parameters and a check that knows of no other."""

    size: int

    def __post_init__(self) -> None:
        assert self.size

    def world(self, seed: int) -> World:
        return drawn(seed, self.size)


def test_every_environment_has_an_annotator() -> None:
    for made in (Mine(4, annotator="deterministic"), Mine(4), Mine(annotator="mistake", size=4)):
        world = draw_world(made, 1)
        env = PairEnv(made, (5, 9))
        env.reset(seed=1)
        assert env.world is world
        own = drawn(1, 4).with_annotator(made.annotator or "bradley-terry", 1).oracle
        repeat = np.arange(20)
        pairs = np.tile([0, 1, 0], (20, 1))
        np.testing.assert_array_equal(world.oracle.label(pairs, repeat), own.label(pairs, repeat))


@pytest.mark.parametrize(
    "make",
    [
        lambda annotator: make_env(Mine(4, annotator=annotator)),
        lambda annotator: make_env("Isotropic-v1", annotator=annotator),
        lambda annotator: make_env(f"Isotropic-v1(annotator={annotator!r})"),
        lambda annotator: environment_spec("Isotropic-v1", annotator=annotator),
        lambda annotator: PairEnv("Isotropic-v1", annotator=annotator),
    ],
)
def test_an_annotator_that_cannot_be_is_refused_when_the_environment_is_made(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnknownAnnotator, match="Did you mean 'mistake'"):
        make("mistakes")
    with pytest.raises(InvalidParameter, match="rate must be between 0 and 1"):
        make("mistake(rate=2)")


def test_a_record_names_the_annotator_where_one_is_given() -> None:
    spec = environment_spec("Isotropic-v1", annotator="mistake(rate=0.1)")
    assert spec.params["annotator"] == "mistake(rate=0.1)"
    assert spec.label == "pairbench/Isotropic-v1(annotator='mistake(rate=0.1)')"
    plain = environment_spec("Isotropic-v1(dim=16, annotator=None)")
    # What was played before there were annotators is what it was.
    assert "annotator" not in plain.params
    assert plain.label == "pairbench/Isotropic-v1"


def test_an_episode_is_the_same_again_from_its_pairs_alone() -> None:
    small: dict[str, Any] = {"prompts": 5, "completions": 4, "dim": 3, "steps": 4}
    env = make_env("LogLinear-v1", annotator=LONG, **small)
    played = play(env, "uniform", 4, (30, 60))
    rounds = [round_.pairs for round_ in played.rounds]
    again = replay(env, rounds, 4, (30, 60))
    assert again.results() == played.results()
    plain = play(make_env("LogLinear-v1", **small), "uniform", 4, (30, 60))
    assert plain.start == played.start
    assert not np.array_equal(plain.rounds[-1].labels, played.rounds[-1].labels)


def test_time_is_how_many_labels_were_bought_before(make_world: MakeWorld) -> None:
    seen: list[Ints] = []

    class Clock:
        def label(self, pairs: Ints, repeat: Ints, time: Ints | None = None) -> NDArray[np.float64]:
            assert time is not None
            seen.append(time)
            return np.ones(len(pairs))

    @dataclass(frozen=True)
    class Timed(Environment):
        def world(self, seed: int) -> World:
            world = make_world(seed)
            return World(**{**vars(world), "oracle": Clock()})

    play(Timed(), "uniform", 0, (3, 7))
    assert [time.tolist() for time in seen] == [[0, 1, 2], [3, 4, 5, 6]]
