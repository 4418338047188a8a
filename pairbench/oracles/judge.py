"""A language model as judge: it reads both completions and says which is better."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from pairbench.cache import cache_folder
from pairbench.errors import InvalidData, InvalidParameter, did_you_mean
from pairbench.language.chat import CUT, REFUSED, Endpoint, KeptReplies, Reply, Request, check_url
from pairbench.language.tokens import known_texts
from pairbench.oracles.panels import Panel, Voters
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import Array, Perceived, Scene, Step, check_positive

Pair = tuple[int, int, int, int]
"""Prompt, lower and higher index of the completions, and which of several answers it is."""

_TASK = (
    "You compare two answers to one and the same prompt, as an impartial judge. Decide which of "
    "them serves better what the prompt asks for. Consider whether it is helpful, to the point, "
    "accurate, thorough and clear. Which of the two comes first, how long they are, and what the "
    "assistants are called must not count."
)
_VERDICTS = '"[[A]]" if answer A is better, "[[B]]" if answer B is better, "[[C]]" if neither is.'
_MATERIAL = """[Prompt]
{question}

[Beginning of answer A]
{answer_a}
[End of answer A]

[Beginning of answer B]
{answer_b}
[End of answer B]"""


class Template(NamedTuple):
    """What a judge is told.

    Attributes:
        system: the task, where it has a message of its own; else empty.
        user: what it is to judge, with places for the texts.
    """

    system: str
    user: str


TEMPLATES = {
    "explained": Template(
        f"{_TASK} First compare the two in a few sentences. Then end with your verdict, in exactly "
        f"this form: {_VERDICTS}",
        _MATERIAL,
    ),
    "verdict": Template(
        f"{_TASK} Reply with your verdict alone, in exactly this form: {_VERDICTS}", _MATERIAL
    ),
}
"""Pairwise comparison as in Zheng et al. 2023 (figure 5), in words of our own."""

_PLACES = ("question", "answer_a", "answer_b")
_PLACE = re.compile(r"\{(" + "|".join(_PLACES) + r")\}")
_RULE = re.compile(r"^---$\n?", re.MULTILINE)
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_WINS = {"A": 1.0, "B": 0.0, "C": 0.5}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Judge(Panel):
    """A language model behind an OpenAI-compatible endpoint compares the texts.

    It is asked in both orders: what it prefers in both is better, and otherwise neither is. Its
    verdict is the last ``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie) of its reply; one that was cut off
    has none. Without a verdict it is asked again, at a temperature of 1 at least, and in the end
    there is no answer, as where it refuses. Replies are kept in the cache folder ``judge``: they
    belong to the model's name and to the texts, whatever the endpoint and the world's seed, and
    what was asked once is not asked again. The key is in the environment, and on no record.

    Attributes:
        model: its name at the endpoint, which has to be given.
        endpoint: where it is served, such as ``"http://localhost:8000/v1"``; if None, what the
            environment variable ``OPENAI_BASE_URL`` names.
        template: what it is told: ``"explained"``, to compare and then decide, ``"verdict"``, which
            costs fewer tokens, or the path of a text with places for ``{question}``,
            ``{answer_a}`` and ``{answer_b}``; what stands above a line ``---`` is the system
            message.
        samples: how many votes it gives on each question.
        temperature: of its replies. At 0 it is taken to say the same each time, so that a pair that
            comes again is not asked again; above, each time is another sample.
        max_tokens: of a reply.
        attempts: how many replies to wait for one that has a verdict.
        ties: whether the answer is ½ where neither is better; otherwise there is none.
        at_once: how many requests are on the way at once.
        timeout: seconds that the server may be silent.
        retries: how often a request is repeated that was not answered, see
            :class:`pairbench.language.chat.Endpoint`.
        key: the environment variable that holds the API key, if there is one.

    Source: Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv
        2306.05685.
    """

    model: str
    endpoint: str | None = None
    template: str = "explained"
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 1024
    attempts: int = 2
    ties: bool = True
    at_once: int = 8
    timeout: float = 120.0
    retries: int = 6
    key: str = "OPENAI_API_KEY"
    perceives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model.strip():
            raise InvalidParameter("model must be the model's name at the endpoint, got ''.")
        if self.endpoint is not None:
            check_url(self.endpoint)
        for name in ("samples", "max_tokens", "attempts", "at_once"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if self.retries < 0:
            raise InvalidParameter(f"retries must be 0 or more, got {self.retries}.")
        if not (np.isfinite(self.temperature) and self.temperature >= 0):
            raise InvalidParameter(
                f"temperature must be a finite number, 0 or more, got {self.temperature}."
            )
        if self.samples > 1 and not self.temperature:
            raise InvalidParameter(
                f"samples={self.samples} are all the same at a temperature of 0. Give one, such as "
                "temperature=0.7, or samples=1."
            )
        check_positive("timeout", self.timeout)
        if not _VARIABLE.fullmatch(self.key):
            # It may be the key itself, which no message must show.
            raise InvalidParameter(
                "key must be the name of the environment variable that holds the API key, such as "
                "'OPENAI_API_KEY', never the key itself."
            )

    @property
    def size(self) -> int:
        """See :class:`pairbench.oracles.panels.Panel`."""
        return self.samples

    def data_digest(self) -> str | None:
        """See :class:`pairbench.oracles.stages.Stage`."""
        if self.template in TEMPLATES:
            return None
        return hashlib.sha256(_read(self.template).encode()).hexdigest()

    def on(self, scene: Scene, perceived: Perceived) -> Step:
        """See :class:`pairbench.oracles.stages.Choice`.

        Raises:
            InvalidPool: If the pool does not know its texts.
        """
        prompts, texts = known_texts(scene.pool)
        bench = Bench(self, _template(self.template), prompts, texts)
        return lambda asked, _: bench.answers(asked)

    def voters(self, scene: Scene) -> Voters:
        """See :class:`pairbench.oracles.panels.Panel`."""
        return lambda asked: np.zeros(len(asked.pairs), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Bench:
    """A judge in front of a pool's texts.

    Attributes:
        judge: how to ask.
        template: what to say.
        prompts: of the pool.
        texts: of the completions.
    """

    judge: Judge
    template: Template
    prompts: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    _known: dict[Pair, float] = field(default_factory=dict)

    def answers(self, asked: Questions) -> Array:
        """The vote ``asked.vote`` on each question, ``(n,)``; NaN where there is none.

        Raises:
            EndpointFailed: If the model cannot be asked; what it replied so far is kept.
        """
        counter = asked.counter.copy()
        counter[:, 3] = counter[:, 3] * self.judge.samples + asked.vote
        if self.judge.temperature == 0:
            counter[:, 3] = 0
        pairs: list[Pair] = [(x, i, j, sample) for x, i, j, sample in counter.tolist()]
        self._ask([pair for pair in dict.fromkeys(pairs) if pair not in self._known])
        low_wins = np.array([self._known[pair] for pair in pairs], dtype=np.float64)
        return np.where(asked.ordered, low_wins, 1 - low_wins)

    def _ask(self, pairs: Sequence[Pair]) -> None:
        """Find out which completion of each pair is better."""
        judge = self.judge
        endpoint = Endpoint(judge.endpoint, judge.key, judge.at_once, judge.timeout, judge.retries)
        orders = {
            (x, i, j, s): (self._request(x, i, j, s), self._request(x, j, i, s))
            for x, i, j, s in pairs
        }
        replies = endpoint.replies(
            dict.fromkeys(request for both in orders.values() for request in both),
            kept_replies(),
            lambda reply: verdict(reply) is not None,
            judge.attempts,
        )
        for pair, (one, other) in orders.items():
            self._known[pair] = self._decided(verdict(replies[one]), verdict(replies[other]))

    def _request(self, prompt: int, first: int, second: int, sample: int) -> Request:
        said = dict(
            zip(
                _PLACES,
                (self.prompts[prompt], self.texts[prompt][first], self.texts[prompt][second]),
                strict=True,
            )
        )
        # One pass, since texts may look like places.
        user = _PLACE.sub(lambda place: said[place[1]], self.template.user)
        messages = [("system", self.template.system)] if self.template.system else []
        return Request(
            model=self.judge.model,
            messages=(*messages, ("user", user)),
            temperature=float(self.judge.temperature),
            max_tokens=self.judge.max_tokens,
            sample=sample,
        )

    def _decided(self, one: float | None, other: float | None) -> float:
        """Whether the first of a pair is better, by the verdicts on it as A and as B."""
        if one is None or other is None:
            return np.nan
        if one == 1 - other and one != 0.5:
            return one
        return 0.5 if self.judge.ties else np.nan


def verdict(reply: Reply) -> float | None:
    """1 if A is better, 0 if B is, ½ if neither is; None where the reply does not say.

    What is quoted before the end of a reply is not its verdict, so that one that was cut off has
    none.
    """
    found = _VERDICT.findall(reply.text)
    return _WINS[found[-1]] if found and reply.finish not in (CUT, REFUSED) else None


@dataclass(frozen=True)
class Judged:
    """What a model was asked as a judge.

    Attributes:
        replies: how many it gave; two or more for each vote.
        no_verdict: how many of them say nothing.
        tokens_read: what the server counted of the messages.
        tokens_written: what it counted of the replies.
    """

    replies: int
    no_verdict: int
    tokens_read: int
    tokens_written: int


def judged(since: datetime | None = None) -> dict[str, Judged]:
    """What the judges replied that is kept here, by model.

    What a run costs is what came since it began: what was there before is not asked again.

    Args:
        since: leave out what came before.
    """
    sums: dict[str, Counter[str]] = {}
    for request, reply in kept_replies().all():
        if since is None or reply.time >= since.timestamp():
            sums.setdefault(request["model"], Counter()).update(
                replies=1,
                no_verdict=int(verdict(reply) is None),
                tokens_read=reply.tokens_read or 0,
                tokens_written=reply.tokens_written or 0,
            )
    return {model: Judged(**sums[model]) for model in sorted(sums)}


def kept_replies() -> KeptReplies:
    """Where replies of judges are kept."""
    return KeptReplies(cache_folder("judge"))


def _template(name: str) -> Template:
    """A template by name or path.

    Raises:
        InvalidData: If its file lacks a place for a text, or asks for no verdict.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    text = _read(name)
    parts = _RULE.split(text, maxsplit=1)
    made = Template(parts[0].strip() if len(parts) > 1 else "", parts[-1].strip())
    if lacking := [place for place in _PLACES if f"{{{place}}}" not in made.user]:
        raise InvalidData(f"the template {name!r} has no place for {{{lacking[0]}}} of a question.")
    if lacking := [mark for mark in ("[[A]]", "[[B]]") if mark not in text]:
        raise InvalidData(
            f"the template {name!r} does not ask for the verdict {lacking[0]}. A judge is to write "
            "[[A]], [[B]], or [[C]] for a tie."
        )
    return made


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a path or a text that cannot be
        why = getattr(error, "strerror", None) or error
        known = ", ".join(map(repr, TEMPLATES))
        raise InvalidData(
            f"template must be {known}, or the path of a text: cannot read {path!r}: "
            f"{why}.{did_you_mean(path, TEMPLATES)}"
        ) from error
