"""Layouts of users' pool files: which fields a record may have, and what they mean.

A file has one of three layouts, which the fields of its first record tell: a prompt with the list
of its completions, a prompt with a chosen and a rejected completion, or one completion a record.
Each field has several names, because data sets differ in theirs. Every field of a record is either
used or reported as unused.
"""

import ast
import json
from collections.abc import Callable, Collection, Mapping, Sequence
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

from pairbench.errors import InvalidData, did_you_mean
from pairbench.pool.content import Content, Message, is_conversation
from pairbench.pool.context import (
    ATTACHMENTS,
    DOCUMENTS,
    HISTORY,
    SYSTEM,
    add_context,
    is_filled,
    read_attachments,
)
from pairbench.pool.labels import LABELS, Name, Preference
from pairbench.pool.records import Record, validate_record

_PROMPT = ("prompt", "instruction", "question", "query", "input")
_PROMPT_ID = ("prompt_id", "pid", "instruction_id", "question_id")
_LISTS = ("completions", "responses", "generations", "outputs", "candidates", "answers")
_TEXT = ("completion", "response", "output", "generation", "answer", "text", "content", "messages")
_ID = ("completion_id", "response_id", "model", "generator", "id")
_EMBEDDING = ("embedding",)
_LOG_REF = ("log_ref", "ref_logp", "ref_logps", "logprob", "log_prob", "logp")
_LENGTH = ("length", "n_tokens", "num_tokens")
_COMPLETION = (_TEXT, _ID, _EMBEDDING, _LOG_REF, _LENGTH)
# Lists that run parallel to the list of completions, one for each of their fields.
_PARALLEL = {
    "id": ("completion_ids", "response_ids", "models", "generation_models", "generators"),
    "embedding": ("embeddings", *_EMBEDDING),
    "log_ref": (*_LOG_REF, "logprobs", "log_probs", "logps"),
    "length": ("lengths", *_LENGTH),
}
_SCORES = ("score", "scores", "rating", "ratings", "rank", "ranks")
_SIDES = ("chosen", "rejected")
# Names of a side and of its fields, in terms of the side's name.
_SIDE = ("{}", "{}_response")
_SIDE_FIELDS = {
    "id": ("{}_model", "{}-model"),
    "embedding": ("{}_embedding",),
    "log_ref": ("ref_{}_logps", "{}_log_ref"),
    "length": ("{}_length",),
}
_SIDE_SCORE = ("score_{}", "{}_score", "{}_rating", "{}-rating", "rating_{}")


class ParsedRecord(NamedTuple):
    """A record in the form that all layouts are parsed to.

    Attributes:
        prompt: the prompt's text or conversation, with the context before it; or None.
        prompt_id: the prompt's id, or None.
        attachments: what the prompt has beside its text, such as images, by name.
        completions: the record's completions.
        comparisons: indices of two completions and the label's value, for each comparison.
        unused: names of the record's fields that hold something and are not used.
        is_comparison: whether the record is a comparison, so that its completions may recur.
    """

    prompt: str | list[Message] | None
    prompt_id: str | None
    attachments: dict[str, Any]
    completions: "list[CompletionFields]"
    comparisons: list[tuple[int, int, float]]
    unused: tuple[str, ...]
    is_comparison: bool


Layout = Callable[[Record], ParsedRecord]
"""Parser of the records of one layout."""


def detect_layout(row: Record) -> Layout:
    """Detect the layout of a file by the fields of its first record.

    Raises:
        InvalidData: If the record has none of the three layouts; the message names its fields.
    """
    values, names = row.values, row.values.keys() | row.empty
    if _list_field(_expand_lists(row).values):
        return _parse_wide
    if _side_fields(names):
        return _parse_preference
    if any(name in names for name in _TEXT):
        return _parse_long
    fields = ", ".join(map(repr, values))
    raise InvalidData(
        f"{row.location}: the fields are {fields}. Expected 'prompt' with a list of "
        "'completions', 'prompt' with 'chosen' and 'rejected', or 'prompt' (or 'prompt_id') and "
        f"one 'completion' a row.{_suggest_field(values)} docs/annotation.md lists the other "
        "names that they may have."
    )


def parse_prompt(row: Record) -> "PromptFields":
    """Parse the fields of a record's prompt; other fields are ignored.

    Raises:
        InvalidData: If the record has neither a prompt nor its id.
    """
    return validate_record(PromptFields, row)


