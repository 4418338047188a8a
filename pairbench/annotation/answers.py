"""Reading of annotators' answers from the exports of annotation tools, tables and labels files.

Formats: Label Studio's JSON, JSON-MIN and CSV exports (labelstud.io/guide/task_format), also of
versions before 1.0; records of Argilla 2 as ``to_list``, ``to_datasets`` and ``to_json`` have them,
and records of Argilla's server and of Argilla 1; tables; labels files.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from pairbench.errors import InvalidData
from pairbench.pool.labels import ANSWER_FIELDS, Label, Name, QuestionId, is_answered
from pairbench.pool.records import Record, iter_records, validate_record

_QUESTION = "preferred"  # name of the question in projects set up as `pairbench export` does
_RESPONSES = f"{_QUESTION}.responses"  # a column of Argilla's flat records

_NO_STATUS = (
    "{count} of Argilla's responses come without their status, and each is read as an answer: "
    "drafts and discarded responses among them cannot be told from submitted ones. Argilla's "
    "to_json leaves the status out. Export records that have it: "
    'json.dump(dataset.records.to_list(flatten=True), open("answers.json", "w")).'
)
_NO_ORDER = (
    "{count} selections of Label Studio's Pairwise tag do not say which completion was on the "
    "left; left is read as the first. If the tag's toName has them in the other order, name the "
    "text tags 'first' and 'second' and export as JSON, which says it by 'to_name'."
)


class UnclearAnswer(NamedTuple):
    """An annotated item of a tool's export whose answer cannot be read.

    Attributes:
        location: the item's place in the file, such as ``item 3``.
        reason: why there is no answer.
    """

    location: str
    reason: str


class AnswerKey(NamedTuple):
    """Identity of an answer in a tool's export.

    Attributes:
        id: the question's id.
        annotator: who answered, if the tool records it.
        source: the tool, and the tool's id of the answer.
    """

    id: str
    annotator: str | None
    source: str


def label_key(label: Label) -> tuple[str, str | None, str | None]:
    """Return question, annotator and source of a label, which may equal an :class:`AnswerKey`."""
    return label.id, label.annotator, label.source


class AnnotatorAnswers(NamedTuple):
    """Answers in a file from a tool or a person.

    Attributes:
        labels: the answers.
        unanswered: the number of items without an answer.
        unclear: items that were annotated, but not with one clear answer.
        omitted: the number of responses left out, by their kind, such as "drafts".
        warnings: what the file leaves open about its answers, and what to do.
        withdrawn: responses and annotations that are no answers now, though they may have been.
    """

    labels: list[Label]
    unanswered: int
    unclear: tuple[UnclearAnswer, ...] = ()
    omitted: Mapping[str, int] = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    withdrawn: frozenset[AnswerKey] = frozenset()


def read_answers(path: Path, annotator: str | None = None) -> AnnotatorAnswers:
    """Read the answers in a file from a tool or a person; its fields tell the format.

    An item of a tool's export that cannot be read is counted as unanswered. A row of a table or a
    labels file that cannot be read is an error.

    Args:
        path: the file.
        annotator: the annotator of answers that have none.

    Raises:
        InvalidData: If a row cannot be read; the message gives its location and field.
    """
    rows = list(iter_records(path))
    reader = _AnswerReader(_find_controls(rows))
    unanswered = 0
    for row in rows:
        before = len(reader.labels)
        reader.read(row)
        unanswered += len(reader.labels) == before
    labels = [
        label.model_copy(update={"annotator": label.annotator or annotator})
        for label in reader.labels
    ]
    notes = {
        _NO_STATUS: reader.n_without_status,
        _NO_ORDER: reader.n_without_order,
    }
    return AnnotatorAnswers(
        labels,
        unanswered,
        tuple(reader.unclear.values()),
        dict(reader.omitted),
        tuple(text.format(count=f"{count:,}") for text, count in notes.items() if count),
        frozenset(
            key._replace(annotator=key.annotator or annotator)
            for key in reader.withdrawn - {label_key(label) for label in reader.labels}
        ),
    )


def read_labels(path: Path) -> list[Label]:
    """Read the labels of a file in any format for answers.

    Raises:
        InvalidData: If the file has no labels, or cannot be read.
    """
    answers = check_any_answer(read_answers(path), path)
    for text in answers.warnings:
        warnings.warn(text, stacklevel=2)
    return answers.labels


def check_any_answer(answers: AnnotatorAnswers, path: Path) -> AnnotatorAnswers:
    """Return the answers of a file, of which there must be at least one.

    Raises:
        InvalidData: If there is none; the message gives the first reason.
    """
    if not answers.labels:
        reason = "".join(f" {u.location}: {u.reason}." for u in answers.unclear[:1])
        omitted = "".join(f" It has {n:,} {kind}." for kind, n in answers.omitted.items() if n)
        raise InvalidData(
            f"{path} holds {answers.unanswered} questions and no answer.{reason}{omitted} Expected "
            "a 'label' or 'preferred' beside a pair's id, or an export of Label Studio or Argilla "
            "with annotations in it."
        )
    return answers


# -- records -------------------------------------------------------------------------------------


def _annotator_id(value: object) -> object:
    """Return the annotator's email or id where Label Studio has an object in its place."""
    return value.get("email") or value.get("id") if isinstance(value, dict) else value


