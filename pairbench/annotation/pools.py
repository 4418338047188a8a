"""Pools in the forms that people have them in, read into prompts with their completions.

Three layouts are told apart by the fields of a row: a prompt with the list of its completions, a
prompt with a chosen and a rejected one, and one completion a row. Rows of one prompt are put
together. Fields go by several names, because data sets name them in several ways.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    model_validator,
)

from pairbench.annotation.content import Content, Message, key, rendered
from pairbench.annotation.labels import LABELS, Name, Preference
from pairbench.annotation.rows import Row, read_lines, read_rows, validated
from pairbench.errors import InvalidData, InvalidPairs, did_you_mean
from pairbench.features import CHARS_PER_TOKEN
from pairbench.pool import Pairs, Pool

_PROMPT = ("prompt", "instruction", "question", "query", "input")
_PROMPT_ID = ("prompt_id", "pid", "instruction_id", "question_id")
_LISTS = ("completions", "responses", "generations", "outputs", "candidates", "answers")
_TEXT = ("completion", "response", "output", "generation", "answer", "text", "content", "messages")
_ID = ("completion_id", "response_id", "model", "generator", "id")
_EMBEDDING = ("embedding",)
_LOG_REF = ("log_ref", "ref_logp", "ref_logps", "logprob", "log_prob", "logp")
_LENGTH = ("length", "n_tokens", "num_tokens")
# Lists beside the list of completions that say one thing of each of them.
_PARALLEL = {
    "id": ("completion_ids", "response_ids", "models", "generation_models", "generators"),
    "embedding": ("embeddings", *_EMBEDDING),
    "log_ref": (*_LOG_REF, "logprobs", "log_probs", "logps"),
    "length": ("lengths", *_LENGTH),
}
_SIDES = ("chosen", "rejected")


def _vector(value: object) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told below
            array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0, dtype=np.float32)
    if array.ndim != 1 or not array.size:
        raise ValueError("expected a list of numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers; entry {np.flatnonzero(~np.isfinite(array))[0]}")
    return array


class _Completion(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: Content = Field(validation_alias=AliasChoices(*_TEXT))
    id: Name | None = Field(None, validation_alias=AliasChoices(*_ID))
    embedding: Annotated[NDArray[np.float32], PlainValidator(_vector)] | None = Field(
        None, validation_alias=AliasChoices(*_EMBEDDING)
    )
    log_ref: float | None = Field(
        None, allow_inf_nan=False, validation_alias=AliasChoices(*_LOG_REF)
    )
    length: NonNegativeInt | None = Field(None, validation_alias=AliasChoices(*_LENGTH))


def _as_object(value: object) -> object:
    """A completion that is given as its bare text or conversation."""
    if isinstance(value, str) or (isinstance(value, list) and value):
        return {"completion": value}
    if not isinstance(value, dict):
        raise ValueError("expected a text, a list of messages, or an object with one of them")
    return value


class _Prompt(BaseModel):
    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID))

    @model_validator(mode="before")
    @classmethod
    def _with_input(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Alpaca's form, where the instruction speaks of an input that stands beside it."""
        task, given = values.get("instruction"), values.get("input")
        if isinstance(task, str) and isinstance(given, str) and given and "prompt" not in values:
            return {**values, "prompt": f"{task}\n\n{given}"}
        return values

    @model_validator(mode="after")
    def _named(self) -> "_Prompt":
        if self.prompt is None and self.prompt_id is None:
            raise ValueError(
                f"expected a prompt ({', '.join(_PROMPT)}) or its id ({', '.join(_PROMPT_ID)})"
            )
        return self


class _Answer(BaseModel):
    first: NonNegativeInt
    second: NonNegativeInt
    label: Preference = Field(validation_alias=AliasChoices("label", "preferred"))


