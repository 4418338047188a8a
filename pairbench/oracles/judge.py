"""A language model as judge: it reads both completions and decides which is better."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from pairbench._util.cache import cache_folder
from pairbench._util.checks import check_at_least, check_nonnegative, check_positive
from pairbench.errors import InvalidData, InvalidParameter, did_you_mean
from pairbench.language.chat import (
    REFUSED,
    TRUNCATED,
    Endpoint,
    Reply,
    ReplyCache,
    Request,
    check_url,
)
from pairbench.language.tokens import require_texts
from pairbench.oracles.panels import Panel, Voters
from pairbench.oracles.questions import Questions
from pairbench.oracles.stages import AnnotatorContext, Array, PerceivedDifference, Step

Comparison = tuple[int, int, int, int]
"""Prompt, lower and higher index of the completions, and index among several samples."""

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
    """The messages to a judge.

    Attributes:
        system: the system message, which states the task; empty if there is none.
        user: the user message, with placeholders for the texts.
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
"""Prompts for pairwise comparison as in Zheng et al. 2023 (figure 5), paraphrased."""

_PLACEHOLDERS = ("question", "answer_a", "answer_b")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(_PLACEHOLDERS) + r")\}")
_SEPARATOR = re.compile(r"^---$\n?", re.MULTILINE)
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_WINS = {"A": 1.0, "B": 0.0, "C": 0.5}
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Judge(Panel):
    """LLM judge: a language model behind an OpenAI-compatible endpoint compares the texts.

    It compares each pair in both orders: a completion that wins in both is better, and otherwise
    neither is. The verdict is the last ``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie) of a reply; a
    truncated reply has none. Without a verdict the request is repeated, at a temperature of at
    least 1. If no reply has a verdict, or the model refuses, there is no answer. Replies are cached
    in the folder ``judge``, keyed by the model's name and the texts, whatever the endpoint and the
    world's seed, so that no request is made twice. The API key is read from the environment and
    never recorded.

    Attributes:
        model: its name at the endpoint; required.
        endpoint: base URL, such as ``"http://localhost:8000/v1"``; if None, the value of the
            environment variable ``OPENAI_BASE_URL``.
        template: the prompt: ``"explained"``, which asks to compare and then decide, ``"verdict"``,
            which costs fewer tokens, or the path of a text with the placeholders ``{question}``,
            ``{answer_a}`` and ``{answer_b}``; the text above a line ``---`` is the system message.
        samples: votes per question.
        temperature: of its replies. At 0 they are assumed to be deterministic, so that a repeated
            pair makes no new request; above 0 each repeat is a new sample.
        max_tokens: of a reply.
        attempts: the largest number of replies to request until one has a verdict.
        ties: whether the answer is ½ where neither is better; otherwise there is none.
        at_once: the number of concurrent requests.
        timeout: seconds to wait for data from the server.
        retries: how often a failed request is repeated, see
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
        check_at_least(1, samples=self.samples, max_tokens=self.max_tokens)
        check_at_least(1, attempts=self.attempts, at_once=self.at_once)
        check_at_least(0, retries=self.retries)
        check_nonnegative(temperature=self.temperature)
        if self.samples > 1 and not self.temperature:
            raise InvalidParameter(
                f"samples={self.samples} are all the same at a temperature of 0. Set one, such as "
                "temperature=0.7, or samples=1."
            )
        check_positive(timeout=self.timeout)
        if not _VARIABLE_NAME.fullmatch(self.key):
            # The value may be the key itself, which must appear in no message.
            raise InvalidParameter(
                "key must be the name of the environment variable that holds the API key, such as "
                "'OPENAI_API_KEY', never the key itself."
            )

    @property
    def size(self) -> int:
        """The number of votes per question."""
        return self.samples

    def data_digest(self) -> str | None:
        """Return the SHA-256 of the template's file, None for a built-in template.

        Raises:
            InvalidData: If the file cannot be read.
        """
        if self.template in TEMPLATES:
            return None
        return hashlib.sha256(_read(self.template).encode()).hexdigest()

    def on(self, context: AnnotatorContext, perceived: PerceivedDifference) -> Step:
        """Return the step that requests the judge's answers.

        Raises:
            InvalidPool: If the pool does not know its texts.
            InvalidData: If the template cannot be read, or lacks a placeholder or a verdict.
        """
        prompts, texts = require_texts(context.pool)
        judge = PoolJudge(self, _load_template(self.template), prompts, texts)
        return lambda questions, _: judge.answers(questions)

    def voters(self, context: AnnotatorContext) -> Voters:
        """Return the function that names annotator 0, the judge, for every vote."""
        return lambda questions: np.zeros(len(questions.pairs), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PoolJudge:
    """A judge applied to a pool's texts.

    Attributes:
        judge: the judge's parameters.
        template: its prompt.
        prompts: the pool's prompts, ``n_prompts`` of them.
        texts: the completions of each prompt.
    """

    judge: Judge
    template: Template
    prompts: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    _results: dict[Comparison, float] = field(default_factory=dict)

    def answers(self, questions: Questions) -> Array:
        """Return the vote ``questions.vote`` on each question, ``(n,)``; NaN where there is none.

        Args:
            questions: the questions; comparisons without a cached reply are requested.

        Raises:
            EndpointFailed: If the model cannot be reached; replies so far are cached.
        """
        counter = questions.counter.copy()
        counter[:, 3] = counter[:, 3] * self.judge.samples + questions.vote
        if self.judge.temperature == 0:
            counter[:, 3] = 0
        comparisons: list[Comparison] = [(x, i, j, sample) for x, i, j, sample in counter.tolist()]
        self._compare([c for c in dict.fromkeys(comparisons) if c not in self._results])
        low_wins = np.array([self._results[c] for c in comparisons], dtype=np.float64)
        return np.where(questions.ordered, low_wins, 1 - low_wins)

    def _compare(self, comparisons: Sequence[Comparison]) -> None:
        """Request the verdicts on comparisons in both orders, and store the results."""
        judge = self.judge
        endpoint = Endpoint(judge.endpoint, judge.key, judge.at_once, judge.timeout, judge.retries)
        requests = {
            (x, i, j, s): (self._request(x, i, j, s), self._request(x, j, i, s))
            for x, i, j, s in comparisons
        }
        replies = endpoint.fetch_replies(
            dict.fromkeys(request for orders in requests.values() for request in orders),
            open_reply_cache(),
            lambda reply: parse_verdict(reply) is not None,
            judge.attempts,
        )
        for comparison, (low_first, high_first) in requests.items():
            self._results[comparison] = self._combine(
                parse_verdict(replies[low_first]), parse_verdict(replies[high_first])
            )

    def _request(self, prompt: int, first: int, second: int, sample: int) -> Request:
        """Fill in the template for one order of a comparison."""
        texts = self.prompts[prompt], self.texts[prompt][first], self.texts[prompt][second]
        values = dict(zip(_PLACEHOLDERS, texts, strict=True))
        # One pass, since texts may contain placeholders.
        user = _PLACEHOLDER.sub(lambda match: values[match[1]], self.template.user)
        messages = [("system", self.template.system)] if self.template.system else []
        return Request(
            model=self.judge.model,
            messages=(*messages, ("user", user)),
            temperature=float(self.judge.temperature),
            max_tokens=self.judge.max_tokens,
            sample=sample,
        )

    def _combine(self, as_a: float | None, as_b: float | None) -> float:
        """Combine the verdicts of both orders to one answer.

        Args:
            as_a: the verdict with the lower index as answer A.
            as_b: the verdict with the lower index as answer B.

        Returns:
            1 if the lower index is better, 0 if the higher one, ½ or NaN otherwise.
        """
        if as_a is None or as_b is None:
            return np.nan
        if as_a == 1 - as_b and as_a != 0.5:
            return as_a
        return 0.5 if self.judge.ties else np.nan


def parse_verdict(reply: Reply) -> float | None:
    """Parse a reply's verdict: 1 if A is better, 0 if B is, ½ a tie; None if it has none.

    Verdicts that a reply mentions before its end do not count, so that a truncated one has none.
    """
    marks = _VERDICT.findall(reply.text)
    return _WINS[marks[-1]] if marks and reply.finish not in (TRUNCATED, REFUSED) else None


@dataclass(frozen=True)
class JudgeUsage:
    """Number of replies and tokens of a model used as judge.

    Attributes:
        replies: cached replies; two or more for each vote.
        no_verdict: replies without a verdict.
        tokens_read: prompt tokens, as counted by the server.
        tokens_written: completion tokens, as counted by the server.
    """

    replies: int
    no_verdict: int
    tokens_read: int
    tokens_written: int


def count_usage(since: datetime | None = None) -> dict[str, JudgeUsage]:
    """Count the judges' cached replies and their tokens, by model.

    The cost of a run is the usage since its start, because cached replies are not requested again.

    Args:
        since: count only replies from this time on.
    """
    sums: dict[str, Counter[str]] = {}
    for request, reply in open_reply_cache().all():
        if since is None or reply.time >= since.timestamp():
            sums.setdefault(request["model"], Counter()).update(
                replies=1,
                no_verdict=int(parse_verdict(reply) is None),
                tokens_read=reply.tokens_read or 0,
                tokens_written=reply.tokens_written or 0,
            )
    return {model: JudgeUsage(**sums[model]) for model in sorted(sums)}


def open_reply_cache() -> ReplyCache:
    """Return the cache of judges' replies."""
    return ReplyCache(cache_folder("judge"))