# -- fields --------------------------------------------------------------------------------------


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


class CompletionFields(BaseModel):
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


class PromptFields(BaseModel):
    """Fields of a prompt."""

    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID))

    @model_validator(mode="before")
    @classmethod
    def _join_input(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Join Alpaca's instruction and the input that it refers to into a prompt."""
        if _has_input(values):
            return {**values, "prompt": f"{values['instruction']}\n\n{values['input']}"}
        return values

    @model_validator(mode="after")
    def _check_prompt(self) -> "PromptFields":
        """Raise unless the prompt has a text or an id."""
        if self.prompt is None and self.prompt_id is None:
            raise ValueError(
                f"expected a prompt ({', '.join(_PROMPT)}) or its id ({', '.join(_PROMPT_ID)})"
            )
        return self


def _has_input(values: Mapping[str, Any]) -> bool:
    """Return whether a record has Alpaca's instruction with an input that it refers to."""
    task, task_input = values.get("instruction"), values.get("input")
    return (
        isinstance(task, str) and isinstance(task_input, str) and bool(task_input)
    ) and "prompt" not in values


class _ComparisonFields(BaseModel):
    """Fields of a comparison of two completions, which are numbered from 0."""

    first: NonNegativeInt
    second: NonNegativeInt
    label: Preference = Field(validation_alias=AliasChoices("label", "preferred"))


# -- a prompt with the list of its completions ---------------------------------------------------


class _WideRecord(PromptFields):
    """A prompt with a list of completions."""

    prompt_id: Name | None = Field(None, validation_alias=AliasChoices(*_PROMPT_ID, "id"))
    completions: list[Annotated[CompletionFields, BeforeValidator(_wrap_completion)]] = Field(
        validation_alias=AliasChoices(*_LISTS)
    )
    labels: list[_ComparisonFields] = []

    @model_validator(mode="before")
    @classmethod
    def _distribute_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Distribute the entries of parallel lists to the completions."""
        name = _list_field(values)
        if name is None:
            return values
        completions = [
            {"completion": item} if isinstance(item, str | list) else item for item in values[name]
        ]
        for field_name, parallel in _parallel_fields(values).items():
            if not all(isinstance(item, dict) for item in completions):
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
        return {**values, name: completions}


def _list_field(values: Mapping[str, Any]) -> str | None:
    """Return the name of the field that holds the list of completions, None without one."""
    return next((name for name in _LISTS if isinstance(values.get(name), list)), None)


def _parallel_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the lists that run parallel to the completions, by what they hold."""
    fields = {
        key: next((n for n in names if isinstance(values.get(n), list)), None)
        for key, names in _PARALLEL.items()
    }
    return {key: name for key, name in fields.items() if name is not None}


def _parse_wide(row: Record) -> ParsedRecord:
    row = _expand_lists(row)
    record = validate_record(_WideRecord, row)
    count = len(record.completions)
    for number, label in enumerate(record.labels):
        if max(label.first, label.second) >= count or label.first == label.second:
            raise InvalidData(
                f"{row.location}: field 'labels[{number}]': expected two different numbers of "
                f"completions, 0 to {count - 1}, got {label.first} and {label.second}."
            )
    comparisons = [(c.first, c.second, LABELS[c.label]) for c in record.labels]
    name = _list_field(row.values)
    assert name is not None  # the record was validated
    used = {name, "labels", *_parallel_fields(row.values).values()}
    preference = _preference_in_list(row.values, [c.text for c in record.completions])
    if preference is not None:
        comparisons.append(preference)
        used.update(_SIDES, _used_names(row.values, _SCORES))
    unused = dict.fromkeys(
        f"{name}.{field}"
        for item in row.values[name]
        if isinstance(item, dict)
        for field in _unused(item, _used_names(item, *_COMPLETION))
    )
    return _parsed(row, record, record.completions, comparisons, used, tuple(unused))


def _expand_lists(row: Record) -> Record:
    """Expand lists of completions that are a struct of lists, or JSON in a cell of a table."""
    names = (*_LISTS, *(n for names in _PARALLEL.values() for n in names), *_SCORES, "labels")
    expanded = {name: _as_list(row.values[name]) for name in names if name in row.values}
    return row._replace(values={**row.values, **expanded})


def _as_list(value: object) -> object:
    """Convert a struct of lists, or the text of a list, to a list; leave anything else."""
    if isinstance(value, dict) and all(isinstance(entries, list) for entries in value.values()):
        is_even = len({len(entries) for entries in value.values()}) == 1
        rows = zip(*value.values(), strict=True) if is_even else ()
        return [dict(zip(value, row, strict=True)) for row in rows] if is_even else value
    if isinstance(value, str) and value.lstrip().startswith("["):
        # datasets writes JSON into the cells of a CSV, and pandas Python.
        for parse in (json.loads, ast.literal_eval):
            try:
                parsed = parse(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(parsed, list):
                return parsed
    return value


def _preference_in_list(
    values: Mapping[str, Any], texts: Sequence[str | list[Message]]
) -> tuple[int, int, float] | None:
    """Find the chosen and the rejected completion in a record's list; None if it has none."""
    sides = [values.get(side) for side in _SIDES]
    # A conversation may repeat the prompt before the completion.
    ends = [
        s[-1].get("content") if isinstance(s, list) and is_conversation(s) else s for s in sides
    ]
    last = [text[-1].get("content") if isinstance(text, list) else text for text in texts]
    if any(end is None or end not in last for end in ends):
        return None
    first, second = (last.index(end) for end in ends)
    name = _first(values, _SCORES)
    scores = values[name] if name else None
    is_tied = (
        isinstance(scores, list) and len(scores) == len(texts) and scores[first] == scores[second]
    )
    return first, second, 0.5 if is_tied else 1.0


# -- one completion a record ---------------------------------------------------------------------


class _LongRecord(PromptFields, CompletionFields):
    """A prompt with one completion."""


def _parse_long(row: Record) -> ParsedRecord:
    name = _first(row.values, _TEXT)
    if name is None and (empty := next((n for n in _TEXT if n in row.empty), None)):
        row = row._replace(values={**row.values, empty: ""})  # an empty cell of a table
    record = validate_record(_LongRecord, row)
    return _parsed(row, record, [record], [], _used_names(row.values, *_COMPLETION))


# -- a prompt with a chosen and a rejected completion --------------------------------------------


class _PreferenceRecord(PromptFields):
    """A prompt with a chosen and a rejected completion, as in TRL's preference format."""

    prompt: Content | None = Field(None, validation_alias=AliasChoices(*_PROMPT))
    chosen: CompletionFields
    rejected: CompletionFields


def _parse_preference(row: Record) -> ParsedRecord:
    values = {**dict.fromkeys(row.empty, ""), **row.values}
    names = _side_fields(values)
    if names is None:
        fields = ", ".join(map(repr, row.values))
        raise InvalidData(
            f"{row.location}: expected a chosen and a rejected completion, as in the first record; "
            f"the fields are {fields}."
        )
    sides = {side: values[name] for side, name in zip(_SIDES, names, strict=True)}
    if names[0] == "messages" and is_conversation(
        sides["chosen"]
    ):  # the conversation up to and with the chosen answer
        values["prompt"], sides["chosen"] = sides["chosen"][:-1], sides["chosen"][-1:]
    used = set(names)
    nested: dict[str, Any] = {}
    for side in _SIDES:
        sources = {
            key: _first(values, [form.format(side) for form in forms])
            for key, forms in _SIDE_FIELDS.items()
        }
        used |= {name for name in sources.values() if name}
        nested[side] = {key: values[name] for key, name in sources.items() if name}
        nested[side]["completion"] = sides[side]
    _split_shared_prompt(values, nested)
    record = validate_record(_PreferenceRecord, Record(row.location, {**values, **nested}))
    scores = [_first(values, [n.format(side) for n in _SIDE_SCORE]) for side in _SIDES]
    used |= {name for name in scores if name}
    tied = None not in scores and values[str(scores[0])] == values[str(scores[1])]
    comparison = (0, 1, 0.5 if tied else 1.0)
    return _parsed(row, record, [record.chosen, record.rejected], [comparison], used)


def _side_fields(names: Collection[str]) -> tuple[str, str] | None:
    """Return the names of the fields of the chosen and the rejected completion, None without."""
    chosen, rejected = (_first(names, [form.format(side) for form in _SIDE]) for side in _SIDES)
    if chosen is None and rejected is not None:  # ms-swift's forms
        chosen = _first(names, ("response", "messages"))
    return None if chosen is None or rejected is None else (chosen, rejected)


def _split_shared_prompt(values: dict[str, Any], sides: dict[str, Any]) -> None:
    """Move what both sides begin with to the prompt, as TRL does, in place.

    Args:
        values: the record's fields; its ``prompt`` is set where messages or texts are moved.
        sides: the fields of either side.
    """
    both = [sides[side]["completion"] for side in _SIDES]
    has_prompt = any(name in values for name in (*_PROMPT, *_PROMPT_ID))
    if all(is_conversation(side) for side in both):
        # Each side keeps a message.
        shared = _shared_length(*both, most=min(map(len, both)) - 1)
        prefix: Any = both[0][:shared]
        prompt = values.get("prompt")
        if isinstance(prompt, list) and prompt != prefix[: len(prompt)]:
            prefix = prompt + prefix
    elif not has_prompt and all(isinstance(side, str) for side in both):
        shared = _shared_text(*both)
        prefix = both[0][:shared]
    else:
        return
    if shared:
        values["prompt"] = prefix
        for side, content in zip(_SIDES, both, strict=True):
            sides[side]["completion"] = content[shared:]


def _shared_text(first: str, second: str) -> int:
    """Return the length of the dialogue, or else the text, that two texts begin with."""
    shared = _shared_length(first, second, most=min(len(first), len(second)))
    # In the dialogues of Anthropic's hh-rlhf, answers may begin with the same words.
    turn = first.rfind("\n\nAssistant:", 0, shared)
    if turn >= 0:
        return turn + len("\n\nAssistant:")
    return shared - 1 if shared and first[shared - 1] == " " else shared


def _shared_length(first: Sequence[Any], second: Sequence[Any], *, most: int) -> int:
    """Count the equal elements that two sequences begin with."""
    return next((i for i in range(most) if first[i] != second[i]), most)


# -- unused fields -------------------------------------------------------


def _parsed(
    row: Record,
    record: PromptFields,
    completions: list[CompletionFields],
    comparisons: list[tuple[int, int, float]],
    used: set[str],
    unused: tuple[str, ...] = (),
) -> ParsedRecord:
    """Complete a parsed record by the context of its prompt, and find the fields not used.

    Args:
        row: the record as it was read.
        record: the fields of its prompt.
        completions: its completions.
        comparisons: its comparisons.
        used: names of the fields that completions and comparisons were read from.
        unused: names of fields within completions that were not used.
    """
    try:
        attachments = read_attachments(row.values, has_text=record.prompt is not None)
        prompt = add_context(row.values, record.prompt)
    except ValueError as error:
        raise InvalidData(f"{row.location}: the prompt's context: {error}.") from error
    used = used | _prompt_names(row.values, with_id=isinstance(record, _WideRecord))
    return ParsedRecord(
        prompt,
        record.prompt_id,
        attachments,
        completions,
        comparisons,
        (*_unused(row.values, used), *unused),
        is_comparison=isinstance(record, _PreferenceRecord),
    )


def _first(values: Collection[str], names: Sequence[str]) -> str | None:
    """Return the first of the names that a record has."""
    return next((name for name in names if name in values), None)


def _used_names(values: Mapping[str, Any], *groups: Sequence[str]) -> set[str]:
    """Return the name that each group of alternative names is read from."""
    return {name for names in groups if (name := _first(values, names)) is not None}


def _prompt_names(values: Mapping[str, Any], *, with_id: bool) -> set[str]:
    """Return the names that the prompt, its id and its context are read from.

    Args:
        values: the record's fields.
        with_id: whether a field ``id`` is the prompt's.
    """
    ids = (*_PROMPT_ID, "id") if with_id else _PROMPT_ID
    names = _used_names(values, _PROMPT, ids, SYSTEM)
    return (
        names
        | {*HISTORY, *DOCUMENTS, *ATTACHMENTS}
        | ({"instruction", "input"} if _has_input(values) else set())
    )


def _unused(values: Mapping[str, Any], used: set[str]) -> tuple[str, ...]:
    """Return the names of fields that hold something and are not used."""
    return tuple(name for name, value in values.items() if name not in used and is_filled(value))


def _suggest_field(values: Mapping[str, Any]) -> str:
    """Suggest a field's name for the first field that looks like a misspelt one."""
    names = (*_PROMPT, *_PROMPT_ID, *_LISTS, *_SIDES, *_TEXT)
    hints = (did_you_mean(name, names) for name in values if name not in names)
    return next((hint for hint in hints if hint), "")
