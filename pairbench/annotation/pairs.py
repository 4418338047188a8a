"""Pairs file: questions in the order in which to ask them, each with its texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from pairbench.errors import InvalidData
from pairbench.pool.content import Content, question_id
from pairbench.pool.corpus import Corpus
from pairbench.pool.labels import ANSWER_FIELDS, Name, Preference, QuestionId, encode_jsonl
from pairbench.pool.pairs import count_repeats
from pairbench.pool.pool import Pairs
from pairbench.pool.records import iter_records, validate_record


class Question(BaseModel):
    """A pair to be compared.

    Attributes:
        id: the question's id, a digest of its texts.
        rank: its position in the order, from 1; annotation may stop after any question.
        prompt: the prompt's text or conversation, None if the pool file has only an id.
        first: the completion that is shown first.
        second: the completion that is shown second.
        prompt_id: the pool file's id of the prompt.
        first_id: the pool file's id, or the model, of the first completion.
        second_id: the pool file's id, or the model, of the second completion.
        index: ``(prompt, first, second)``, their indices in the pool, from 0: that of the prompt
            among the file's different prompts, those of the completions in the prompt.
        attachments: what the prompt has beside its text, such as images, by the fields' names.
        label: the answer, if one was entered in the pairs file.
        annotator: who answered.
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
    attachments: dict[str, Any] | None = None
    label: Preference | None = Field(default=None, validation_alias=AliasChoices(*ANSWER_FIELDS))
    annotator: Name | None = None


def make_questions(corpus: Corpus, pairs: Pairs, past: Pairs) -> list[Question]:
    """Make questions of pairs of a pool.

    Args:
        corpus: the pool's prompts and completions.
        pairs: ``(n, 3)``, in their order.
        past: ``(m, 3)``, the pairs asked before, so that a repeated one gets an id of its own.
    """
    questions = []
    n_before = count_repeats(pairs, past)
    for rank, ((x, i, j), times) in enumerate(zip(pairs.tolist(), n_before, strict=True), start=1):
        prompt = corpus.prompts[x]
        first, second = prompt.candidates[i], prompt.candidates[j]
        questions.append(
            Question(
                id=question_id(first.digest, second.digest, int(times)),
                rank=rank,
                prompt=prompt.content,
                first=first.content,
                second=second.content,
                prompt_id=prompt.id,
                first_id=first.id,
                second_id=second.id,
                index=(prompt.number, i, j),
                attachments=prompt.attachments or None,
            )
        )
    return questions


def encode_pairs(questions: Iterable[Question]) -> bytes:
    """Encode questions as the content of a pairs file."""
    return encode_jsonl(question.model_dump(exclude_none=True) for question in questions)


def read_pairs(paths: Sequence[Path]) -> list[Question]:
    """Read the questions of one or more pairs files; one that is in several is taken once.

    Raises:
        InvalidData: If a file cannot be read, or a record is not a question; the message gives the
            line and the field.
    """
    questions: dict[str, Question] = {}
    for path in paths:
        for row in iter_records(path):
            if "first" not in row.values and "label" in row.values:
                raise InvalidData(
                    f"{row.location}: this is a label, not a pair. Expected a file that "
                    "`pairbench select` wrote; labels go with --labels."
                )
            question = validate_record(Question, row)
            questions.setdefault(question.id, question)
    return list(questions.values())
