"""Annotators: chains of stages, given as text to any environment.

``"length-bias(weight=0.5) | bradley-terry(temperature=2) | mistake(rate=0.1)"`` reads as an answer
comes about: perceptions first, then one choice (``bradley-terry`` if none is named), then replies.

Random numbers belong to the stage: a function of the world's seed, the stage's name and its place
among equals, the prompt, the unordered pair, and how often it was asked before. So two annotators
that share a stage share its luck, and where they answer otherwise, it is for what they are. All
choices throw the world's own coin; ``bradley-terry`` alone is :class:`pairbench.BradleyTerry`, bit
for bit.
"""

import importlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, UnknownAnnotator, unknown
from pairbench.oracles import Oracle
from pairbench.oracles.panels import Panel, PanelOracle
from pairbench.oracles.questions import OnAverage, Questions
from pairbench.oracles.stages import (
    Array,
    Choice,
    Perception,
    Reply,
    Scene,
    Stage,
    Step,
)
from pairbench.pool import Pairs, Pool, Rows

_HOMES = {
    "drift": ("perceptions", "Drift"),
    "intransitive": ("perceptions", "Intransitive"),
    "length-bias": ("perceptions", "LengthBias"),
    "myopic": ("perceptions", "Myopic"),
    "position-bias": ("perceptions", "PositionBias"),
    "reward-model": ("reward_model", "RewardModels"),
    "sycophancy": ("perceptions", "Sycophancy"),
    "bradley-terry": ("choices", "LogisticChoice"),
    "crowd": ("crowd", "Crowd"),
    "deterministic": ("choices", "Deterministic"),
    "heavy-tailed": ("choices", "HeavyTailed"),
    "judge": ("judge", "Judge"),
    "recorded": ("recorded", "Recorded"),
    "thurstone": ("choices", "Thurstone"),
    "adversary": ("replies", "Adversary"),
    "equal": ("replies", "Equal"),
    "mistake": ("replies", "Mistake"),
    "skip": ("replies", "Skip"),
}
# Chains that have a name, and what they are.
_CHAINS = {
    "b-pref-equal": ("deterministic | equal(epsilon=0.1)", "finds small differences equal"),
    "b-pref-mistake": ("deterministic | mistake(rate=0.1)", "errs now and then"),
    "b-pref-myopic": ("myopic(gamma=0.9) | deterministic", "remembers the last steps best"),
    "b-pref-oracle": ("deterministic", "is always right"),
    "b-pref-skip": ("deterministic | skip(epsilon=0.1)", "has no answer to two bad completions"),
    "b-pref-stochastic": ("bradley-terry(temperature=1)", "is seldom wrong where it matters"),
}
_CHAINS_SOURCE = """
Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based Reinforcement
    Learning", arXiv 2111.03026.
"""
_KINDS = [Perception.kind, Choice.kind, Reply.kind]  # as a question meets them
_USUAL = "bradley-terry"
# A quoted text, a bracket, a bar, or what stands between them.
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^'"()\[\]{}|]+|.""", re.DOTALL)


@dataclass(frozen=True)
class Annotator:
    """A chain of stages.

    Attributes:
        stages: each by name, in the order in which a question meets them; one is a choice.
    """

    stages: tuple[tuple[str, Stage], ...]

    def oracle(self, scene: Scene) -> Oracle:
        """The annotator in front of a world's questions.

        Raises:
            InvalidParameter: If a stage asks for what the world does not have.
        """
        seen: Counter[str] = Counter()
        chain = _Chain(scene.rewards, ())
        for name, stage in self.stages:
            if isinstance(stage, Choice):
                step = stage.on(scene, chain)
            elif isinstance(stage, Perception | Reply):
                step = stage.on(scene.within(name, seen[name]))
            chain = _Chain(scene.rewards, (*chain.steps, step))
            seen[name] += 1
        for _, stage in self.stages:
            if isinstance(stage, Panel):
                return PanelOracle(chain, stage.voters(scene), stage.size, stage.aggregate)
        return AnnotatorOracle(chain)

    def rows(self, pool: Pool) -> Rows | None:
        """Which completions the choice can compare; see :meth:`Stage.rows`."""
        found = [rows for _, stage in self.stages if (rows := stage.rows(pool)) is not None]
        return found[0] if found else None

    def data_digests(self) -> tuple[str, ...]:
        """SHA-256 of each file or model that a stage reads."""
        return tuple(digest for _, stage in self.stages if (digest := stage.data_digest()))


@dataclass(frozen=True, eq=False)
class _Chain:
    """Steps one after the other, beginning with the true differences in reward."""

    rewards: Array
    steps: tuple[Step, ...]

    def __call__(self, asked: Questions) -> Array:
        values = asked.difference(self.rewards)
        for step in self.steps:
            values = step(asked, values)
        return values


