"""Export of questions to annotation tools and trainers, and import of answers.

Formats: Label Studio's tasks (labelstud.io/guide/task_format); records of Argilla 2 as
``Dataset.records.from_json`` reads them; CSV for spreadsheets; TRL's preference format
(huggingface.co/docs/trl, Dataset formats). ``annotation/answers.py`` reads what comes back.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairbench._util.files import write_atomic
from pairbench.annotation.agreement import Agreement, measure_agreement
from pairbench.annotation.answers import AnnotatorAnswers, check_any_answer, label_key, read_answers
from pairbench.annotation.pairs import Question
from pairbench.errors import InvalidData, UnknownName, unknown_name_error
from pairbench.pool.content import Message, render_content, render_prompt
from pairbench.pool.labels import Label, MergedLabels, encode_jsonl, encode_labels, merge_labels

INSTRUCTION = "Which of the two completions answers the prompt better?"
ANSWERS = {
    "first": "the first",
    "second": "the second",
    "tie": "as good as each other",
    "skip": "cannot say",
}
"""Texts of the four answers for annotators."""

_LABEL_STUDIO_CONFIG = f"""<View>
  <Header value="Prompt"/>
  <View style="white-space: pre-wrap"><Text name="prompt" value="$prompt"/></View>
  <View style="display: grid; grid-template-columns: 1fr 1fr; gap: 2em; white-space: pre-wrap">
    <View><Header value="First"/><Text name="first" value="$first"/></View>
    <View><Header value="Second"/><Text name="second" value="$second"/></View>
  </View>
  <Header value="{INSTRUCTION}"/>
  <Choices name="preferred" toName="prompt" choice="single" showInline="true" required="true">
    {"".join(f'<Choice value="{value}" html="{text}"/>' for value, text in ANSWERS.items())}
  </Choices>
