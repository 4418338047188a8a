"""Votes of people on pairs: a file format, and a pool in which every pair has votes.

A file of votes is JSONL, one pair a line, with indices of completions in the pool:

    {"prompt": 0, "first": 3, "second": 1, "votes": [1, 0, 0.5], "annotators": ["ann", "bo", "cy"]}

A vote is 1 if the first is better, 0 if the second is, and 0.5 for a tie. ``annotators`` may be
left out; the votes then all count as one anonymous annotator's.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PlainValidator, model_validator

from pairbench.errors import InvalidData, NotRecorded
from pairbench.pool.labels import Name
from pairbench.pool.pairs import explain_improper_pair
from pairbench.pool.pool import CompletionIndex, Pairs, Pool
from pairbench.pool.records import Record, iter_records, short_repr, validate_record
from pairbench.pool.votes import Votes

Array = NDArray[np.float64]
_Pair = tuple[int, int, int]
_NamedVote = tuple[Name | None, float]


def _parse_vote(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 0.5, 1):
        return float(value)
    raise ValueError("expected 1 (the first is better), 0 (the second) or 0.5 (a tie)")


_Index = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class _Line(BaseModel):
    prompt: _Index
    first: _Index
    second: _Index
    votes: Annotated[list[Annotated[float, PlainValidator(_parse_vote)]], Field(min_length=1)]
    annotators: list[Name] | None = None

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"expected two completions, got {self.first} twice")
        if self.annotators is not None and len(self.annotators) != len(self.votes):
            raise ValueError(
                f"expected an annotator for each vote, got {len(self.annotators)} for "
                f"{len(self.votes)} votes"
            )
        return self

    @property
    def pair(self) -> _Pair:
        """The prompt and the lower and higher index of the completions."""
        return self.prompt, min(self.first, self.second), max(self.first, self.second)


@dataclass(frozen=True, eq=False)
class PairVotes:
    """Votes on pairs of a pool.

    Attributes:
        pairs: ``(m, 3)``, distinct, ``first < second``, in ascending order.
        votes: the votes on each pair, ``(m, v)``, at least one.
        locations: the line of the file that each pair comes from, ``m`` of them, for messages.
    """

    pairs: Pairs
    votes: Votes
    locations: tuple[str, ...]

    def check(self, pool: Pool) -> None:
        """Check that all pairs are proper pairs of a pool.

        Raises:
            InvalidData: If one is not, with its line in the file.
        """
        if (bad := np.flatnonzero(~pool.proper(self.pairs))).size:
            row = int(bad[0])
            problem = explain_improper_pair(self.pairs[row], pool)
            raise InvalidData(f"{self.locations[row]}: {problem}")

    def votes_on(self, pairs: Pairs) -> Votes:
        """Return the votes on pairs, ``(n, v)``, oriented as the pairs are presented.

        Args:
            pairs: ``(n, 3)``.

        Raises:
            NotRecorded: If there are none on one of them.
        """
        row, reversed_ = self._row_of(pairs), pairs[:, 1] > pairs[:, 2]
        answers = self.votes.answers[row]
        answers = np.where(reversed_[:, None], 1 - answers, answers)
        return Votes(self.votes.annotators[row], answers)

    def _row_of(self, pairs: Pairs) -> NDArray[np.int64]:
        """Find the row of each pair in :attr:`pairs`, ``(n,)``, in either orientation."""
        low, high = pairs[:, 1:].min(axis=1), pairs[:, 1:].max(axis=1)
        base = int(max(self.pairs.max(), pairs.max(initial=0))) + 1
        key = (pairs[:, 0] * base + low) * base + high
        keys = (self.pairs[:, 0] * base + self.pairs[:, 1]) * base + self.pairs[:, 2]
        row: NDArray[np.int64] = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        if (bad := np.flatnonzero(keys[row] != key)).size:
            x, i, j = pairs[bad[0]].tolist()
            raise NotRecorded(
                f"nobody compared completions {i} and {j} of prompt {x}: there are votes on "
                f"{len(keys)} pairs alone. Ask only pairs of the world's own pool."
            )
        return row

    # Why: docs/decisions/010-recorded-votes-form-their-own-pool.md
    @cached_property
    def index(self) -> CompletionIndex:
        """Index that regroups the pool into a new one, whose pairs are the recorded ones.

        The recorded pairs of a prompt are the edges of a graph. Its edges are partitioned into
        cliques, and each clique is a prompt of the new pool. Its weight is its share of the old
        prompt's pairs.
        """
        edges: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for x, i, j in self.pairs.tolist():
            edges[x].append((i, j))
        parts = [(x, clique) for x in edges for clique in partition_into_cliques(edges[x])]
        prompts = np.array([x for x, _ in parts])
        sizes = np.array([len(clique) for _, clique in parts])
        completions = np.full((len(parts), sizes.max()), -1)
        completions[np.arange(sizes.max()) < sizes[:, None]] = [
            k for _, part in parts for k in part
        ]
        n_pairs = sizes * (sizes - 1) / 2
        return CompletionIndex(
            prompts, completions, n_pairs / np.bincount(prompts, n_pairs)[prompts]
        )

    def regroup(self, index: CompletionIndex) -> Self:
        """Return the votes on the pairs of a regrouped pool, with their indices in that pool.

        Args:
            index: some rows of :attr:`index`, in any order.
        """
        n, k = index.completions.shape
        i, j = np.triu_indices(k, 1)
        low, high = index.completions[:, i].ravel(), index.completions[:, j].ravel()
        valid = high >= 0  # the empty columns of a row are its last ones
        old = np.stack([np.repeat(index.prompts, len(i)), low, high], axis=1)[valid]
        new = np.stack([np.repeat(np.arange(n), len(i)), np.tile(i, n), np.tile(j, n)], axis=1)
        locations = tuple(self.locations[row] for row in self._row_of(old))
        return type(self)(new[valid], self.votes_on(old), locations)


def read_pair_votes(path: Path, digest: str) -> PairVotes:
    """Read a file of votes.

    Args:
        path: the file.
        digest: SHA-256 of its bytes; the result is cached by path and digest.

    Raises:
        InvalidData: If the file cannot be read, is empty, or a line is invalid, with its number.
    """
    return _read_records(path, digest)


@lru_cache(maxsize=4)
def _read_records(path: Path, _digest: str) -> PairVotes:
    votes: defaultdict[_Pair, list[_NamedVote]] = defaultdict(list)
    first_locations: dict[_Pair, str] = {}
    for row in iter_records(path):
        line = validate_record(_Line, row)
        names: list[Name] | list[None] = line.annotators or [None] * len(line.votes)
        location = first_locations.setdefault(line.pair, row.location)
        earlier = votes[line.pair]
        if earlier and None in (earlier[0][0], names[0]):
            raise InvalidData(
                f"{row.location}: this pair stands in {location}, too. Put its votes into one "
                "line, or name the annotators in both."
            )
        for name, vote in zip(names, line.votes, strict=True):
            _add_vote(earlier, name, vote, line, row, location)
    return tabulate_votes(votes, first_locations)


def _add_vote(
    votes: list[_NamedVote], name: Name | None, vote: float, line: _Line, row: Record, location: str
) -> None:
    """Append a vote to those on its pair, unless the annotator has cast the same vote before.

    Args:
        votes: earlier votes on the pair, for the order ``first < second``.
        name: the annotator, None if anonymous.
        vote: the vote, for the line's order.
        line: the line that holds it.
        row: the same line as it was read.
        location: the pair's first line, for the message.

    Raises:
        InvalidData: If the annotator has cast a different vote on this pair before.
    """
    answer = vote if line.first < line.second else 1 - vote
    earlier = [a for other, a in votes if other == name and name is not None]
    if earlier and earlier[0] != answer:
        annotator = short_repr(name)
        raise InvalidData(
            f"{row.location}: annotator {annotator} votes {vote:g} on completions "
            f"{line.first} and {line.second} of prompt {line.prompt}, but voted otherwise "
            f"in {location}. Leave one of the two votes."
        )
    if not earlier:
        votes.append((name, answer))


def tabulate_votes(
    votes: dict[_Pair, list[_NamedVote]], first_locations: dict[_Pair, str]
) -> PairVotes:
    """Collect the votes on each pair in arrays.

    Args:
        votes: annotators, None if anonymous, and their votes on each pair, ``first < second``.
        first_locations: the line that each pair comes from, for messages.
    """
    pairs = sorted(votes)
    names = sorted({name for on_pair in votes.values() for name, _ in on_pair if name is not None})
    number = {None: -1} | {name: k for k, name in enumerate(names)}
    shape = len(pairs), max(map(len, votes.values()))
    annotators, answers = np.full(shape, -1), np.full(shape, np.nan)
    for row, pair in enumerate(pairs):
        for column, (name, answer) in enumerate(votes[pair]):
            annotators[row, column], answers[row, column] = number[name], answer
    array = np.array(pairs, dtype=np.int64).reshape(-1, 3)
    return PairVotes(
        array, Votes(annotators, answers), tuple(first_locations[pair] for pair in pairs)
    )


def partition_into_cliques(edges: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Partition a graph's edges into cliques, greedily, large ones first.

    Each time, a clique is grown from every node by adding the node that leaves most candidates,
    and the largest one is yielded and its edges removed. It need not be the maximum clique, but
    takes polynomial time.

    Args:
        edges: pairs of nodes.

    Yields:
        Nodes in ascending order; every edge lies in exactly one of the cliques.
    """
    nodes = sorted({node for edge in edges for node in edge})
    index = {node: k for k, node in enumerate(nodes)}
    neighbours = [0] * len(nodes)  # bit masks
    for i, j in edges:
        neighbours[index[i]] |= 1 << index[j]
        neighbours[index[j]] |= 1 << index[i]
    while any(neighbours):
        largest: list[int] = []
        for start, mask in enumerate(neighbours):
            if mask.bit_count() >= len(largest):
                clique = _grow_clique(start, neighbours)
                largest = clique if len(clique) > len(largest) else largest
        members = sum(1 << k for k in largest)
        for k in largest:
            neighbours[k] &= ~members
        yield [nodes[k] for k in sorted(largest)]


def _grow_clique(start: int, neighbours: list[int]) -> list[int]:
    """Grow a clique from a node, each time by the candidate with most neighbouring candidates."""
    clique, candidates = [start], neighbours[start]
    while candidates:
        nodes = (k for k in range(candidates.bit_length()) if candidates >> k & 1)
        best = max(nodes, key=lambda k: ((neighbours[k] & candidates).bit_count(), -k))
        clique.append(best)
        candidates &= neighbours[best]
    return clique
