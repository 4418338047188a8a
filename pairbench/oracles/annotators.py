"""Annotators: chains of stages, specified as text, for any environment.

``"length-bias(weight=0.5) | bradley-terry(temperature=2) | mistake(rate=0.1)"`` lists the stages in
the order in which they apply: perceptions first, then one choice (``bradley-terry`` if none is
named), then replies.

Random numbers belong to a stage: they are a function of the world's seed, the stage's name and its
number among stages of that name, the prompt, the unordered pair, and how often it was asked before.
So two annotators that share a stage share its random numbers, and their answers differ only where
their other stages do. All choices use the world's own random stream; ``bradley-terry`` alone is
:class:`pairbench.BradleyTerry`, bit for bit.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter, UnknownAnnotator, unknown_name_error
from pairbench.oracles import Oracle
from pairbench.oracles.panels import Panel, PanelOracle
from pairbench.oracles.questions import ExpectedQuestions, Questions
from pairbench.oracles.stages import (
    AnnotatorContext,
    Array,
    Choice,
    Perception,
    Reply,
    Stage,
    Step,
)
from pairbench.pool.pool import CompletionIndex, Pairs, Pool
from pairbench.spec.loading import Contract, Factory
from pairbench.spec.record import describe_factory
from pairbench.spec.registry import Registry
from pairbench.spec.text import parse_spec

STAGES: Registry[Stage] = Registry(
    Contract("annotator", Stage, "pairbench.oracles.stages.Stage"),
    "pairbench.annotators",
    UnknownAnnotator,
    lambda: {
        "drift": "pairbench.oracles.perceptions:Drift",
        "intransitive": "pairbench.oracles.perceptions:Intransitive",
        "length-bias": "pairbench.oracles.perceptions:LengthBias",
        "myopic": "pairbench.oracles.perceptions:Myopic",
        "position-bias": "pairbench.oracles.perceptions:PositionBias",
        "reward-model": "pairbench.oracles.reward_model:RewardModels",
        "sycophancy": "pairbench.oracles.perceptions:Sycophancy",
        "bradley-terry": "pairbench.oracles.choices:LogisticChoice",
        "crowd": "pairbench.oracles.crowd:Crowd",
        "deterministic": "pairbench.oracles.choices:Deterministic",
        "heavy-tailed": "pairbench.oracles.choices:HeavyTailed",
        "judge": "pairbench.oracles.judge:Judge",
        "recorded": "pairbench.oracles.recorded:Recorded",
        "thurstone": "pairbench.oracles.choices:Thurstone",
        "adversary": "pairbench.oracles.replies:Adversary",
        "equal": "pairbench.oracles.replies:Equal",
        "mistake": "pairbench.oracles.replies:Mistake",
        "skip": "pairbench.oracles.replies:Skip",
    },
    hint=lambda name, _: _hint(name),
    register_with="pairbench.register_annotator",
)
# Named chains: the chain, and the end of the sentence "B-Pref's teacher that …".
_CHAINS = {
    "b-pref-equal": ("deterministic | equal(epsilon=0.1)", "answers ½ where rewards are close"),
    "b-pref-mistake": ("deterministic | mistake(rate=0.1)", "makes random mistakes"),
    "b-pref-myopic": ("myopic(gamma=0.9) | deterministic", "weighs late steps most"),
    "b-pref-oracle": ("deterministic", "is always right"),
    "b-pref-skip": ("deterministic | skip(epsilon=0.1)", "skips pairs of two poor completions"),
    "b-pref-stochastic": ("bradley-terry(temperature=1)", "answers by Bradley–Terry"),
}
_CHAINS_SOURCE = """
Source: Lee, Smith, Dragan and Abbeel 2021, "B-Pref: Benchmarking Preference-Based Reinforcement
    Learning", arXiv 2111.03026.
"""
_KINDS = [Perception.kind, Choice.kind, Reply.kind]  # in the order in which they apply
_DEFAULT_CHOICE = "bradley-terry"
# A quoted string, any other run of characters without brackets, bars and quotes, or one of these.
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^'"()\[\]{}|]+|.""", re.DOTALL)


class _NamedStage(NamedTuple):
    """One stage of a chain's text.

    Attributes:
        text: the stage as it is written.
        name: its name.
        stage: the stage itself.
    """

    text: str
    name: str
    stage: Stage

    @property
    def order(self) -> int:
        """Index of the stage's kind in the order in which kinds apply."""
        return _KINDS.index(self.stage.kind)