class _LabelStudioAnnotation(BaseModel):
    """An annotation of a Label Studio task."""

    id: Name | None = None
    completed_by: Annotated[Name | None, BeforeValidator(_annotator_id)] = None
    was_cancelled: bool | None = None
    skipped: bool | None = None  # was_cancelled, before 1.0
    result: list[dict[str, Any]] | None = None


class _LabelStudioData(BaseModel):
    """The data of a Label Studio task."""

    pair_id: QuestionId


class _LabelStudioTask(BaseModel):
    """A task of Label Studio."""

    data: _LabelStudioData
    # Versions before 1.0 call them completions.
    annotations: list[_LabelStudioAnnotation] | None = Field(
        default=None, validation_alias=AliasChoices("annotations", "completions")
    )


class _LabelStudioRow(BaseModel):
    """A row of Label Studio's JSON-MIN or CSV export: one annotation."""

    pair_id: QuestionId
    annotation_id: Name
    annotator: Annotated[Name | None, BeforeValidator(_annotator_id)] = None


class _ArgillaResponse(NamedTuple):
    """A response to the question of an Argilla record; the status is None if it is not known."""

    value: object
    user_id: object
    status: object


class _ArgillaId(BaseModel):
    """The id of an Argilla record."""

    # Argilla's server and Argilla 1 have our id as external id.
    id: QuestionId = Field(validation_alias=AliasChoices("external_id", "id"))


class _Unclear(Exception):
    """Raised for an annotation without one clear answer."""


