"""Labels file: the one format in which answers of every annotation tool are stored.

A labels file is JSONL, one answer a line:

    {"id": "…-…", "label": "first", "annotator": "7", "source": "label-studio 1001"}

``label`` is ``first``, ``second``, ``tie`` or ``skip``. A question that several people answered has
several lines. ``annotator`` and the tool's id of the answer, within ``source``, identify an answer,
so that one that is imported again is counted once.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
)

from pairbench.errors import InvalidData
from pairbench.pool.content import QUESTION_ID
from pairbench.pool.records import Record

LABELS = {"first": 1.0, "second": 0.0, "tie": 0.5, "skip": math.nan}
"""The four answers, and their values as labels for designs and trainers."""

ANSWER_FIELDS = ("label", "preferred")
"""Names of the field that holds an answer."""

_SYNONYMS = {"left": "first", "right": "second", "1": "first", "0": "second", "0.5": "tie"}
# In many locales, spreadsheets write the decimal point as a comma.
_NUMBER = re.compile(r"\d+[.,]?\d*|[.,]\d+")
# Up to version 0.2, the source of a table's answers was the name of the file.
_FILE_NAME = re.compile(r"\.(csv|tsv|json|jsonl|ndjson|parquet|txt)$", re.IGNORECASE)
_TOOL_AND_ID = re.compile(r"\S+ (?!None$)\S.*")


def _parse_preference(value: object) -> str:
    """Parse an answer, which may be a word, a number or null, to a key of :data:`LABELS`."""
    word = "skip" if value is None else value
    if isinstance(word, int) and not isinstance(word, bool):
        word = str(min(max(word, -1), 2))  # others are no answer, and may be too long for a text
    elif isinstance(word, float):
        word = "skip" if math.isnan(word) else f"{word:g}"
    if isinstance(word, str):
        word = word.strip().lower()
        if _NUMBER.fullmatch(word):
            word = f"{float(word.replace(',', '.')):g}"
        label = _SYNONYMS.get(word, word)
        if label in LABELS:
            return label
    raise ValueError(
        "expected first, second, tie or skip, or 1 (the first is better), 0 (the second), 0.5 or "
        "null"
    )


def _parse_name(value: object) -> object:
    """Convert a number to its text; anything else is left to pydantic."""
    if isinstance(value, float) and value.is_integer():  # pandas reads integers with gaps as float
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


def _parse_annotator(value: str | None) -> str | None:
    """Strip a name, which spreadsheets leave spaces around; an empty one is none."""
    return (value or "").strip() or None


def _check_question_id(value: str) -> str:
    if not QUESTION_ID.fullmatch(value):
        raise ValueError(
            "expected a pair's id as `pairbench select` writes it, two times 16 hexadecimal digits"
        )
    return value


Preference = Annotated[str, PlainValidator(_parse_preference)]
"""An answer, a key of :data:`LABELS`; the type of pydantic fields."""

Name = Annotated[str, BeforeValidator(_parse_name)]
"""An identifier in a file, a text or a number; the type of pydantic fields."""

QuestionId = Annotated[str, AfterValidator(_check_question_id)]
"""The id of a question; the type of pydantic fields."""


class Label(BaseModel):
    """One answer to one question.

    Attributes:
        id: the question's id.
        label: ``first``, ``second``, ``tie`` or ``skip``.
        annotator: who answered, if that is known.
        source: the tool, and the tool's id of the answer if it has one, as in "label-studio 7".
    """

    # Tools number records by an "id", so their exports hold the pair's as "pair_id".
    id: QuestionId = Field(validation_alias=AliasChoices("pair_id", "id"))
    label: Preference = Field(validation_alias=AliasChoices(*ANSWER_FIELDS))
    annotator: Annotated[Name | None, AfterValidator(_parse_annotator)] = None
    source: Name | None = None

    @property
    def value(self) -> float:
        """Label as a number: 1 the first is better, 0 the second, ½ a tie, NaN no answer."""
        return LABELS[self.label]

    @property
    def answer_id(self) -> str | None:
        """The tool and its own id of the answer, None if the source does not have both."""
        source = self.source or ""
        return source if _TOOL_AND_ID.fullmatch(source) and not self.has_file_source else None

    @property
    def has_file_source(self) -> bool:
        """Whether the source is the name of a file, which says nothing of who answered."""
        return bool(_FILE_NAME.search(self.source or ""))

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing says who answered: no annotator, and no id of the answer."""
        return not self.annotator and self.answer_id is None

    @property
    def is_of_table(self) -> bool:
        """Whether the answer is out of a table or another file that no tool wrote."""
        return self.source is None or self.has_file_source


class MergedLabels(NamedTuple):
    """Union of old and new labels, with counts of the new ones.

    Attributes:
        labels: all labels, the old ones first.
        new: how many new labels are not among the old.
        changed: how many new labels replace a different answer.
        unchanged: how many new labels equal an old one.
    """

    labels: list[Label]
    new: int
    changed: int
    unchanged: int


def is_answered(row: Record) -> bool:
    """Return whether a record has a field for the answer, even a null one."""
    return any(name in row.values for name in ANSWER_FIELDS)


