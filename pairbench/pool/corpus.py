"""Reader of users' pool files into prompts with their completions.

Records of one prompt are merged; :mod:`pairbench.pool.layouts` has the fields of records.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidData, InvalidPairs
from pairbench.pool.content import (
    Message,
    encodable_json,
    render_content,
    render_prompt,
    text_digest,
)
from pairbench.pool.features import CHARS_PER_TOKEN
from pairbench.pool.layouts import (
    CompletionFields,
    Layout,
    ParsedRecord,
    detect_layout,
    parse_prompt,
)
from pairbench.pool.pool import Pairs, Pool
from pairbench.pool.records import Record, iter_records, read_lines


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
        number: its index among the different prompts of the file, from 0.
        content: its text or conversation, None if the file has only an id.
        id: its id, or None.
        attachments: what it has beside its text, such as images, by name.
        candidates: its completions in the file's order.
    """

    number: int
    content: str | list[Message] | None
    id: str | None
    attachments: dict[str, Any] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Text of the prompt with its attachments; empty if the file has only an id."""
        return render_prompt(self.content or "", self.attachments)

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
        n_identical: number of comparisons left out because both sides are the same completion.
        unused: number of records by the name of each field that is not used.
    """

    path: Path
    prompts: tuple[Prompt, ...]
    comparisons: tuple[Comparison, ...]
    n_single_completion: int
    n_duplicates: int
    n_identical: int
    unused: dict[str, int]

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
        prompts = [prompt.text for prompt in self.prompts if prompt.content is not None]
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


def read_corpus(path: Path, *, merge_prompts: bool = False) -> Corpus:
    """Read a pool file.

    Args:
        path: a file or folder that :func:`iter_records` reads, in one of the three layouts.
        merge_prompts: whether to merge prompts of the same text that have different ids.

    Raises:
        InvalidData: If a record cannot be read, with its location and field, or if there is nothing
            to compare.
    """
    records = [
        (row.location, _content_digest(record), record) for row, record in _parse_records(path)
    ]
    ids: dict[str, set[str]] = {}
    if not merge_prompts:
        for _, digest, record in records:
            if record.prompt is not None and record.prompt_id is not None:
                ids.setdefault(digest, set()).add(record.prompt_id)
    prompts: dict[str, _PromptBuilder] = {}
    comparisons: list[Comparison] = []
    for location, digest, record in records:
        if len(ids.get(digest, ())) > 1 and record.prompt_id is not None:
            # Only where the text does not tell the prompts apart, so that elsewhere answers are
            # matched with pairs of files that have no ids, too.
            key = text_digest(digest, record.prompt_id)
        else:
            key = digest
        if key not in prompts:
            prompt = Prompt(len(prompts), record.prompt, record.prompt_id, record.attachments)
            prompts[key] = _PromptBuilder(key, prompt)
        comparisons += prompts[key].add(record, location)
    read = [builder.prompt for builder in prompts.values()]
    comparable = tuple(prompt for prompt in read if prompt.distinct > 1)
    if not comparable:
        raise InvalidData(
            f"{path} holds {len(prompts)} prompts, none of which has two different completions to "
            "compare. If rows of one prompt should be together, give them the same prompt text."
        )
    different = tuple(c for c in comparisons if c.first != c.second)
    return Corpus(
        path,
        comparable,
        different,
        n_single_completion=len(prompts) - len(comparable),
        n_duplicates=sum(len(prompt.candidates) - prompt.distinct for prompt in read),
        n_identical=len(comparisons) - len(different),
        unused=dict(Counter(name for *_, record in records for name in record.unused)),
    )


def _parse_records(path: Path) -> Iterator[tuple[Record, ParsedRecord]]:
    """Yield the records of a pool file, in the layout of the first."""
    layout: Layout | None = None
    for row in iter_records(path):
        layout = layout or detect_layout(row)
        yield row, layout(row)


def _content_digest(record: ParsedRecord) -> str:
    """Return the digest of a prompt's text and attachments, or of its id where it has no text."""
    text = str(record.prompt_id) if record.prompt is None else render_content(record.prompt)
    attachments = [encodable_json(record.attachments)] if record.attachments else []
    return text_digest(text, *attachments)


@dataclass
class _PromptBuilder:
    """A prompt whose completions are collected from several records."""

    digest: str
    prompt: Prompt
    digests: set[str] = field(default_factory=set)

    def add(self, record: ParsedRecord, location: str) -> list[Comparison]:
        """Add a record's completions, and return its comparisons."""
        digests = []
        for completion in record.completions:
            candidate = _candidate(completion, self.digest, location)
            candidate.duplicate = candidate.digest in self.digests
            self.digests.add(candidate.digest)
            digests.append(candidate.digest)
            # A completion may take part in several comparisons, and is no duplicate for that.
            if not (record.is_comparison and candidate.duplicate):
                self.prompt.candidates.append(candidate)
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
        content = parse_prompt(row).prompt
        if not isinstance(content, str):
            actual = "its id only" if content is None else "a conversation"
            raise InvalidData(
                f"{row.location}: expected the text of a prompt, got {actual}. A conversation "
                "becomes the text that a model reads by tokenizer.apply_chat_template(messages, "
                "tokenize=False, add_generation_prompt=True)."
            )
        prompts.append(content)
    return prompts


def _candidate(completion: CompletionFields, prompt_digest: str, location: str) -> Candidate:
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