class _AnswerReader:
    """Reader of records, which keeps the answers and counts what is none.

    Attributes:
        controls: names of the Label Studio controls that hold the answers.
        labels: the answers so far.
        unclear: annotated items without a clear answer, by location.
        omitted: number of Argilla's responses that are no answers, by status.
        withdrawn: responses and annotations that are no answers, though they may have been.
        n_without_status: number of answers that may be drafts or discarded responses.
        n_without_order: number of pairwise selections whose order had to be assumed.
    """

    def __init__(self, controls: Collection[str]) -> None:
        self.controls = controls
        self.labels: list[Label] = []
        self.unclear: dict[str, UnclearAnswer] = {}
        self.omitted: Counter[str] = Counter()
        self.withdrawn: set[AnswerKey] = set()
        self.n_without_status = 0
        self.n_without_order = 0

    def read(self, row: Record) -> None:
        """Read the answers of a record; its fields tell the format."""
        values = row.values
        if "data" in values:
            self._read_label_studio(row)
        elif "fields" in values or _RESPONSES in values:
            self._read_argilla(row)
        elif "annotation_id" in values:
            self._read_label_studio_row(row)
        elif is_answered(row):
            self.labels.append(validate_record(Label, row))
        elif "pair_id" not in values and "id" not in values:
            fields = ", ".join(map(repr, values))
            raise InvalidData(
                f"{row.location}: the fields are {fields}. Expected a pair's id ('pair_id' or "
                "'id') with a 'label' or 'preferred', or an export of Label Studio (JSON, JSON-MIN "
                "or CSV) or of Argilla."
            )

    def _read_label_studio(self, row: Record) -> None:
        try:
            task = validate_record(_LabelStudioTask, row)
        except InvalidData as error:
            self._note_unclear(row, error)
            return
        for annotation in task.annotations or ():
            source = _studio_source(annotation.id)
            key = AnswerKey(task.data.pair_id, annotation.completed_by, source)
            with self._unclear_is_noted(row, key):
                is_skip = annotation.was_cancelled or annotation.skipped
                self._add(row, key, None if is_skip else self._answer_of(annotation.result or []))

    def _read_label_studio_row(self, row: Record) -> None:
        if row.values["annotation_id"] is None:  # a task that nobody annotated yet
            return
        try:
            flat = validate_record(_LabelStudioRow, row)
        except InvalidData as error:
            self._note_unclear(row, error)
            return
        key = AnswerKey(flat.pair_id, flat.annotator, _studio_source(flat.annotation_id))
        with self._unclear_is_noted(row, key):
            self._add(row, key, self._answer_of(list(_flat_results(row))))

    def _answer_of(self, results: list[dict[str, Any]]) -> object:
        """Find the one answer in an annotation's results: a choice, or a side of a pairwise tag.

        Raises:
            _Unclear: If there is none, or more than one.
        """
        selections: list[tuple[object, bool]] = []
        for result in results:
            if _is_selection(result) and str(result.get("from_name")) in self.controls:
                selections += _selections(result)
        answers: list[object] = []  # not a set, because a choice may be a list, as in taxonomies
        for answer, _ in selections:
            if answer not in answers:
                answers.append(answer)
        if not answers:
            raise _Unclear("nothing is selected")
        if len(answers) > 1:
            raise _Unclear(f"{len(answers)} answers, {' and '.join(map(repr, answers))}")
        self.n_without_order += any(is_assumed for _, is_assumed in selections)
        return answers[0]

    def _read_argilla(self, row: Record) -> None:
        try:
            id_ = validate_record(_ArgillaId, row).id
            responses = list(_argilla_responses(row.values))
        except (_Unclear, InvalidData) as error:
            self._note_unclear(row, error)
            return
        for response in responses:
            user = None if response.user_id is None else str(response.user_id)
            key = AnswerKey(id_, user, "argilla")
            if response.status not in (None, "submitted"):
                status = str(response.status)
                self.omitted["drafts" if status == "draft" else f"{status} responses"] += 1
                self.withdrawn.add(key)
                continue
            with self._unclear_is_noted(row, key):
                if response.value is None:
                    raise _Unclear("a response without a value")
                self._add(row, key, response.value)
                self.n_without_status += response.status is None

    def _add(self, row: Record, key: AnswerKey, answer: object) -> None:
        values = {**key._asdict(), "label": answer}
        self.labels.append(validate_record(Label, Record(row.location, values)))

    @contextmanager
    def _unclear_is_noted(self, row: Record, key: AnswerKey) -> Iterator[None]:
        """Note an answer that cannot be read, in place of the error."""
        try:
            yield
        except (_Unclear, InvalidData) as error:
            self._note_unclear(row, error)
            self.withdrawn.add(key)

    def _note_unclear(self, row: Record, error: Exception) -> None:
        """Note why an item has no answer; an item is noted once."""
        location = row.location.rpartition(", ")[2]
        reason = str(error).removeprefix(f"{row.location}: ").rstrip(".")
        self.unclear.setdefault(row.location, UnclearAnswer(location, reason))


# -- Label Studio --------------------------------------------------------------------------------


def _find_controls(rows: Iterable[Record]) -> frozenset[str]:
    """Find the controls whose values are the answers of a Label Studio export.

    They are the one that ``pairbench export`` sets up and a Pairwise tag, beside which choices may
    say that neither is better; in another project, the only control there is.

    Raises:
        InvalidData: If there are several, since the choices of each could be the answers.
    """
    choices: set[str] = set()
    pairwise: set[str] = set()
    for row in rows:
        if "data" in row.values:
            results = _raw_results(row.values)
        elif row.values.get("annotation_id") is not None:
            results = _flat_results(row)
        else:
            continue
        for result in filter(_is_selection, results):
            names = pairwise if "selected" in result["value"] else choices
            names.add(str(result.get("from_name")))
    if _QUESTION in pairwise:
        return frozenset({_QUESTION})
    if len(pairwise) < 2 and _QUESTION in choices:
        return frozenset({_QUESTION, *pairwise})
    if len(pairwise or choices) < 2:
        return frozenset(pairwise or choices)
    controls = ", ".join(sorted(map(repr, pairwise | choices)))
    raise InvalidData(
        f"the annotations have choices of several controls, {controls}, and it is not known which "
        f"of them compares the completions. Name that control {_QUESTION!r}, as in the labelling "
        "configuration that `pairbench export` writes beside the tasks."
    )


