"""Questions out to annotators' tools and trainers, and answers back.

Formats: Label Studio's tasks and its JSON, JSON-MIN and CSV exports
(labelstud.io/guide/task_format); records of Argilla 2 as ``Dataset.records.from_json`` and
``to_json`` have them, and of Argilla 1; CSV for spreadsheets; TRL's preference format
(huggingface.co/docs/trl, Dataset formats).
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from pairbench.annotation.content import Message, rendered
from pairbench.annotation.labels import (
    Label,
    Merged,
    Name,
    Preference,
    QuestionId,
    is_answered,
    jsonl,
    labels_bytes,
    merged,
)
from pairbench.annotation.pairs import Question
from pairbench.annotation.rows import Row, read_rows, validated
from pairbench.errors import InvalidData, UnknownName, unknown
from pairbench.files import write_whole

ASK = "Which of the two completions answers the prompt better?"
ANSWERS = {
    "first": "the first",
    "second": "the second",
    "tie": "as good as each other",
    "skip": "cannot say",
}

_LABEL_STUDIO = f"""<View>
  <Header value="Prompt"/>
  <View style="white-space: pre-wrap"><Text name="prompt" value="$prompt"/></View>
  <View style="display: grid; grid-template-columns: 1fr 1fr; gap: 2em; white-space: pre-wrap">
    <View><Header value="First"/><Text name="first" value="$first"/></View>
    <View><Header value="Second"/><Text name="second" value="$second"/></View>
  </View>
  <Header value="{ASK}"/>
  <Choices name="preferred" toName="prompt" choice="single" showInline="true" required="true">
    {"".join(f'<Choice value="{value}" html="{text}"/>' for value, text in ANSWERS.items())}
  </Choices>
