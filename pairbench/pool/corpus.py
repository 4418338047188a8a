"""Reader of users' pool files into prompts with their completions.

The fields of the first record tell which of three layouts a file has: a prompt with the list of its
completions, a prompt with a chosen and a rejected completion, or one completion a record. Records
of one prompt are merged. Each field has several names, because data sets differ in theirs.
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

from pairbench.errors import InvalidData, InvalidPairs, did_you_mean
from pairbench.pool.content import Content, Message, render_content, text_digest
from pairbench.pool.features import CHARS_PER_TOKEN
from pairbench.pool.labels import LABELS, Name, Preference
from pairbench.pool.pool import Pairs, Pool
from pairbench.pool.records import Record, iter_records, read_lines, validate_record

_PROMPT = ("prompt", "instruction", "question", "query", "input")
_PROMPT_ID = ("prompt_id", "pid", "instruction_id", "question_id")
_LISTS = ("completions", "responses", "generations", "outputs", "candidates", "answers")
_TEXT = ("completion", "response", "output", "generation", "answer", "text", "content", "messages")
_ID = ("completion_id", "response_id", "model", "generator", "id")
_EMBEDDING = ("embedding",)
_LOG_REF = ("log_ref", "ref_logp", "ref_logps", "logprob", "log_prob", "logp")
_LENGTH = ("length", "n_tokens", "num_tokens")
# Lists that run parallel to the list of completions, one for each of their fields.
_PARALLEL = {
    "id": ("completion_ids", "response_ids", "models", "generation_models", "generators"),
    "embedding": ("embeddings", *_EMBEDDING),
    "log_ref": (*_LOG_REF, "logprobs", "log_probs", "logps"),
    "length": ("lengths", *_LENGTH),
}
_SIDES = ("chosen", "rejected")


def _parse_vector(value: object) -> NDArray[np.float32]:
    """Parse an embedding, ``(dim,)``, a non-empty list of finite numbers."""
    try:
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
            array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0, dtype=np.float32)
    if array.ndim != 1 or not array.size:
        raise ValueError("expected a list of numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers; entry {np.flatnonzero(~np.isfinite(array))[0]}")
    return array


class _Completion(BaseModel):
    """Fields of a completion."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: Content = Field(validation_alias=AliasChoices(*_TEXT))
    id: Name | None = Field(None, validation_alias=AliasChoices(*_ID))
    embedding: Annotated[NDArray[np.float32], PlainValidator(_parse_vector)] | None = Field(
        None, validation_alias=AliasChoices(*_EMBEDDING)
    )
    log_ref: float | None = Field(
        None, allow_inf_nan=False, validation_alias=AliasChoices(*_LOG_REF)
    )
    length: NonNegativeInt | None = Field(None, validation_alias=AliasChoices(*_LENGTH))


def _wrap_completion(value: object) -> object:
    """Wrap a completion given as a bare text or conversation into an object."""
    if isinstance(value, str) or (isinstance(value, list) and value):
        return {"completion": value}
    if not isinstance(value, dict):
        raise ValueError("expected a text, a list of messages, or an object with one of them")
    return value