</View>
"""
# First characters of what a spreadsheet takes for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Export(NamedTuple):
    """Files of an export, with counts.

    Attributes:
        files: contents by the suffix of the file's name.
        rows: the number of exported units.
        unit: what is counted, such as "pairs".
        omitted: the number of labels or questions left out, by reason.
    """

    files: dict[str, bytes]
    rows: int
    unit: str
    omitted: dict[str, int]

    def paths(self, pairs: Path, out: Path | None = None) -> dict[Path, bytes]:
        """Return the contents by path.

        Args:
            pairs: the file of the questions; exports are written beside it, and named after it.
            out: the path of the first file, if another; the other files are written beside it.
        """
        stem = pairs.with_suffix("") if out is None else out.with_suffix("")
        paths = {stem.with_name(stem.name + suffix): self.files[suffix] for suffix in self.files}
        if out is None:
            return paths
        first, *rest = paths
        return {out: paths[first], **{path: paths[path] for path in rest}}


class ImportSummary(NamedTuple):
    """Result of an import into a labels file.

    Attributes:
        answers: the imported answers.
        merge: the labels file after the import, with counts.
        written: whether the labels file was written; false if the answers are that very file.
        n_withdrawn: the number of labels removed because they are drafts, discarded or unclear now.
    """

    answers: AnnotatorAnswers
    merge: MergedLabels
    written: bool
    n_withdrawn: int = 0

    @property
    def agreement(self) -> Agreement:
        """Agreement between the annotators of the labels file."""
        return measure_agreement(self.merge.labels)


def export_questions(
    questions: Sequence[Question], to: str, labels: Sequence[Label] = ()
) -> Export:
    """Export questions in the format of a tool.

    Args:
        questions: the questions, in their order.
        to: the format's name.
        labels: answers, for formats that need them; they replace answers within the questions.

    Raises:
        UnknownName: If there is no such format.
        InvalidData: If the questions lack something that the format needs.
    """
    if to not in _EXPORTS:
        raise unknown_name_error(UnknownName, "format", to, _EXPORTS)
    return _EXPORTS[to](questions, labels)


def import_answers(answers: Path, labels: Path, annotator: str | None = None) -> ImportSummary:
    """Add answers to a labels file, which is created if it does not exist.

    Args:
        answers: a file from a tool or a person.
        labels: the labels file.
        annotator: the annotator of answers that have none.

    Raises:
        InvalidData: If either cannot be read, there are no answers, or it cannot be told without
            an annotator whether they are in the labels file already.
    """
    new = check_any_answer(read_answers(answers, annotator), answers)
    has_labels = labels.exists() and labels.stat().st_size > 0
    if has_labels and answers.samefile(labels):
        if annotator is not None:
            raise InvalidData(
                f"{answers} is the labels file itself, whose labels without annotator may be those "
                "of several people. Import their tables into a new labels file (--labels), each "
                "with --annotator NAME."
            )
        return ImportSummary(new, merge_labels(new.labels, new.labels), written=False)
    old = read_answers(labels).labels if has_labels else []
    valid = [label for label in old if label_key(label) not in new.withdrawn]
    update = merge_labels(valid, new.labels)
    write_atomic(labels, encode_labels(update.labels))
    return ImportSummary(new, update, written=True, n_withdrawn=len(old) - len(valid))


# -- export --------------------------------------------------------------------------------------


def _export_label_studio(questions: Sequence[Question], _: Sequence[Label]) -> Export:
    tasks = [
        {"data": {"pair_id": question.id, "rank": question.rank, **_texts(question)}}
        for question in questions
    ]
    return Export(
        {
            ".label-studio.json": _encode_json(tasks),
            ".label-studio.xml": _LABEL_STUDIO_CONFIG.encode(),
        },
        len(tasks),
        "pairs",
        {},
    )


def _export_argilla(questions: Sequence[Question], _: Sequence[Label]) -> Export:
    records = [
        {"id": question.id, "fields": _texts(question), "metadata": {"rank": question.rank}}
        for question in questions
    ]
    options = [{"value": value, "text": text} for value, text in ANSWERS.items()]
    settings = {
        "guidelines": INSTRUCTION,
        "fields": [
            {"name": name, "title": name, "required": True, "settings": {"type": "text"}}
            for name in ("prompt", "first", "second")
        ],
        "questions": [
            {
                "name": "preferred",
                "title": INSTRUCTION,
                "required": True,
                "settings": {"type": "label_selection", "options": options},
            }
        ],
        "metadata": [{"name": "rank", "title": "rank", "settings": {"type": "integer"}}],
        "vectors": [],
        "allow_extra_metadata": True,
    }
    return Export(
        {".argilla.json": _encode_json(records), ".argilla-settings.json": _encode_json(settings)},
        len(records),
        "pairs",
        {},
    )


def _export_csv(questions: Sequence[Question], _: Sequence[Label]) -> Export:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["pair_id", "rank", "prompt", "first", "second", "preferred", "annotator"])
    for question in questions:
        texts = [f"'{t}" if t.startswith(_FORMULA_STARTS) else t for t in _texts(question).values()]
        writer.writerow([question.id, question.rank, *texts, "", ""])
    # With a byte order mark, without which Excel does not read UTF-8.
    return Export({".csv": buffer.getvalue().encode("utf-8-sig")}, len(questions), "pairs", {})


def _export_trl(questions: Sequence[Question], labels: Sequence[Label]) -> Export:
    answers = _answers_by_id(questions, labels)
    is_chat = any(
        not isinstance(c, str) for q in questions for c in (q.prompt, q.first, q.second) if c
    )
    rows: list[dict[str, Any]] = []
    left_out = dict.fromkeys(("ties", "skips", "pairs without a label"), 0)
    for question in questions:
        question_answers = answers.pop(question.id, [])
        left_out["pairs without a label"] += not question_answers
        for answer in question_answers:
            if answer in ("tie", "skip"):
                left_out[f"{answer}s"] += 1
            else:
                rows.append(_preference_row(question, answer, is_chat=is_chat))
    left_out["labels of other pairs"] = sum(map(len, answers.values()))
    if not rows:
        raise InvalidData(
            f"there is nothing to train on: of {len(questions)} pairs, none has a label that "
            "prefers one completion. Give the labels by --labels labels.jsonl; "
            "`pairbench import` makes such a file from annotators' answers."
        )
    return Export({".trl.jsonl": encode_jsonl(rows)}, len(rows), "preferences", left_out)


def _answers_by_id(questions: Sequence[Question], labels: Sequence[Label]) -> dict[str, list[str]]:
    """Group answers by question; an answer within a question counts if there are no others."""
    answers = defaultdict(list)
    for label in labels:
        answers[label.id].append(label.label)
    for question in questions:
        if question.label is not None and question.id not in answers:
            answers[question.id].append(question.label)
    return answers


def _preference_row(question: Question, answer: str, *, is_chat: bool) -> dict[str, Any]:
    """Make a row of TRL's preference format of a question answered by "first" or "second"."""
    if question.prompt is None:
        raise InvalidData(
            f"pair {question.id} has the id of its prompt ({question.prompt_id}) and no "
            "text, and a trainer needs the text. Choose the pairs from a pool that has a "
            "'prompt' beside the ids."
        )
    completions = [question.first, question.second]
    chosen, rejected = completions if answer == "first" else reversed(completions)
    row: dict[str, Any] = {"prompt": question.prompt, "chosen": chosen, "rejected": rejected}
    if is_chat:
        row = {name: _as_messages(value, name) for name, value in row.items()}
    return row | (question.attachments or {})


def _as_messages(value: str | list[Message], field: str) -> list[Message]:
    """Convert a text to a conversation of one message."""
    role = "user" if field == "prompt" else "assistant"
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _texts(question: Question) -> dict[str, str]:
    """Render the three texts that annotators see; none is empty, which some tools refuse."""
    prompt = f"(prompt {question.prompt_id})" if question.prompt is None else question.prompt
    texts = {
        "prompt": render_prompt(prompt, question.attachments or {}),
        "first": render_content(question.first),
        "second": render_content(question.second),
    }
    return {name: text.strip() or "(empty)" for name, text in texts.items()}


def _encode_json(value: Any) -> bytes:
    # In ASCII, because some tools read it in the encoding of their machine.
    return json.dumps(value, indent=1).encode() + b"\n"


_EXPORTS: dict[str, Callable[[Sequence[Question], Sequence[Label]], Export]] = {
    "argilla": _export_argilla,
    "csv": _export_csv,
    "label-studio": _export_label_studio,
    "trl": _export_trl,
}