# Why: docs/decisions/036-labels-are-kept-by-annotator-and-answer.md
def merge_labels(old: Iterable[Label], new: Iterable[Label]) -> MergedLabels:
    """Merge new labels into old ones, so that an answer imported again is counted once.

    Two labels are one answer if question, annotator and the tool's id of the answer agree; where
    only one of them has an annotator, both take the name. Labels with neither annotator nor id are
    old ones if they give the same answers to all questions that both answer.

    Raises:
        InvalidData: If it cannot be told whether new labels are old ones, because an annotator is
            missing.
    """
    old, new = list(old), list(new)
    before = _by_identity(_with_names_of(new, old))
    incoming = _by_identity(_with_names_of(old, new))
    _check_not_named_since(before.values(), incoming.values())
    repeats = _anonymous_repeats(before.values(), incoming.values())
    fresh = {
        identity: label
        for identity, label in incoming.items()
        if not label.is_anonymous or (label.source, label.id) not in repeats
    }
    in_both = [identity for identity in fresh if identity in before]
    changed = sum(before[identity].label != fresh[identity].label for identity in in_both)
    n_new = len(fresh) - len(in_both)
    labels = list((before | fresh).values())
    return MergedLabels(labels, n_new, changed, len(incoming) - n_new - changed)


def encode_labels(labels: Iterable[Label]) -> bytes:
    """Encode labels as the content of a labels file."""
    return encode_jsonl(label.model_dump(exclude_none=True) for label in labels)


def encode_jsonl(records: Iterable[dict[str, Any]]) -> bytes:
    """Encode records as JSONL."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return "".join(lines).encode()


def _by_identity(
    labels: Iterable[Label],
) -> dict[tuple[str, str | None, str | None, int], Label]:
    """Index labels by question, annotator, the tool's id and, where all three agree, a counter.

    Of copies that older versions kept, one for each name of a file, the last one remains. Anonymous
    labels are indexed by their source, too, since files of several people may have been imported.
    """
    index: dict[tuple[str, str | None, str | None, int], Label] = {}
    count: Counter[tuple[str, str | None, str | None]] = Counter()
    for label in labels:
        file = label.source if label.is_anonymous or label.has_file_source else label.answer_id
        count[label.id, label.annotator, file] += 1
        answer = label.source if label.is_anonymous else label.answer_id
        index[label.id, label.annotator, answer, count[label.id, label.annotator, file]] = label
    return index


def _with_names_of(others: Iterable[Label], labels: Iterable[Label]) -> list[Label]:
    """Name the annotators of labels by others that have the same ids of the tool."""
    names: dict[tuple[str, str | None], str] = {
        (label.id, label.answer_id): label.annotator
        for label in others
        if label.annotator and label.answer_id
    }
    return [
        label
        if label.annotator
        else label.model_copy(update={"annotator": names.get((label.id, label.answer_id))})
        for label in labels
    ]


_Answers = dict[str, Counter[str]]  # how often each answer was given, by question


def _anonymous_repeats(old: Collection[Label], new: Iterable[Label]) -> set[tuple[str | None, str]]:
    """Find the anonymous new labels that are old ones, by source and question.

    Raises:
        InvalidData: If that cannot be told.
    """
    groups = _anonymous_groups(old)
    answered = {label.id for label in old if label.is_anonymous or label.is_of_table}
    repeats: set[tuple[str | None, str]] = set()
    for source, answers in _anonymous_groups(new).items():
        repeated = _repeated_questions(answers, groups.values())
        if unclear := [id_ for id_ in answers if id_ in answered - repeated]:
            raise InvalidData(
                f"the labels file holds answers to {len(unclear):,} of the questions already, such "
                f"as {unclear[0]}, and the new answers have no annotator: they may be another "
                "person's, or corrections. Name who gave them by --annotator NAME. To correct "
                "answers without annotator, import all tables into a new labels file (--labels), "
                "each with --annotator."
            )
        repeats |= {(source, id_) for id_ in repeated}
    return repeats


def _check_not_named_since(old: Collection[Label], new: Iterable[Label]) -> None:
    """Check that no new labels may be anonymous old ones which have been given an annotator.

    Raises:
        InvalidData: If an annotator gave the answers that the labels file has without annotator.
    """
    groups = _anonymous_groups(old)
    earlier = {(label.id, label.annotator) for label in old}
    named: dict[str, _Answers] = defaultdict(lambda: defaultdict(Counter))
    for label in new:
        if label.annotator and label.is_of_table and (label.id, label.annotator) not in earlier:
            named[label.annotator][label.id][label.label] += 1
    for annotator, answers in named.items():
        if repeated := _repeated_questions(answers, groups.values()):
            raise InvalidData(
                f"the labels file holds the answers of {annotator!r} to {len(repeated):,} of the "
                f"questions already, such as {min(repeated)}, but without annotator: they may be "
                f"{annotator}'s or those of another person who agrees. Import all tables into a "
                "new labels file (--labels), each with --annotator NAME."
            )


def _anonymous_groups(labels: Iterable[Label]) -> dict[str | None, _Answers]:
    """Count the answers of anonymous labels, by source and question."""
    groups: dict[str | None, _Answers] = defaultdict(lambda: defaultdict(Counter))
    for label in labels:
        if label.is_anonymous:
            groups[label.source][label.id][label.label] += 1
    return groups


def _repeated_questions(answers: _Answers, groups: Iterable[_Answers]) -> set[str]:
    """Return the questions of groups that agree with the answers wherever both have some."""
    repeated: set[str] = set()
    for group in groups:
        shared = answers.keys() & group.keys()
        if all(answers[id_] == group[id_] for id_ in shared):
            repeated |= shared
    return repeated