@dataclass(frozen=True)
class Annotator:
    """A chain of stages.

    Attributes:
        stages: names and stages, in the order in which they apply; one is a choice.
    """

    stages: tuple[tuple[str, Stage], ...]

    def oracle(self, context: AnnotatorContext) -> Oracle:
        """Build the oracle of this annotator for a world.

        Args:
            context: the world, with the world's own random stream.

        Raises:
            InvalidParameter: If a stage needs data that the world does not have.
        """
        count: Counter[str] = Counter()
        chain = _Chain(context.rewards, ())
        for name, stage in self.stages:
            if isinstance(stage, Choice):
                step = stage.on(context, chain)
            elif isinstance(stage, Perception | Reply):
                step = stage.on(context.substream(name, count[name]))
            chain = _Chain(context.rewards, (*chain.steps, step))
            count[name] += 1
        for _, stage in self.stages:
            if isinstance(stage, Panel):
                return PanelOracle(chain, stage.voters(context), stage.size, stage.aggregate)
        return AnnotatorOracle(chain)

    def rows(self, pool: Pool) -> CompletionIndex | None:
        """Return the pool of completions that the annotator can compare; None if it can all.

        Args:
            pool: the environment's pool, whose completions are regrouped.
        """
        for _, stage in self.stages:
            if (rows := stage.rows(pool)) is not None:
                return rows
        return None

    def data_digests(self) -> tuple[str, ...]:
        """Return the SHA-256 of each file or model that a stage reads."""
        return tuple(digest for _, stage in self.stages if (digest := stage.data_digest()))


@dataclass(frozen=True, eq=False)
class _Chain:
    """Composition of steps, applied to the true differences in reward."""

    rewards: Array
    steps: tuple[Step, ...]

    def __call__(self, questions: Questions) -> Array:
        values = questions.difference(self.rewards)
        for step in self.steps:
            values = step(questions, values)
        return values


@dataclass(frozen=True, eq=False)
class AnnotatorOracle:
    """An annotator that labels the pairs of a world; see :meth:`Annotator.oracle`.

    Attributes:
        answers: maps questions to answers, ``(n,)``.
    """

    answers: _Chain

    def label(
        self, pairs: Pairs, repeat: NDArray[np.int64], time: NDArray[np.int64] | None = None
    ) -> Array:
        """Return labels, ``(n,)``; see :meth:`pairbench.oracles.Oracle.label`."""
        return self.answers(Questions(pairs, repeat, time))

    def expected(self, pairs: Pairs, time: NDArray[np.int64] | None = None) -> Array:
        """Compute the expected labels, ``(n,)``, NaN where there is never a label."""
        return self.answers(ExpectedQuestions.of(pairs, time))


# Why: docs/decisions/014-annotator-stages-have-one-order.md
def make_annotator(annotator: str | Annotator) -> Annotator:
    """Build an annotator from its text.

    Args:
        annotator: an annotator, which is returned unchanged, or its text: stages such as
            ``"mistake(rate=0.1)"``, or names of chains, separated by bars: perceptions first, then
            one choice, then replies. Without a choice, ``bradley-terry`` is added.

    Raises:
        UnknownAnnotator: If no stage or chain has a name.
        InvalidParameter: If a parameter is unknown or has an impossible value, or the chain is
            empty, has two choices or two stages that replace the true rewards, or is not in order.
    """
    if isinstance(annotator, Annotator):
        return annotator
    chain = [
        _NamedStage(text, name, STAGES.build(name, params))
        for text, name, params in _expand(annotator)
    ]
    _check_chain(annotator, chain)
    stages = [(name, stage) for _, name, stage in chain]
    kinds = [stage.kind for _, stage in stages]
    if Choice.kind not in kinds:
        default = _DEFAULT_CHOICE, STAGES.build(_DEFAULT_CHOICE, {})
        stages.insert(kinds.count(Perception.kind), default)
    return Annotator(tuple(stages))