def _load_template(name: str) -> Template:
    """Return a template by name or path.

    Raises:
        InvalidData: If its file cannot be read, lacks a placeholder, or asks for no verdict.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    text = _read(name)
    parts = _SEPARATOR.split(text, maxsplit=1)
    template = Template(parts[0].strip() if len(parts) > 1 else "", parts[-1].strip())
    if missing := [key for key in _PLACEHOLDERS if f"{{{key}}}" not in template.user]:
        raise InvalidData(f"the template {name!r} has no placeholder {{{missing[0]}}}.")
    if missing := [mark for mark in ("[[A]]", "[[B]]") if mark not in text]:
        raise InvalidData(
            f"the template {name!r} does not ask for the verdict {missing[0]}. A judge is to write "
            "[[A]], [[B]], or [[C]] for a tie."
        )
    return template


def _read(path: str) -> str:
    """Read a template's file.

    Raises:
        InvalidData: If it cannot be read, with the built-in templates' names.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not a valid path, or not UTF-8
        why = getattr(error, "strerror", None) or error
        names = ", ".join(map(repr, TEMPLATES))
        raise InvalidData(
            f"template must be {names}, or the path of a text: cannot read {path!r}: "
            f"{why}.{did_you_mean(path, TEMPLATES)}"
        ) from error