</View>
"""
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Exported(NamedTuple):
    """What an export is made of.

    Attributes:
        files: content by the ending of the file's name.
        rows: how many there are.
        unit: what they are.
        left_out: how many labels or questions are not, by reason.
    """

    files: dict[str, bytes]
    rows: int
    unit: str
    left_out: dict[str, int]

    def paths(self, pairs: Path, out: Path | None = None) -> dict[Path, bytes]:
        """The content by path.

        Args:
            pairs: the file of the questions, beside which and after which files are named.
            out: the first file, where it should be another; the rest then stands beside that.
        """
        stem = pairs.with_suffix("") if out is None else out.with_suffix("")
        named = {stem.with_name(stem.name + ending): self.files[ending] for ending in self.files}
        if out is None:
            return named
        first, *others = named
        return {out: named[first], **{path: named[path] for path in others}}


class Answers(NamedTuple):
    """What annotators gave back.

    Attributes:
        labels: their answers.
        unanswered: how many questions of the file have none.
    """

    labels: list[Label]
    unanswered: int


class BroughtIn(NamedTuple):
    """What an import did.

    Attributes:
        answers: what the annotators gave back.
        merged: the labels file as it is now.
        written: whether it was written; it is not where the answers are that very file.
    """

    answers: Answers
    merged: Merged
    written: bool


def exported(asked: Sequence[Question], to: str, labels: Sequence[Label] = ()) -> Exported:
    """Questions in the format of a tool.

    Args:
        asked: the questions, in their order.
        to: the format's name.
        labels: answers, for the formats that need them, besides those that stand in the questions.

    Raises:
        UnknownName: If there is no such format.
        InvalidData: If the format needs what the questions do not hold.
    """
    if to not in _EXPORTS:
        raise unknown(UnknownName, "format", to, _EXPORTS)
    return _EXPORTS[to](asked, labels)


def read_answers(path: Path) -> Answers:
    """Read what a tool or a person gave back; the format is told by the fields.

    Raises:
        InvalidData: If a row cannot be read, with its place and field.
    """
    labels: list[Label] = []
    unanswered = 0
    for row in read_rows(path):
        found = list(_answers(row, path))
        labels += found
        unanswered += not found
    return Answers(labels, unanswered)


def read_labels(path: Path) -> list[Label]:
    """The labels of a file that should hold some, in any of the forms that answers come in.

    Raises:
        InvalidData: If the file holds none, or cannot be read.
    """
    return _some(read_answers(path), path).labels


def bring_in(answers: Path, labels: Path) -> BroughtIn:
    """Add answers to a labels file, which is made if it is not there.

    Args:
        answers: what a tool or a person gave back.
        labels: the labels file.

    Raises:
        InvalidData: If either cannot be read, or there are no answers.
    """
    found = _some(read_answers(answers), answers)
    there = labels.exists() and labels.stat().st_size > 0
    if there and answers.samefile(labels):
        return BroughtIn(found, merged(found.labels, found.labels), written=False)
    old = read_answers(labels).labels if there else []
    together = merged(old, found.labels)
    write_whole(labels, labels_bytes(together.labels))
    return BroughtIn(found, together, written=True)


# -- out -----------------------------------------------------------------------------------------


def _label_studio(asked: Sequence[Question], _: Sequence[Label]) -> Exported:
    tasks = [
        {"data": {"pair_id": question.id, "rank": question.rank, **_shown(question)}}
        for question in asked
    ]
    return Exported(
        {".label-studio.json": _json(tasks), ".label-studio.xml": _LABEL_STUDIO.encode()},
        len(tasks),
        "pairs",
        {},
    )


def _argilla(asked: Sequence[Question], _: Sequence[Label]) -> Exported:
    records = [
        {"id": question.id, "fields": _shown(question), "metadata": {"rank": question.rank}}
        for question in asked
    ]
    options = [{"value": value, "text": text} for value, text in ANSWERS.items()]
    settings = {
        "guidelines": ASK,
        "fields": [
            {"name": name, "title": name, "required": True, "settings": {"type": "text"}}
            for name in ("prompt", "first", "second")
        ],
        "questions": [
            {
                "name": "preferred",
                "title": ASK,
                "required": True,
                "settings": {"type": "label_selection", "options": options},
            }
        ],
        "metadata": [{"name": "rank", "title": "rank", "settings": {"type": "integer"}}],
        "vectors": [],
        "allow_extra_metadata": True,
    }
    return Exported(
        {".argilla.json": _json(records), ".argilla-settings.json": _json(settings)},
        len(records),
        "pairs",
        {},
    )


def _csv(asked: Sequence[Question], _: Sequence[Label]) -> Exported:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["pair_id", "rank", "prompt", "first", "second", "preferred", "annotator"])
    for question in asked:
        texts = [f"'{t}" if t.startswith(_FORMULA) else t for t in _shown(question).values()]
        writer.writerow([question.id, question.rank, *texts, "", ""])
    # With a byte order mark, without which Excel reads UTF-8 as something else.
    return Exported({".csv": buffer.getvalue().encode("utf-8-sig")}, len(asked), "pairs", {})


def _trl(asked: Sequence[Question], labels: Sequence[Label]) -> Exported:
    by_id = defaultdict(list)
    for label in labels:
        by_id[label.id].append(label.label)
    for question in asked:
        if question.label is not None and question.id not in by_id:
            by_id[question.id].append(question.label)
    rows: list[dict[str, Any]] = []
    left_out = dict.fromkeys(("ties", "skips", "pairs without a label"), 0)
    chat = any(not isinstance(c, str) for q in asked for c in (q.prompt, q.first, q.second) if c)
    for question in asked:
        answers = by_id.pop(question.id, [])
        left_out["pairs without a label"] += not answers
        for answer in answers:
            if answer in ("tie", "skip"):
                left_out[f"{answer}s"] += 1
                continue
            if question.prompt is None:
                raise InvalidData(
                    f"pair {question.id} has the id of its prompt ({question.prompt_id}) and no "
                    "text, and a trainer needs the text. Choose the pairs from a pool that has a "
                    "'prompt' beside the ids."
                )
            both = [question.first, question.second]
            chosen, rejected = both if answer == "first" else reversed(both)
            row = {"prompt": question.prompt, "chosen": chosen, "rejected": rejected}
            rows.append({k: _turns(v, k) for k, v in row.items()} if chat else row)
    left_out["labels of other pairs"] = sum(map(len, by_id.values()))
    if not rows:
        raise InvalidData(
            f"there is nothing to train on: of {len(asked)} pairs, none has a label that prefers "
            "one completion. Give the labels by --labels labels.jsonl; "
            "`pairbench import` makes such a file of what annotators give back."
        )
    return Exported({".trl.jsonl": jsonl(rows)}, len(rows), "preferences", left_out)


def _turns(value: str | list[Message], where: str) -> list[Message]:
    """A text as the conversation that it is."""
    role = "user" if where == "prompt" else "assistant"
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _shown(question: Question) -> dict[str, str]:
    """The three texts that people see; none is empty, which some tools refuse."""
    prompt = f"(prompt {question.prompt_id})" if question.prompt is None else question.prompt
    texts = {"prompt": prompt, "first": question.first, "second": question.second}
    return {name: rendered(text).strip() or "(empty)" for name, text in texts.items()}


def _json(value: Any) -> bytes:
    # In ASCII, because some tools read it in the encoding of the machine they run on.
    return json.dumps(value, indent=1).encode() + b"\n"


_EXPORTS: dict[str, Callable[[Sequence[Question], Sequence[Label]], Exported]] = {
    "argilla": _argilla,
    "csv": _csv,
    "label-studio": _label_studio,
    "trl": _trl,
}


# -- back ----------------------------------------------------------------------------------------


class _Flat(Label):
    """A row with a pair's id and an answer: ours, a spreadsheet's, Label Studio's flat exports."""

    annotation_id: Name | None = None