def _raw_results(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the results in a task that need not be valid."""
    annotations = task.get("annotations", task.get("completions"))
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        for result in results if isinstance(results, list) else ():
            if isinstance(result, dict):
                yield result


def _is_selection(result: dict[str, Any]) -> bool:
    """Return whether a result of Label Studio may hold an answer, unlike a comment."""
    value = result.get("value")
    return isinstance(value, dict) and ("choices" in value or "selected" in value)


def _flat_results(row: Record) -> Iterator[dict[str, Any]]:
    """Restore the results of a JSON-MIN or CSV export, whose columns are named after controls."""
    data = {"pair_id", "prompt", "first", "second"}
    for name, column in row.values.items():
        if name in data:
            continue
        value = column
        if isinstance(value, str) and value.startswith(("[", "{")):
            try:
                value = json.loads(value)
            except ValueError:
                continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                result = {"from_name": name, "value": item}
                if _is_selection(result):
                    yield result
            elif name in ANSWER_FIELDS and item is not None:
                yield {"from_name": name, "value": {"choices": [item]}}


def _selections(result: dict[str, Any]) -> Iterator[tuple[object, bool]]:
    """Yield what a result selects, each with whether the order of the completions is assumed."""
    value = result["value"]
    if "choices" in value:
        choices = value["choices"]
        yield from ((c, False) for c in (choices if isinstance(choices, list) else [choices]))
    elif value["selected"] in ("left", "right"):
        # Left is the first text that the tag's toName lists.
        names = [name.strip().lower() for name in str(result.get("to_name", "")).split(",")]
        sides = names if sorted(names) == ["first", "second"] else ["first", "second"]
        yield sides[value["selected"] == "right"], sides is not names
    elif value["selected"] not in (None, "", "none"):
        yield value["selected"], False


def _studio_source(annotation_id: str | None) -> str:
    return "label-studio" if annotation_id is None else f"label-studio {annotation_id}"


# -- Argilla -------------------------------------------------------------------------------------


def _argilla_responses(values: dict[str, Any]) -> Iterator[_ArgillaResponse]:
    """Yield the responses of an Argilla record in any of its forms.

    Raises:
        _Unclear: If it has none of them.
    """
    if _RESPONSES in values:
        yield from _flat_responses(values)
        return
    responses = values.get("responses") or []
    if isinstance(responses, dict):  # Argilla 2: by question
        for response in _objects(responses.get(_QUESTION)):
            status = response.get("status")
            yield _ArgillaResponse(response.get("value"), response.get("user_id"), status)
        return
    for response in _objects(responses):  # Argilla's server and Argilla 1: by user
        answer = (response.get("values") or {}).get(_QUESTION) or {}
        status = response.get("status")
        if answer or status not in (None, "submitted"):
            yield _ArgillaResponse(answer.get("value"), response.get("user_id"), status)


def _objects(responses: object) -> list[dict[str, Any]]:
    """Return a list of objects, or raise ``_Unclear``."""
    listed = responses or []
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise _Unclear("expected a list of responses")
    return listed


def _flat_responses(values: dict[str, Any]) -> Iterator[_ArgillaResponse]:
    """Yield the responses of a record of ``to_list(flatten=True)`` or ``to_datasets``."""
    answers = _flat_list(values[_RESPONSES])
    users = _flat_list(values.get(f"{_RESPONSES}.users")) or [None] * len(answers)
    statuses = _flat_list(values.get(f"{_RESPONSES}.status")) or [None] * len(answers)
    if not len(answers) == len(users) == len(statuses):
        raise _Unclear(
            f"{len(answers)} responses, {len(users)} users and {len(statuses)} statuses, where one "
            "of each was expected for every response"
        )
    for answer, user, status in zip(answers, users, statuses, strict=True):
        yield _ArgillaResponse(answer, None if user == "None" else user, status)


def _flat_list(value: object) -> list[Any]:
    """Return the items of a list, which a CSV holds as Python or numpy prints it."""
    if isinstance(value, str):
        items = re.findall(r"'([^']*)'|\"([^\"]*)\"|\b(None)\b", value)
        return [None if none else single or double for single, double, none in items]
    return list(value) if isinstance(value, list) else []
