"""Labels: the one form that answers are kept in, whichever tool they came from.

A labels file is JSONL, one answer a line:

    {"id": "…-…", "label": "first", "annotator": "7", "source": "label-studio 1001"}

``label`` is ``first``, ``second``, ``tie`` or ``skip``. A question that several people answered has
several lines. ``annotator`` and ``source`` say which answer it is, so that the same answer that
comes a second time is not counted twice.
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

from pairbench.annotation.content import QUESTION
from pairbench.annotation.rows import Row

LABELS = {"first": 1.0, "second": 0.0, "tie": 0.5, "skip": math.nan}
"""The four answers, and what designs and trainers make of them."""

ANSWER_FIELDS = ("label", "preferred")

_ALSO = {"left": "first", "right": "second", "1": "first", "0": "second", "0.5": "tie"}


def _preference(value: object) -> str:
    word = "skip" if value is None else value
    if isinstance(word, int | float) and not isinstance(word, bool):
        word = "skip" if math.isnan(word) else f"{word:g}"
    if isinstance(word, str):
        said = word.strip().lower()
        said = _ALSO.get(said, said)
        if said in LABELS:
            return said
    raise ValueError(
        "expected first, second, tie or skip, or 1 (the first is better), 0 (the second), 0.5 or "
        "null"
    )


def _name(value: object) -> object:
    if isinstance(value, float) and value.is_integer():  # what pandas makes of a column with gaps
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


def _question(value: str) -> str:
    if not QUESTION.fullmatch(value):
        raise ValueError(
            "expected a pair's id as `pairbench select` writes it, two times 16 hexadecimal digits"
        )
    return value


Preference = Annotated[str, PlainValidator(_preference)]
Name = Annotated[str, BeforeValidator(_name)]
"""A name or a number by which a file knows something."""

QuestionId = Annotated[str, AfterValidator(_question)]


class Label(BaseModel):
    """One answer to one question.

    Attributes:
        id: the question's.
        label: ``first``, ``second``, ``tie`` or ``skip``.
        annotator: whose answer it is, where the tool tells.
        source: which answer of the tool it is.
    """

    # Tools have an id of their own, so a pair's goes by another name there.
    id: QuestionId = Field(validation_alias=AliasChoices("pair_id", "id"))
    label: Preference = Field(validation_alias=AliasChoices(*ANSWER_FIELDS))
    annotator: Name | None = None
    source: Name | None = None

    @property
    def value(self) -> float:
        """1 if the first is better, 0 the second, ½ a tie, NaN no answer."""
        return LABELS[self.label]


class Merged(NamedTuple):
    """Labels put together.

    Attributes:
        labels: all of them, the old ones first.
        new: how many were not there.
        changed: how many were there with another answer, which the new one replaces.
        known: how many were there as they are.
    """

    labels: list[Label]
    new: int
    changed: int
    known: int


def is_answered(row: Row) -> bool:
    """Whether a row says anything, if only that there is no answer."""
    return any(name in row.values for name in ANSWER_FIELDS)


def merged(old: Iterable[Label], new: Iterable[Label]) -> Merged:
    """Old labels and new ones, an answer that comes again counted once.

    The same answer is one to the same question, by the same annotator, from the same source.
    """
    before, fresh = _numbered(old), _numbered(new)
    known = [key for key in fresh if key in before]
    changed = sum(before[key].label != fresh[key].label for key in known)
    together = list((before | fresh).values())
    return Merged(together, len(fresh) - len(known), changed, len(known) - changed)


def labels_bytes(labels: Iterable[Label]) -> bytes:
    """The content of a labels file."""
    return jsonl(label.model_dump(exclude_none=True) for label in labels)


def jsonl(records: Iterable[dict[str, Any]]) -> bytes:
    """Records as JSONL."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return "".join(lines).encode()


def _numbered(labels: Iterable[Label]) -> dict[tuple[str, str | None, str | None, int], Label]:
    """Labels by what makes each the answer it is; answers that nothing tells apart are counted."""
    found: dict[tuple[str, str | None, str | None, int], Label] = {}
    seen: Counter[tuple[str, str | None, str | None]] = Counter()
    for label in labels:
        identity = (label.id, label.annotator, label.source)
        found[*identity, seen[identity]] = label
        seen[identity] += 1
    return found