def _who(value: object) -> object:
    """Label Studio says who annotated by a number, or by an object."""
    return value.get("email") or value.get("id") if isinstance(value, dict) else value


class _Annotation(BaseModel):
    id: Name | None = None
    completed_by: Annotated[Name | None, BeforeValidator(_who)] = None
    was_cancelled: bool = False
    result: list[dict[str, Any]] = []


class _Data(BaseModel):
    pair_id: QuestionId


class _Task(BaseModel):
    """A task of Label Studio."""

    data: _Data
    annotations: list[_Annotation] = []


def _responses(value: object) -> object:
    """Argilla 2 has responses by question; Argilla 1 a list of people's, drafts among them."""
    if isinstance(value, dict):
        return value.get("preferred") or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value or []
    return [
        {
            "user_id": one.get("user_id"),
            # What was written before the record was discarded is no answer.
            "value": (one.get("values") or {}).get("preferred", {}).get("value")
            if one.get("status") != "discarded"
            else None,
        }
        for one in value
        if one.get("status") != "draft"
    ]


class _Response(BaseModel):
    value: Preference
    user_id: Name | None = None


class _Record(BaseModel):
    """A record of Argilla."""

    # Argilla 1 knows records by an external id only.
    id: QuestionId = Field(validation_alias=AliasChoices("external_id", "id"))
    responses: Annotated[list[_Response], BeforeValidator(_responses)] = []


def _answers(row: Row, path: Path) -> Iterator[Label]:
    values = row.values
    if "data" in values:
        yield from _of_label_studio(row)
    elif "fields" in values:
        yield from _of_argilla(row)
    elif is_answered(row):
        flat = validated(_Flat, row)
        source = f"label-studio {flat.annotation_id}" if flat.annotation_id else path.name
        yield _label(flat.id, flat.label, flat.annotator, flat.source or source)
    elif "pair_id" not in values and "id" not in values:
        fields = ", ".join(map(repr, values))
        raise InvalidData(
            f"{row.place}: the fields are {fields}. Expected a pair's id ('pair_id' or 'id') with "
            "a 'label' or 'preferred', or an export of Label Studio (JSON, JSON-MIN or CSV) or of "
            "Argilla."
        )


def _of_label_studio(row: Row) -> Iterator[Label]:
    task = validated(_Task, row)
    for annotation in task.annotations:
        said: object = None
        if annotation.result and not annotation.was_cancelled:
            said = _choice(annotation.result, row.place)
        yield _label(
            task.data.pair_id,
            said,
            annotation.completed_by,
            f"label-studio {annotation.id}",
            row.place,
        )


def _choice(result: list[dict[str, Any]], place: str) -> object:
    """The answer among an annotation's results: a choice, or a side of the pairwise tag."""
    named = [item for item in result if item.get("from_name") == "preferred"] or result
    for item in named:
        value = item.get("value", {})
        if item.get("type") == "pairwise" or "selected" in value:
            return value.get("selected")
        if choices := value.get("choices"):
            return choices[0]
    raise InvalidData(
        f"{place}: an annotation holds neither a choice nor a pairwise selection. Set the project "
        "up with the labelling configuration that `pairbench export` wrote beside the tasks."
    )


def _of_argilla(row: Row) -> Iterator[Label]:
    record = validated(_Record, row)
    for response in record.responses:
        yield _label(record.id, response.value, response.user_id, "argilla")


def _label(id_: str, said: object, annotator: str | None, source: str, place: str = "") -> Label:
    values = {"id": id_, "label": said, "annotator": annotator, "source": source}
    return validated(Label, Row(place, values))


def _some(answers: Answers, path: Path) -> Answers:
    if not answers.labels:
        raise InvalidData(
            f"{path} holds {answers.unanswered} questions and no answer. Expected a 'label' or "
            "'preferred' beside a pair's id, or an export of Label Studio or Argilla with "
            "annotations in it."
        )
    return answers
