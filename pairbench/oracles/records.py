"""Votes that people gave: reading them, and a pool in which every pair has some.

A file of votes is JSONL, one line a pair, whose completions stand at these places of the pool:

    {"prompt": 0, "first": 3, "second": 1, "votes": [1, 0, 0.5], "annotators": ["ann", "bo", "cy"]}

A vote is 1 if the first is better, 0 if the second is, and 0.5 for a tie. ``annotators`` may be
left out; they are then one to whoever looks at single votes.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PlainValidator, model_validator

from pairbench.annotation.labels import Name
from pairbench.annotation.rows import read_rows, short, validated
from pairbench.errors import InvalidData, NotRecorded
from pairbench.pool import Pairs, Pool, Rows, what_is_wrong
from pairbench.votes import Votes

Array = NDArray[np.float64]


def _vote(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 0.5, 1):
        return float(value)
    raise ValueError("expected 1 (the first is better), 0 (the second) or 0.5 (a tie)")


_Place = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class _Line(BaseModel):
    prompt: _Place
    first: _Place
    second: _Place
    votes: Annotated[list[Annotated[float, PlainValidator(_vote)]], Field(min_length=1)]
    annotators: list[Name] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "_Line":
        if self.first == self.second:
            raise ValueError(f"expected two completions, got {self.first} twice")
        if self.annotators is not None and len(self.annotators) != len(self.votes):
            raise ValueError(
                f"expected an annotator for each vote, got {len(self.annotators)} for "
                f"{len(self.votes)} votes"
            )
        return self


@dataclass(frozen=True, eq=False)
class Records:
    """Votes on pairs of a pool.

    Attributes:
        pairs: ``(m, 3)``, each once, ``first < second``, in ascending order.
        votes: on them, ``(m, v)``; each pair has one at least.
        places: where each stands in a file, for messages.
    """

    pairs: Pairs
    votes: Votes
    places: tuple[str, ...]

    def check(self, pool: Pool) -> None:
        """Make sure that the pool has these pairs.

        Raises:
            InvalidData: With the place of the first one that it does not have.
        """
        if (bad := np.flatnonzero(~pool.proper(self.pairs))).size:
            row = int(bad[0])
            raise InvalidData(f"{self.places[row]}: {what_is_wrong(self.pairs[row], pool)}")

    def votes_on(self, pairs: Pairs) -> Votes:
        """The votes on these questions, ``(n, v)``, turned as they are asked.

        Args:
            pairs: ``(n, 3)``.

        Raises:
            NotRecorded: If there are none on one of them.
        """
        row, turned = self._row_of(pairs), pairs[:, 1] > pairs[:, 2]
        answers = self.votes.answers[row]
        answers = np.where(turned[:, None], 1 - answers, answers)
        return Votes(self.votes.annotators[row], answers)

    def _row_of(self, pairs: Pairs) -> NDArray[np.int64]:
        """Where each pair is recorded, ``(n,)``, whichever way round it is."""
        low, high = pairs[:, 1:].min(axis=1), pairs[:, 1:].max(axis=1)
        base = int(max(self.pairs.max(), pairs.max(initial=0))) + 1
        number = (pairs[:, 0] * base + low) * base + high
        known = (self.pairs[:, 0] * base + self.pairs[:, 1]) * base + self.pairs[:, 2]
        row: NDArray[np.int64] = np.minimum(np.searchsorted(known, number), len(known) - 1)
        if (bad := np.flatnonzero(known[row] != number)).size:
            x, i, j = pairs[bad[0]].tolist()
            raise NotRecorded(
                f"nobody compared completions {i} and {j} of prompt {x}: there are votes on "
                f"{len(known)} pairs alone. Ask only pairs of the world's own pool."
            )
        return row

    @cached_property
    def rows(self) -> Rows:
        """Completions as rows in which every pair was recorded, and each recorded pair once.

        The recorded pairs of a prompt are the edges of a graph; each row is a set of completions
        that were all compared with one another, a clique of it. The largest clique that greedy
        growth finds comes first, then the largest of the edges that are left, and so on. Weights
        are the rows' shares of their prompt's pairs.
        """
        edges: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for x, i, j in self.pairs.tolist():
            edges[x].append((i, j))
        found = [(x, clique) for x in edges for clique in cliques(edges[x])]
        prompts = np.array([x for x, _ in found])
        sizes = np.array([len(clique) for _, clique in found])
        completions = np.full((len(found), sizes.max()), -1)
        completions[np.arange(sizes.max()) < sizes[:, None]] = [k for _, row in found for k in row]
        pairs = sizes * (sizes - 1) / 2
        return Rows(prompts, completions, pairs / np.bincount(prompts, pairs)[prompts])

    def over(self, rows: Rows) -> "Records":
        """The votes on the pairs of rows.

        Args:
            rows: some of :attr:`rows`, in any order.
        """
        n, k = rows.completions.shape
        i, j = np.triu_indices(k, 1)
        low, high = rows.completions[:, i].ravel(), rows.completions[:, j].ravel()
        there = high >= 0  # what is empty comes last
        old = np.stack([np.repeat(rows.prompts, len(i)), low, high], axis=1)[there]
        new = np.stack([np.repeat(np.arange(n), len(i)), np.tile(i, n), np.tile(j, n)], axis=1)
        places = tuple(self.places[row] for row in self._row_of(old))
        return Records(new[there], self.votes_on(old), places)


def read_records(path: Path, digest: str) -> Records:
    """The votes of a file.

    Args:
        path: the file.
        digest: SHA-256 of its bytes, so that a file that has changed is read again.

    Raises:
        InvalidData: If it cannot be read, is empty, or a line is no votes on a pair, with its
            number.
    """
    return _read_records(path, digest)


@lru_cache(maxsize=4)
def _read_records(path: Path, _digest: str) -> Records:
    given: defaultdict[tuple[int, int, int], list[tuple[Name | None, float]]] = defaultdict(list)
    places: dict[tuple[int, int, int], str] = {}
    for row in read_rows(path):
        line = validated(_Line, row)
        pair = line.prompt, min(line.first, line.second), max(line.first, line.second)
        names: list[Name] | list[None] = line.annotators or [None] * len(line.votes)
        before = given[pair]
        if before and None in (before[0][0], names[0]):
            raise InvalidData(
                f"{row.place}: this pair stands in {places[pair]}, too. Put its votes into one "
                "line, or say of both who the annotators are."
            )
        places.setdefault(pair, row.place)
        for name, vote in zip(names, line.votes, strict=True):
            answer = vote if line.first < line.second else 1 - vote
            earlier = [a for who, a in before if who == name and name is not None]
            if earlier and earlier[0] != answer:
                raise InvalidData(
                    f"{row.place}: annotator {short(name)} votes {vote:g} on completions "
                    f"{line.first} and {line.second} of prompt {line.prompt}, but voted otherwise "
                    f"in {places[pair]}. Leave one of the two votes."
                )
            if not earlier:
                before.append((name, answer))
    return recorded(given, places)


def recorded(
    given: dict[tuple[int, int, int], list[tuple[Name | None, float]]],
    places: dict[tuple[int, int, int], str],
) -> Records:
    """Records of the votes on each pair.

    Args:
        given: annotators, None where unknown, and their votes on each pair, ``first < second``.
        places: where each pair stands, for messages.
    """
    pairs = sorted(given)
    names = sorted({name for votes in given.values() for name, _ in votes if name is not None})
    number = {None: -1} | {name: k for k, name in enumerate(names)}
    shape = len(pairs), max(map(len, given.values()))
    annotators, answers = np.full(shape, -1), np.full(shape, np.nan)
    for row, pair in enumerate(pairs):
        for column, (name, answer) in enumerate(given[pair]):
            annotators[row, column], answers[row, column] = number[name], answer
    found = np.array(pairs, dtype=np.int64).reshape(-1, 3)
    return Records(found, Votes(annotators, answers), tuple(places[pair] for pair in pairs))


def cliques(edges: list[tuple[int, int]]) -> Iterator[list[int]]:
    """A graph's edges, parted into cliques, large ones first.

    Each time, a clique is grown from every node by the node that leaves most candidates, and the
    largest one is taken. That need not be the largest there is, but takes polynomial time.

    Args:
        edges: pairs of nodes.

    Yields:
        Nodes in ascending order; every edge lies in exactly one of the cliques.
    """
    nodes = sorted({node for edge in edges for node in edge})
    place = {node: k for k, node in enumerate(nodes)}
    near = [0] * len(nodes)  # the neighbours of each node, as bits
    for i, j in edges:
        near[place[i]] |= 1 << place[j]
        near[place[j]] |= 1 << place[i]
    while any(near):
        best: list[int] = []
        for start, bits in enumerate(near):
            if bits.bit_count() >= len(best):
                grown = _grown(start, near)
                best = grown if len(grown) > len(best) else best
        taken = sum(1 << k for k in best)
        for k in best:
            near[k] &= ~taken
        yield [nodes[k] for k in sorted(best)]


def _grown(start: int, near: list[int]) -> list[int]:
    clique, left = [start], near[start]
    while left:
        candidates = (k for k in range(left.bit_length()) if left >> k & 1)
        chosen = max(candidates, key=lambda k: ((near[k] & left).bit_count(), -k))
        clique.append(chosen)
        left &= near[chosen]
    return clique
