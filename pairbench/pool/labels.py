"""Labels file: the one format in which answers of every annotation tool are stored.

A labels file is JSONL, one answer a line:

    {"id": "…-…", "label": "first", "annotator": "7", "source": "label-studio 1001"}

``label`` is ``first``, ``second``, ``tie`` or ``skip``. A question that several people answered has
several lines. ``annotator`` and ``source`` identify an answer, so that one that is imported again
is counted once.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
)

from pairbench.pool.content import QUESTION_ID
from pairbench.pool.records import Record

LABELS = {"first": 1.0, "second": 0.0, "tie": 0.5, "skip": math.nan}
"""The four answers, and their values as labels for designs and trainers."""

ANSWER_FIELDS = ("label", "preferred")
"""Names of the field that holds an answer."""

_SYNONYMS = {"left": "first", "right": "second", "1": "first", "0": "second", "0.5": "tie"}


def _parse_preference(value: object) -> str:
    """Parse an answer, which may be a word, a number or null, to a key of :data:`LABELS`."""
    word = "skip" if value is None else value
    if isinstance(word, int | float) and not isinstance(word, bool):
        word = "skip" if math.isnan(word) else f"{word:g}"
    if isinstance(word, str):
        word = word.strip().lower()
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
        annotator: who answered, if the tool records it.
        source: the tool, and the tool's id of the answer.
    """

    # Tools number records by an "id", so their exports hold the pair's as "pair_id".
    id: QuestionId = Field(validation_alias=AliasChoices("pair_id", "id"))
    label: Preference = Field(validation_alias=AliasChoices(*ANSWER_FIELDS))
    annotator: Name | None = None
    source: Name | None = None

    @property
    def value(self) -> float:
        """Label as a number: 1 the first is better, 0 the second, ½ a tie, NaN no answer."""
        return LABELS[self.label]


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


# Why: docs/decisions/036-labels-are-kept-by-annotator-and-source.md
def merge_labels(old: Iterable[Label], new: Iterable[Label]) -> MergedLabels:
    """Merge new labels into old ones, so that an answer imported again is counted once.

    Two labels are one answer if question, annotator and source agree.
    """
    before, fresh = _by_identity(old), _by_identity(new)
    in_both = [identity for identity in fresh if identity in before]
    changed = sum(before[identity].label != fresh[identity].label for identity in in_both)
    labels = list((before | fresh).values())
    return MergedLabels(labels, len(fresh) - len(in_both), changed, len(in_both) - changed)


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
    """Index labels by question, annotator, source and, where all three agree, a counter."""
    index: dict[tuple[str, str | None, str | None, int], Label] = {}
    count: Counter[tuple[str, str | None, str | None]] = Counter()
    for label in labels:
        identity = (label.id, label.annotator, label.source)
        index[*identity, count[identity]] = label
        count[identity] += 1
    return index