@dataclass(frozen=True, eq=False)
class AnnotatorOracle:
    """An annotator set on a world; see :meth:`Annotator.oracle`.

    Attributes:
        answers: the answers to questions, ``(n,)``.
    """

    answers: _Chain

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Array:
        """See :class:`pairbench.oracles.Oracle`."""
        return self.answers(Questions(pairs, repeat, time))

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> Array:
        """See :class:`pairbench.oracles.KnownOracle`."""
        return self.answers(OnAverage.of(pairs, time))


def make_annotator(annotator: str) -> Annotator:
    """An annotator from its text.

    Args:
        annotator: stages, each as in ``"mistake(rate=0.1)"``, or names that stand for several, with
            bars between them: perceptions first, then one choice, then replies. Without a choice,
            it is ``bradley-terry``.

    Raises:
        UnknownAnnotator: If nothing answers to a name.
        InvalidParameter: If a parameter is unknown or has an impossible value, the chain is empty,
            has two choices or two stages in the true rewards' place, or is not in order.
    """
    texts = _written_out(annotator)
    stages = [_stage(text) for text in texts]
    order = [_KINDS.index(stage.kind) for _, stage in stages]
    choices = [text for text, place in zip(texts, order, strict=True) if place == 1]
    if len(choices) > 1:
        raise InvalidParameter(
            f"annotator {annotator!r} has {len(choices)} choices, {' and '.join(choices)}, but one "
            "alone can turn what is perceived into an answer. Leave one of them."
        )
    right = sorted(range(len(texts)), key=order.__getitem__)
    if right != [*range(len(texts))]:
        raise InvalidParameter(
            f"annotator {annotator!r} is not in the order in which an answer comes about: "
            "perceptions, the choice, replies. "
            f"Write {chained([texts[k] for k in right])!r}."
        )
    blind = [text for text, (_, stage) in zip(texts, stages, strict=True) if _is_blind(stage)]
    if blind and 0 in order:
        raise InvalidParameter(
            f"annotator {annotator!r}: the answers of {blind[0]!r} do not depend on what is "
            f"perceived. Leave out {texts[0]!r}."
        )
    put = [t for t, (_, s) in zip(texts, stages, strict=True) if getattr(s, "replaces", False)]
    if len(put) > 1:
        raise InvalidParameter(
            f"annotator {annotator!r}: {' and '.join(put)} each put something else in the place of "
            "the true rewards. Leave one of them; several reward models are one stage, "
            "reward-model(model=[…])."
        )
    if not choices:
        stages.insert(order.count(0), _stage(_USUAL))
    return Annotator(tuple(stages))


def annotator_names() -> list[str]:
    """The names of all stages, and of the chains that have one."""
    return [*_HOMES, *_CHAINS]


def describe_annotator(name: str) -> dict[str, Any]:
    """What a stage or a chain says of itself; see :func:`pairbench.registry.describe_design`.

    Raises:
        UnknownAnnotator: If nothing answers to the name.
    """
    from pairbench.registry import described

    _check_known(name)
    if name in _CHAINS:
        chain, what = _CHAINS[name]
        docstring = f"B-Pref's teacher that {what}: ``{chain}``.\n{_CHAINS_SOURCE}"
        told = described(name, Annotator, docstring)
        return {**told, "family": "ready-made", "parameters": {}, "about": {}}
    module, kind = _HOMES[name]
    stage = getattr(importlib.import_module(f"pairbench.oracles.{module}"), kind)
    return {**described(name, stage, stage.__doc__), "family": stage.kind}


def chained(parts: Sequence[str]) -> str:
    """The text of an annotator that is these, one after the other."""
    return " | ".join(parts)


def _is_blind(stage: Stage) -> bool:
    return isinstance(stage, Choice) and not stage.perceives


def _written_out(annotator: str) -> list[str]:
    """The texts of the stages, names that stand for several written out."""
    from pairbench.registry import parsed

    texts: list[str] = []
    for part in _parts(annotator):
        name, params = parsed(part)
        if not name:
            raise InvalidParameter(
                f"annotator {annotator!r} lacks a stage. Write one, such as 'bradley-terry', or "
                "several with bars between them: 'bradley-terry | mistake(rate=0.1)'."
            )
        if name in _CHAINS and params:
            raise InvalidParameter(
                f"annotator {name!r} has no parameters: it stands for {_CHAINS[name][0]!r}. Write "
                "that with values of your own."
            )
        texts += _parts(_CHAINS[name][0] if name in _CHAINS else part)
    return texts


def _parts(chain: str) -> list[str]:
    """What stands between the bars that are in no bracket and no quoted text."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(chain):
        depth += (token in "([{") - (token in ")]}")
        if token == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def _stage(text: str) -> tuple[str, Stage]:
    from pairbench.registry import make_kind, parsed

    name, _ = parsed(text)
    _check_known(name)
    made: Stage = make_kind(text, "annotator", "pairbench.oracles", _HOMES, UnknownAnnotator)
    return name, made


def _check_known(name: str) -> None:
    if name not in _HOMES and name not in _CHAINS:
        raise unknown(UnknownAnnotator, "annotator", name, annotator_names())