class _Wide(_Prompt):
    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID, "id"))
    completions: list[Annotated[_Completion, BeforeValidator(_as_object)]] = Field(
        validation_alias=AliasChoices(*_LISTS)
    )
    labels: list[_Answer] = []

    @model_validator(mode="before")
    @classmethod
    def _zipped(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Hand what stands in parallel lists to the completions."""
        name = next((name for name in _LISTS if name in values), None)
        items = values[name] if name else None
        if not isinstance(items, list):
            return values
        items = [{"completion": i} if isinstance(i, str | list) else i for i in items]
        for what, names in _PARALLEL.items():
            beside = next((n for n in names if isinstance(values.get(n), list)), None)
            if beside is None or not all(isinstance(item, dict) for item in items):
                continue
            if len(values[beside]) == len(items):
                items = [
                    {what: value, **item} for item, value in zip(items, values[beside], strict=True)
                ]
            elif what != "id":
                raise ValueError(
                    f"expected one entry of {beside!r} for each of the {len(items)} completions; "
                    f"there are {len(values[beside])}"
                )
        return {**values, str(name): items}


class _Long(_Prompt, _Completion):
    pass


class _Preference(_Prompt):
    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    chosen: _Completion
    rejected: _Completion

    @model_validator(mode="before")
    @classmethod
    def _both(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Make an object of each side, with what the row says of it, and find the prompt."""
        values = dict(values)
        for side in _SIDES:
            given = next(values[n] for n in (side, f"{side}_response") if n in values)
            values[side] = {
                "completion": given,
                "id": next(
                    (values[n] for n in (f"{side}_model", f"{side}-model") if n in values), None
                ),
                "embedding": values.get(f"{side}_embedding"),
                "log_ref": values.get(f"ref_{side}_logps", values.get(f"{side}_log_ref")),
                "length": values.get(f"{side}_length"),
            }
        both: list[Any] = [values[side]["completion"] for side in _SIDES]
        if all(isinstance(c, list) and c for c in both):
            # The conversation up to where the two part is the prompt, as TRL has it.
            shared = 0
            fewest = min(len(both[0]), len(both[1]))
            while shared < fewest - 1 and both[0][shared] == both[1][shared]:
                shared += 1
            if shared:
                opening: list[Any] = both[0][:shared]
                before = values.get("prompt")
                if isinstance(before, list) and before != opening[: len(before)]:
                    opening = before + opening
                values["prompt"] = opening
                for side, completion in zip(_SIDES, both, strict=True):
                    values[side]["completion"] = completion[shared:]
        return values


@dataclass(slots=True)
class Candidate:
    """A completion of a prompt, as the file has it.

    Attributes:
        key: the digest of its prompt and its text.
        content: its text or conversation.
        id: what the file calls it: an id of its own, or the model that wrote it.
        embedding: ``(dim,)``, where the file holds one.
        log_ref: log π_ref, nats, where the file holds it.
        length: tokens, where the file holds it.
        place: where it stands.
        duplicate: whether an earlier completion of the prompt has the same text.
    """

    key: str
    content: str | list[Message]
    id: str | None
    embedding: NDArray[np.float32] | None
    log_ref: float | None
    length: int | None
    place: str
    duplicate: bool = False


@dataclass(slots=True)
class Prompt:
    """A prompt with its completions.

    Attributes:
        number: its place among the file's prompts, from 0.
        content: its text or conversation, None where the file holds an id only.
        id: its id, where the file holds one.
        candidates: its completions in the file's order.
    """

    number: int
    content: str | list[Message] | None
    id: str | None
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def distinct(self) -> int:
        """How many different completions there are."""
        return sum(not candidate.duplicate for candidate in self.candidates)


class Answer(NamedTuple):
    """A comparison that the pool file itself holds: two completions' keys, and 1, 0, ½ or NaN."""

    first: str
    second: str
    value: float


@dataclass(frozen=True, eq=False)
class Corpus:
    """The prompts of a pool file that have something to compare.

    Attributes:
        path: the file.
        prompts: those with two different completions or more.
        answers: the comparisons that the file holds.
        lonely: prompts left out for want of a second completion.
        duplicates: completions whose text their prompt has already; never compared.
    """

    path: Path
    prompts: tuple[Prompt, ...]
    answers: tuple[Answer, ...]
    lonely: int
    duplicates: int

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """``(n_prompts, n_completions)``, false for duplicates and where a prompt has fewer."""
        width = max(len(prompt.candidates) for prompt in self.prompts)
        mask = np.zeros((len(self.prompts), width), dtype=np.bool_)
        for row, prompt in zip(mask, self.prompts, strict=True):
            row[: len(prompt.candidates)] = [not c.duplicate for c in prompt.candidates]
        return mask

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The valid completions, in the order of ``valid``."""
        return [c for prompt in self.prompts for c in prompt.candidates if not c.duplicate]

    @cached_property
    def texts(self) -> list[str]:
        """Their texts."""
        return [rendered(candidate.content) for candidate in self.candidates]

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Where each completion stands in the pool, ``(prompt, completion)``, by its key."""
        index = np.argwhere(self.valid).tolist()
        return {c.key: (x, y) for c, (x, y) in zip(self.candidates, index, strict=True)}

    @property
    def empty(self) -> int:
        """How many completions have no text."""
        return sum(not text.strip() for text in self.texts)

    @property
    def nameless(self) -> int:
        """How many prompts are there by an id only, which annotators will see in their place."""
        return sum(prompt.content is None for prompt in self.prompts)

    def embeddings(self) -> NDArray[np.float32] | None:
        """The embeddings of ``candidates``, ``(n, dim)``, or None if the file holds none.

        Raises:
            InvalidData: If some have none, or they differ in dimension.
        """
        vectors = self._given("embedding")
        if vectors is None:
            return None
        dim = len(vectors[0])
        for candidate, vector in zip(self.candidates, vectors, strict=True):
            if len(vector) != dim:
                raise InvalidData(
                    f"{candidate.place}: the embedding has {len(vector)} entries, where that of "
                    f"{self.candidates[0].place} has {dim}. All must come from one encoder."
                )
        return np.stack(vectors)

    def pool(self, features: NDArray[np.float32], *, log_ref: bool = True) -> Pool:
        """The pool that designs see.

        Args:
            features: of ``candidates``, ``(n, dim)``.
            log_ref: whether to take the file's reference log-probabilities, if it holds any.

        Raises:
            InvalidData: If reference log-probabilities or lengths are there for some only.
        """
        prompts = [rendered(p.content) for p in self.prompts if p.content is not None]
        logs = (self._given("log_ref") if log_ref else None) or np.zeros(len(self.texts))
        lengths = self._given("length") or [-(-len(text) // CHARS_PER_TOKEN) for text in self.texts]
        return Pool(
            self.spread(features),
            log_ref=self.spread(np.asarray(logs, dtype=np.float64)),
            lengths=self.spread(np.asarray(lengths, dtype=np.int64)),
            valid=self.valid,
            texts=self.spread(np.array(self.texts, dtype=object)).tolist(),
            prompts=None if self.nameless else prompts,
        )

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of ``candidates``, ``(n, …)``, set out as ``(n_prompts, n_completions, …)``."""
        grid = np.full(
            (*self.valid.shape, *values.shape[1:]),
            "" if values.dtype == object else 0,
            dtype=values.dtype,
        )
        grid[self.valid] = values
        return grid

    def pairs(self, questions: list[tuple[str, str]], where: list[str]) -> Pairs:
        """Questions by the keys of their completions as rows ``(prompt, first, second)``.

        Args:
            questions: the keys of the first and the second completion of each.
            where: where each comes from, for the message.

        Raises:
            InvalidPairs: If one is no pair of this pool.
        """
        rows, lost = [], []
        for place, (first, second) in zip(where, questions, strict=True):
            x, i = self.places.get(first, (-1, -1))
            other, j = self.places.get(second, (-2, -1))
            rows.append((x, i, j))
            if x != other or i == j:
                lost.append(place)
        if lost:
            raise InvalidPairs(
                f"{len(lost)} of {len(rows)} labels answer a pair that is not in {self.path}, the "
                f"first at {lost[0]}. Was a prompt or a completion edited, or taken out, since the "
                "pair was chosen? Give the pool that it was chosen from, or take those labels out."
            )
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def _given(self, what: str) -> list[Any] | None:
        values = [getattr(candidate, what) for candidate in self.candidates]
        absent = [i for i, value in enumerate(values) if value is None]
        if len(absent) == len(values):
            return None
        if absent:
            raise InvalidData(
                f"{self.candidates[absent[0]].place}: a completion has no {what!r}, as have "
                f"{len(absent)} of {len(values)}. Give it for all completions, or for none."
            )
        return values


def read_corpus(path: Path) -> Corpus:
    """Read a pool file.

    Args:
        path: JSONL, JSON, CSV or Parquet, in one of the three layouts.

    Raises:
        InvalidData: If a row cannot be read, with its place and field, or if there is nothing to
            compare.
    """
    prompts: dict[str, Prompt] = {}
    answers: list[Answer] = []
    layout: _Layout | None = None
    for row in read_rows(path):
        layout = layout or _layout(row)
        found = layout.read(row)
        text = str(found.prompt_id) if found.prompt is None else rendered(found.prompt)
        prompt_key = key(text)
        prompt = prompts.setdefault(prompt_key, Prompt(len(prompts), found.prompt, found.prompt_id))
        keys = []
        for completion in found.completions:
            candidate = _candidate(completion, prompt_key, row.place)
            candidate.duplicate = any(c.key == candidate.key for c in prompt.candidates)
            keys.append(candidate.key)
            # One that takes part in several comparisons is the same, not a second one.
            if not (layout.compared and candidate.duplicate):
                prompt.candidates.append(candidate)
        answers += [Answer(keys[i], keys[j], value) for i, j, value in found.answers]
    kept = tuple(prompt for prompt in prompts.values() if prompt.distinct > 1)
    if not kept:
        raise InvalidData(
            f"{path} holds {len(prompts)} prompts, none of which has two different completions to "
            "compare. If rows of one prompt should be together, give them the same prompt text."
        )
    return Corpus(
        path,
        kept,
        tuple(answer for answer in answers if answer.first != answer.second),
        lonely=len(prompts) - len(kept),
        duplicates=sum(len(prompt.candidates) - prompt.distinct for prompt in prompts.values()),
    )


def load_pool(path: Path) -> Pool:
    """A pool file as environments take it: texts, reference log-probabilities, lengths, features.

    Completions that repeat another of their prompt are not valid, and prompts with a single one are
    left out. π_ref is what the file says, normalised over each prompt's completions.

    Args:
        path: a pool file with an embedding of each completion, or a folder that
            ``pairbench pool generate`` made.

    Raises:
        InvalidData: If it cannot be read, or holds no embeddings.
    """
    corpus = read_corpus(path)
    features = corpus.embeddings()
    if features is None:
        raise InvalidData(
            f"{path} holds no embeddings, of which features are made. `pairbench pool generate "
            "--features hidden` writes them."
        )
    return corpus.pool(features)


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: one a line of ``.txt``, or one a record as pool files have them.

    Args:
        path: text, JSONL, JSON, CSV or Parquet; what else records hold is not looked at.

    Raises:
        InvalidData: If a record has no prompt, or one that is no text.
    """
    if path.suffix.lower() == ".txt":
        return read_lines(path)
    prompts = []
    for row in read_rows(path):
        content = validated(_Prompt, row).prompt
        if not isinstance(content, str):
            came = "its id only" if content is None else "a conversation"
            raise InvalidData(
                f"{row.place}: expected the text of a prompt, got {came}. A conversation becomes "
                "the text that a model reads by tokenizer.apply_chat_template(messages, "
                "tokenize=False, add_generation_prompt=True)."
            )
        prompts.append(content)
    return prompts


class _Found(NamedTuple):
    """What one row says."""

    prompt: str | list[Message] | None
    prompt_id: str | None
    completions: list[_Completion]
    answers: list[tuple[int, int, float]]


class _Layout(NamedTuple):
    read: Callable[[Row], _Found]
    compared: bool


def _layout(row: Row) -> _Layout:
    """The layout of a file, by the fields of its first row."""
    values = row.values
    if any(isinstance(values.get(name), list) for name in _LISTS):
        return _Layout(_wide, compared=False)
    if all(any(n in values for n in (side, f"{side}_response")) for side in _SIDES):
        return _Layout(_preference, compared=True)
    if any(name in values for name in _TEXT):
        return _Layout(_long, compared=False)
    fields = ", ".join(map(repr, values))
    raise InvalidData(
        f"{row.place}: the fields are {fields}. Expected 'prompt' with a list of 'completions', "
        "'prompt' with 'chosen' and 'rejected', or 'prompt' (or 'prompt_id') and one 'completion' "
        f"a row.{_nearest(values)} docs/annotation.md lists the other names that they may have."
    )


def _nearest(values: dict[str, Any]) -> str:
    names = (*_PROMPT, *_PROMPT_ID, *_LISTS, *_SIDES, *_TEXT)
    hints = (did_you_mean(name, names) for name in values if name not in names)
    return next((hint for hint in hints if hint), "")


def _wide(row: Row) -> _Found:
    read = validated(_Wide, row)
    count = len(read.completions)
    for number, answer in enumerate(read.labels):
        if max(answer.first, answer.second) >= count or answer.first == answer.second:
            raise InvalidData(
                f"{row.place}: field 'labels[{number}]': expected two different numbers of "
                f"completions, 0 to {count - 1}, got {answer.first} and {answer.second}."
            )
    answers = [(a.first, a.second, LABELS[a.label]) for a in read.labels]
    return _Found(read.prompt, read.prompt_id, read.completions, answers)


def _long(row: Row) -> _Found:
    read = validated(_Long, row)
    return _Found(read.prompt, read.prompt_id, [read], [])


def _preference(row: Row) -> _Found:
    read = validated(_Preference, row)
    return _Found(read.prompt, read.prompt_id, [read.chosen, read.rejected], [(0, 1, 1.0)])


def _candidate(completion: _Completion, prompt_key: str, place: str) -> Candidate:
    return Candidate(
        key=key(prompt_key, rendered(completion.text)),
        content=completion.text,
        id=completion.id,
        embedding=completion.embedding,
        log_ref=completion.log_ref,
        length=completion.length,
        place=place,
    )