class _PromptFields(BaseModel):
    """Fields of a prompt."""

    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID))

    @model_validator(mode="before")
    @classmethod
    def _join_input(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Join Alpaca's instruction and the input that it refers to into a prompt."""
        task, task_input = values.get("instruction"), values.get("input")
        if not (isinstance(task, str) and isinstance(task_input, str)):
            return values
        if not task_input or "prompt" in values:
            return values
        return {**values, "prompt": f"{task}\n\n{task_input}"}

    @model_validator(mode="after")
    def _check_prompt(self) -> "_PromptFields":
        """Raise unless the prompt has a text or an id."""
        if self.prompt is None and self.prompt_id is None:
            raise ValueError(
                f"expected a prompt ({', '.join(_PROMPT)}) or its id ({', '.join(_PROMPT_ID)})"
            )
        return self


class _ComparisonFields(BaseModel):
    """Fields of a comparison of two completions, which are numbered from 0."""

    first: NonNegativeInt
    second: NonNegativeInt
    label: Preference = Field(validation_alias=AliasChoices("label", "preferred"))


class _WideRecord(_PromptFields):
    """A prompt with a list of completions."""

    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID, "id"))
    completions: list[Annotated[_Completion, BeforeValidator(_wrap_completion)]] = Field(
        validation_alias=AliasChoices(*_LISTS)
    )
    labels: list[_ComparisonFields] = []

    @model_validator(mode="before")
    @classmethod
    def _distribute_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Distribute the entries of parallel lists to the completions."""
        name = next((name for name in _LISTS if name in values), None)
        completions = values[name] if name else None
        if not isinstance(completions, list):
            return values
        completions = [
            {"completion": item} if isinstance(item, str | list) else item for item in completions
        ]
        for field_name, names in _PARALLEL.items():
            parallel = next((n for n in names if isinstance(values.get(n), list)), None)
            if parallel is None or not all(isinstance(item, dict) for item in completions):
                continue
            entries = values[parallel]
            if len(entries) == len(completions):
                completions = [
                    {field_name: entry, **completion}
                    for completion, entry in zip(completions, entries, strict=True)
                ]
            elif field_name != "id":
                raise ValueError(
                    f"expected one entry of {parallel!r} for each of the {len(completions)} "
                    f"completions; there are {len(entries)}"
                )
        return {**values, str(name): completions}


class _LongRecord(_PromptFields, _Completion):
    """A prompt with one completion."""


class _PreferenceRecord(_PromptFields):
    """A prompt with a chosen and a rejected completion, as in TRL's preference format."""

    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    chosen: _Completion
    rejected: _Completion

    @model_validator(mode="before")
    @classmethod
    def _nest_sides(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Nest the fields of each side in an object, and split the prompt off conversations."""
        values = dict(values)
        for side in _SIDES:
            completion = next(values[n] for n in (side, f"{side}_response") if n in values)
            values[side] = {
                "completion": completion,
                "id": next(
                    (values[n] for n in (f"{side}_model", f"{side}-model") if n in values), None
                ),
                "embedding": values.get(f"{side}_embedding"),
                "log_ref": values.get(f"ref_{side}_logps", values.get(f"{side}_log_ref")),
                "length": values.get(f"{side}_length"),
            }
        return _split_shared_prompt(values)


def _split_shared_prompt(values: dict[str, Any]) -> dict[str, Any]:
    """Move the messages that both conversations begin with to the prompt, as TRL does."""
    conversations: list[Any] = [values[side]["completion"] for side in _SIDES]
    if not all(isinstance(turns, list) and turns for turns in conversations):
        return values
    chosen, rejected = conversations
    n_shared = 0
    n_most = min(len(chosen), len(rejected)) - 1  # each side keeps a message
    while n_shared < n_most and chosen[n_shared] == rejected[n_shared]:
        n_shared += 1
    if n_shared:
        shared: list[Any] = chosen[:n_shared]
        prompt = values.get("prompt")
        if isinstance(prompt, list) and prompt != shared[: len(prompt)]:
            shared = prompt + shared
        values["prompt"] = shared
        for side, turns in zip(_SIDES, conversations, strict=True):
            values[side]["completion"] = turns[n_shared:]
    return values


@dataclass(slots=True)
class Candidate:
    """A completion of a prompt in a pool file.

    Attributes:
        digest: the completion's key, a digest of its prompt and its text.
        content: its text or conversation.
        id: its id in the file, or the name of the model that wrote it.
        embedding: ``(dim,)``, or None.
        log_ref: log π_ref, nats, or None.
        length: tokens, or None.
        location: the file and the record, for messages.
        duplicate: whether an earlier completion of the prompt has the same text.
    """

    digest: str
    content: str | list[Message]
    id: str | None
    embedding: NDArray[np.float32] | None
    log_ref: float | None
    length: int | None
    location: str
    duplicate: bool = False


@dataclass(slots=True)
class Prompt:
    """A prompt with its completions.

    Attributes:
        number: its index among all prompts of the file, from 0.
        content: its text or conversation, None if the file has only an id.
        id: its id, or None.
        candidates: its completions in the file's order.
    """

    number: int
    content: str | list[Message] | None
    id: str | None
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def distinct(self) -> int:
        """Number of different completions."""
        return sum(not candidate.duplicate for candidate in self.candidates)


class Comparison(NamedTuple):
    """A comparison in the pool file.

    Attributes:
        first: the key of a completion.
        second: the key of the other completion.
        value: 1 the first is better, 0 the second, ½ a tie, NaN no answer.
    """

    first: str
    second: str
    value: float


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prompts of a pool file with two different completions or more.

    Attributes:
        path: the file.
        prompts: the prompts, in the file's order.
        comparisons: the comparisons in the file.
        n_single_completion: number of prompts left out because they have only one completion.
        n_duplicates: number of completions that repeat another of their prompt; never compared.
    """

    path: Path
    prompts: tuple[Prompt, ...]
    comparisons: tuple[Comparison, ...]
    n_single_completion: int
    n_duplicates: int

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Mask ``(n_prompts, n_completions)``, false for duplicates and for padding."""
        width = max(len(prompt.candidates) for prompt in self.prompts)
        mask = np.zeros((len(self.prompts), width), dtype=np.bool_)
        for row, prompt in zip(mask, self.prompts, strict=True):
            row[: len(prompt.candidates)] = [not c.duplicate for c in prompt.candidates]
        return mask

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Valid completions, in the order of ``valid``."""
        return [c for prompt in self.prompts for c in prompt.candidates if not c.duplicate]

    @cached_property
    def texts(self) -> list[str]:
        """Texts of ``candidates``."""
        return [render_content(candidate.content) for candidate in self.candidates]

    @cached_property
    def indices(self) -> dict[str, tuple[int, int]]:
        """Index of each valid completion in the pool, ``(prompt, completion)``, by its key."""
        index = np.argwhere(self.valid).tolist()
        return {c.digest: (x, y) for c, (x, y) in zip(self.candidates, index, strict=True)}

    @property
    def n_empty(self) -> int:
        """Number of completions without text."""
        return sum(not text.strip() for text in self.texts)

    @property
    def n_without_text(self) -> int:
        """Number of prompts without text, of which annotators see the id."""
        return sum(prompt.content is None for prompt in self.prompts)

    def embeddings(self) -> NDArray[np.float32] | None:
        """Return the embeddings of ``candidates``, ``(n, dim)``, or None if the file has none.

        Raises:
            InvalidData: If some completions have none, or the embeddings differ in dimension.
        """
        vectors = self._field("embedding")
        if vectors is None:
            return None
        dim = len(vectors[0])
        for candidate, vector in zip(self.candidates, vectors, strict=True):
            if len(vector) != dim:
                raise InvalidData(
                    f"{candidate.location}: the embedding has {len(vector)} entries, where that of "
                    f"{self.candidates[0].location} has {dim}. All must come from one encoder."
                )
        return np.stack(vectors)

    def pool(self, features: NDArray[np.float32], *, log_ref: bool = True) -> Pool:
        """Build the pool that designs see.

        Args:
            features: of ``candidates``, ``(n, dim)``.
            log_ref: whether to use the file's reference log-probabilities, if it has any.

        Raises:
            InvalidData: If only some completions have a reference log-probability or a length.
        """
        prompts = [render_content(p.content) for p in self.prompts if p.content is not None]
        logs = (self._field("log_ref") if log_ref else None) or np.zeros(len(self.texts))
        lengths = self._field("length") or [-(-len(text) // CHARS_PER_TOKEN) for text in self.texts]
        return Pool(
            self.spread(features),
            log_ref=self.spread(np.asarray(logs, dtype=np.float64)),
            lengths=self.spread(np.asarray(lengths, dtype=np.int64)),
            valid=self.valid,
            texts=self.spread(np.array(self.texts, dtype=object)).tolist(),
            prompts=None if self.n_without_text else prompts,
        )

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arrange values of ``candidates``, ``(n, …)``, as ``(n_prompts, n_completions, …)``."""
        grid = np.full(
            (*self.valid.shape, *values.shape[1:]),
            "" if values.dtype == object else 0,
            dtype=values.dtype,
        )
        grid[self.valid] = values
        return grid

    def pairs(self, questions: list[tuple[str, str]], sources: list[str]) -> Pairs:
        """Find the pairs of questions that are given by the keys of their completions.

        Args:
            questions: the keys of the first and the second completion of each.
            sources: the origin of each question, for the message.

        Returns:
            Rows ``(prompt, first, second)``, ``(n, 3)``.

        Raises:
            InvalidPairs: If a question is not a pair of this pool.
        """
        rows, missing = [], []
        for source, (first, second) in zip(sources, questions, strict=True):
            prompt, i = self.indices.get(first, (-1, -1))
            second_prompt, j = self.indices.get(second, (-2, -1))
            rows.append((prompt, i, j))
            if prompt != second_prompt or i == j:
                missing.append(source)
        if missing:
            raise InvalidPairs(
                f"{len(missing)} of {len(rows)} labels answer a pair that is not in {self.path}, "
                f"the first at {missing[0]}. Was a prompt or a completion edited or removed since "
                "the pair was chosen? Give the pool it was chosen from, or remove those labels."
            )
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def _field(self, name: str) -> list[Any] | None:
        """Return a field of ``candidates``, or None if no completion has it."""
        values = [getattr(candidate, name) for candidate in self.candidates]
        absent = [i for i, value in enumerate(values) if value is None]
        if len(absent) == len(values):
            return None
        if absent:
            raise InvalidData(
                f"{self.candidates[absent[0]].location}: a completion has no {name!r}, as have "
                f"{len(absent)} of {len(values)}. Give it for all completions, or for none."
            )
        return values


def read_corpus(path: Path) -> Corpus:
    """Read a pool file.

    Args:
        path: JSONL, JSON, CSV or Parquet, in one of the three layouts.

    Raises:
        InvalidData: If a record cannot be read, with its location and field, or if there is nothing
            to compare.
    """
    prompts: dict[str, Prompt] = {}
    comparisons: list[Comparison] = []
    layout: _Layout | None = None
    for row in iter_records(path):
        layout = layout or _detect_layout(row)
        comparisons += _add_record(prompts, layout, row)
    comparable = tuple(prompt for prompt in prompts.values() if prompt.distinct > 1)
    if not comparable:
        raise InvalidData(
            f"{path} holds {len(prompts)} prompts, none of which has two different completions to "
            "compare. If rows of one prompt should be together, give them the same prompt text."
        )
    return Corpus(
        path,
        comparable,
        tuple(c for c in comparisons if c.first != c.second),
        n_single_completion=len(prompts) - len(comparable),
        n_duplicates=sum(len(prompt.candidates) - prompt.distinct for prompt in prompts.values()),
    )


def _add_record(prompts: dict[str, Prompt], layout: "_Layout", row: Record) -> list[Comparison]:
    """Add a record's completions to its prompt, and return its comparisons.

    Args:
        prompts: the prompts read so far by their digests; extended in place.
        layout: the file's layout.
        row: the record.
    """
    record = layout.parse(row)
    text = str(record.prompt_id) if record.prompt is None else render_content(record.prompt)
    prompt_digest = text_digest(text)
    if prompt_digest not in prompts:
        prompts[prompt_digest] = Prompt(len(prompts), record.prompt, record.prompt_id)
    prompt = prompts[prompt_digest]
    digests = []
    for completion in record.completions:
        candidate = _candidate(completion, prompt_digest, row.location)
        candidate.duplicate = any(c.digest == candidate.digest for c in prompt.candidates)
        digests.append(candidate.digest)
        # A completion may take part in several comparisons, and is no duplicate for that.
        if not (layout.is_comparison and candidate.duplicate):
            prompt.candidates.append(candidate)
    return [Comparison(digests[i], digests[j], value) for i, j, value in record.comparisons]


def load_pool(path: Path) -> Pool:
    """Load a pool file with texts, reference log-probabilities, lengths and features.

    Completions that repeat another of their prompt are not valid, and prompts with only one are
    left out. π_ref is the file's, normalised over each prompt's completions.

    Args:
        path: a pool file with an embedding of each completion, or a folder written by
            ``pairbench pool generate``.

    Raises:
        InvalidData: If it cannot be read, or has no embeddings.
    """
    corpus = read_corpus(path)
    features = corpus.embeddings()
    if features is None:
        raise InvalidData(
            f"{path} holds no embeddings, which features are made from. `pairbench pool generate "
            "--features hidden` writes them."
        )
    return corpus.pool(features)


def read_prompts(path: Path) -> list[str]:
    """Read the prompts of a file: one a line of ``.txt``, or one a record as in pool files.

    Args:
        path: text, JSONL, JSON, CSV or Parquet; other fields of a record are ignored.

    Raises:
        InvalidData: If a record has no prompt, or its prompt is not a text.
    """
    if path.suffix.lower() == ".txt":
        return read_lines(path)
    prompts = []
    for row in iter_records(path):
        content = validate_record(_PromptFields, row).prompt
        if not isinstance(content, str):
            actual = "its id only" if content is None else "a conversation"
            raise InvalidData(
                f"{row.location}: expected the text of a prompt, got {actual}. A conversation "
                "becomes the text that a model reads by tokenizer.apply_chat_template(messages, "
                "tokenize=False, add_generation_prompt=True)."
            )
        prompts.append(content)
    return prompts


class _ParsedRecord(NamedTuple):
    """A record in the form that all layouts are parsed to.

    Attributes:
        prompt: the prompt's text or conversation, or None.
        prompt_id: the prompt's id, or None.
        completions: the record's completions.
        comparisons: indices of two completions and the label's value, for each comparison.
    """

    prompt: str | list[Message] | None
    prompt_id: str | None
    completions: list[_Completion]
    comparisons: list[tuple[int, int, float]]


class _Layout(NamedTuple):
    """A layout of pool files.

    Attributes:
        parse: the parser of a record.
        is_comparison: whether each record is a comparison, so that completions may recur.
    """

    parse: Callable[[Record], _ParsedRecord]
    is_comparison: bool


def _detect_layout(row: Record) -> _Layout:
    """Detect the layout of a file by the fields of its first record."""
    values = row.values
    if any(isinstance(values.get(name), list) for name in _LISTS):
        return _Layout(_parse_wide, is_comparison=False)
    if all(any(n in values for n in (side, f"{side}_response")) for side in _SIDES):
        return _Layout(_parse_preference, is_comparison=True)
    if any(name in values for name in _TEXT):
        return _Layout(_parse_long, is_comparison=False)
    fields = ", ".join(map(repr, values))
    raise InvalidData(
        f"{row.location}: the fields are {fields}. Expected 'prompt' with a list of "
        "'completions', 'prompt' with 'chosen' and 'rejected', or 'prompt' (or 'prompt_id') and "
        f"one 'completion' a row.{_suggest_field(values)} docs/annotation.md lists the other "
        "names that they may have."
    )


def _suggest_field(values: dict[str, Any]) -> str:
    """Suggest a field's name for the first field that looks like a misspelt one."""
    names = (*_PROMPT, *_PROMPT_ID, *_LISTS, *_SIDES, *_TEXT)
    hints = (did_you_mean(name, names) for name in values if name not in names)
    return next((hint for hint in hints if hint), "")


def _parse_wide(row: Record) -> _ParsedRecord:
    record = validate_record(_WideRecord, row)
    count = len(record.completions)
    for number, label in enumerate(record.labels):
        if max(label.first, label.second) >= count or label.first == label.second:
            raise InvalidData(
                f"{row.location}: field 'labels[{number}]': expected two different numbers of "
                f"completions, 0 to {count - 1}, got {label.first} and {label.second}."
            )
    comparisons = [(c.first, c.second, LABELS[c.label]) for c in record.labels]
    return _ParsedRecord(record.prompt, record.prompt_id, record.completions, comparisons)


def _parse_long(row: Record) -> _ParsedRecord:
    record = validate_record(_LongRecord, row)
    return _ParsedRecord(record.prompt, record.prompt_id, [record], [])


def _parse_preference(row: Record) -> _ParsedRecord:
    record = validate_record(_PreferenceRecord, row)
    completions = [record.chosen, record.rejected]
    return _ParsedRecord(record.prompt, record.prompt_id, completions, [(0, 1, 1.0)])


def _candidate(completion: _Completion, prompt_digest: str, location: str) -> Candidate:
    """Build a candidate from a completion's fields."""
    return Candidate(
        digest=text_digest(prompt_digest, render_content(completion.text)),
        content=completion.text,
        id=completion.id,
        embedding=completion.embedding,
        log_ref=completion.log_ref,
        length=completion.length,
        location=location,
    )