def _check_chain(annotator: str, chain: Sequence[_NamedStage]) -> None:
    """Raise unless stages can follow one another.

    Args:
        annotator: the chain's text, for messages.
        chain: its stages.

    Raises:
        InvalidParameter: If there are two choices or two stages that replace the true rewards, a
            perception before a choice that ignores it, or another order of kinds.
    """
    choices = [part.text for part in chain if isinstance(part.stage, Choice)]
    if len(choices) > 1:
        raise InvalidParameter(
            f"annotator {annotator!r} has {len(choices)} choices, {' and '.join(choices)}, but "
            "only one can turn the perceived difference into an answer. Leave one of them."
        )
    order = [part.order for part in chain]
    if order != sorted(order):
        in_order = join_stages([part.text for part in sorted(chain, key=lambda part: part.order)])
        raise InvalidParameter(
            f"annotator {annotator!r} is not in the order in which stages apply: "
            f"perceptions, the choice, replies. Write {in_order!r}."
        )
    blind = [
        part.text for part in chain if isinstance(part.stage, Choice) and not part.stage.perceives
    ]
    if blind and isinstance(chain[0].stage, Perception):
        raise InvalidParameter(
            f"annotator {annotator!r}: the answers of {blind[0]!r} do not depend on what is "
            f"perceived. Leave out {chain[0].text!r}."
        )
    replacing = [part.text for part in chain if getattr(part.stage, "replaces", False)]
    if len(replacing) > 1:
        raise InvalidParameter(
            f"annotator {annotator!r}: {' and '.join(replacing)} each replace the true rewards. "
            "Leave one of them; several reward models are one stage, reward-model(model=[…])."
        )


def register_annotator(name: str, stage: Factory | None = None) -> Any:
    """Register a stage under a name; also usable as a decorator.

    Args:
        name: the name, such as ``"fatigue"``.
        stage: a subclass of :class:`Perception`, :class:`Choice` or :class:`Reply`.
    """
    return STAGES.register(name, stage)


def annotator_names() -> list[str]:
    """List the names of all stages and named chains; built-in stages in the order of a chain."""
    built_in = list(STAGES.built_in)
    registered = [name for name in STAGES.names() if name not in built_in]
    return [*built_in, *registered, *_CHAINS]


def describe_annotator(name: str) -> dict[str, Any]:
    """Describe a stage or a chain; see :func:`pairbench.spec.record.describe_factory`.

    Raises:
        UnknownAnnotator: If no stage or chain has the name.
    """
    if name in _CHAINS:
        chain, behaviour = _CHAINS[name]
        docstring = f"B-Pref's teacher that {behaviour}: ``{chain}``.\n{_CHAINS_SOURCE}"
        details = describe_factory(name, Annotator, docstring)
        return {**details, "family": "ready-made", "parameters": {}, "about": {}}
    details = STAGES.describe(name)
    if details["file"] is None:  # a plugin that does not load
        return details
    stage: Any = STAGES.factory(name)
    return {**details, "family": stage.kind}


def join_stages(parts: Sequence[str]) -> str:
    """Join the texts of stages or chains to the text of one annotator."""
    return " | ".join(parts)


def _hint(name: str) -> str:
    """Return the message for an unknown name; it lists chains, too."""
    return str(unknown_name_error(UnknownAnnotator, "annotator", name, annotator_names()))


def _expand(annotator: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Parse a chain to text, name and parameters of each stage, with named chains expanded."""
    stages: list[tuple[str, str, dict[str, Any]]] = []
    for text in _split(annotator):
        name, params = parse_spec(text)
        if not name:
            raise InvalidParameter(
                f"annotator {annotator!r} lacks a stage. Write one, such as 'bradley-terry', or "
                "several with bars between them: 'bradley-terry | mistake(rate=0.1)'."
            )
        if name in _CHAINS and params:
            raise InvalidParameter(
                f"annotator {name!r} has no parameters: it stands for {_CHAINS[name][0]!r}. Write "
                "that with your own values."
            )
        if name in _CHAINS:
            stages += _expand(_CHAINS[name][0])
        else:
            stages.append((text, name, params))
    return stages


def _split(chain: str) -> list[str]:
    """Split a chain at the bars outside brackets and quoted strings."""
    stages, depth = [""], 0
    for token in _TOKEN.findall(chain):
        depth += (token in "([{") - (token in ")]}")
        if token == "|" and not depth:
            stages.append("")
        else:
            stages[-1] += token
    return [stage.strip() for stage in stages]
