"""The pairs file: questions in the order in which they should be asked, each complete in itself."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field

from pairbench.annotation.content import Content, question_id
from pairbench.annotation.labels import ANSWER_FIELDS, Name, Preference, QuestionId, jsonl
from pairbench.annotation.pools import Corpus
from pairbench.annotation.rows import read_rows, validated
from pairbench.errors import InvalidData
from pairbench.pool import Pairs, repeats


class Question(BaseModel):
    """A pair to be compared.

    Attributes:
        id: of the question, made from its texts.
        rank: its place in the order, from 1; whoever stops early stops here or there.
        prompt: the prompt's text or conversation, None where the pool holds an id only.
        first: the completion that is shown first.
        second: the other.
        prompt_id: the pool's id of the prompt.
        first_id: the pool's id, or the model, of the first completion.
        second_id: of the second.
        index: ``(prompt, first, second)``, their places in the pool file, from 0.
        label: the answer, where somebody has written it beside the question.
        annotator: who that was.
    """

    id: QuestionId
    rank: int
    prompt: Content | None = None
    first: Content
    second: Content
    prompt_id: Name | None = None
    first_id: Name | None = None
    second_id: Name | None = None
    index: tuple[int, int, int] | None = None
    label: Preference | None = Field(default=None, validation_alias=AliasChoices(*ANSWER_FIELDS))
    annotator: Name | None = None


def questions(corpus: Corpus, pairs: Pairs, past: Pairs) -> list[Question]:
    """Pairs of a pool as questions.

    Args:
        corpus: the pool's prompts and completions.
        pairs: ``(n, 3)``, in their order.
        past: ``(m, 3)``, the pairs asked before, so that one asked again gets an id of its own.
    """
    asked = []
    before = repeats(pairs, past)
    for rank, ((x, i, j), times) in enumerate(zip(pairs.tolist(), before, strict=True), start=1):
        prompt = corpus.prompts[x]
        first, second = prompt.candidates[i], prompt.candidates[j]
        asked.append(
            Question(
                id=question_id(first.key, second.key, int(times)),
                rank=rank,
                prompt=prompt.content,
                first=first.content,
                second=second.content,
                prompt_id=prompt.id,
                first_id=first.id,
                second_id=second.id,
                index=(prompt.number, i, j),
            )
        )
    return asked


def pairs_bytes(asked: Iterable[Question]) -> bytes:
    """The content of a pairs file."""
    return jsonl(question.model_dump(exclude_none=True) for question in asked)


def read_pairs(paths: Sequence[Path]) -> list[Question]:
    """The questions of one or more pairs files; one that is in several is taken once.

    Raises:
        InvalidData: If a file cannot be read, or a row is no question, with its line and field.
    """
    found: dict[str, Question] = {}
    for path in paths:
        for row in read_rows(path):
            if "first" not in row.values and "label" in row.values:
                raise InvalidData(
                    f"{row.place}: this is a label, not a pair. Expected a file that "
                    "`pairbench select` wrote; labels go with --labels."
                )
            question = validated(Question, row)
            found.setdefault(question.id, question)
    return list(found.values())
