"""Votes in files: what is read, what is refused, and the pools that they make."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pairbench import Pool
from pairbench.errors import InvalidData, NotRecorded
from pairbench.oracles.pair_votes import (
    PairVotes,
    partition_into_cliques,
    read_pair_votes,
    tabulate_votes,
)

Write = Callable[..., Path]
Line = dict[str, Any]
EDGES = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] < e[1]))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file of these lines."""

    def make(*lines: Line | str, name: str = "votes.jsonl") -> Path:
        path = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts), encoding="utf-8")
        return path

    return make


def line(prompt: Any, first: Any, second: Any, votes: Any, annotators: Any = None) -> Line:
    pair = {"prompt": prompt, "first": first, "second": second, "votes": votes}
    return pair if annotators is None else {**pair, "annotators": annotators}


def read(path: Path) -> PairVotes:
    return read_pair_votes(path, str(path.stat().st_mtime_ns))


def test_votes_are_read_as_they_stand(write: Write) -> None:
    found = read(
        write(
            line(2, 3, 1, [1, 0, 0.5], ["cy", "ann", 7]),
            "",
            line(0, 0, 2, [0.0], ["ann"]),
            line(2, 1, 3, [1, 0], ["ann", "bo"]),
        )
    )
    assert found.pairs.tolist() == [[0, 0, 2], [2, 1, 3]]
    # Names in order: 7, ann, bo, cy; the answers are the lower completion's.
    assert found.votes.annotators[0, 0] == 1
    assert found.votes.annotators[1].tolist() == [3, 1, 0, 2]
    np.testing.assert_array_equal(found.votes.answers[0], [0, *[np.nan] * 3])
    np.testing.assert_array_equal(found.votes.answers[1], [0, 1, 0.5, 0])


def test_nobody_knows_who_voted(write: Write) -> None:
    found = read(write(line(0, 0, 1, [1, 0]), line(0, 0, 2, [1])))
    np.testing.assert_array_equal(found.votes.annotators, -1)


def test_a_vote_that_comes_twice_is_counted_once(write: Write) -> None:
    again = line(0, 1, 0, [0, 0.5], ["ann", "bo"])
    found = read(write(line(0, 0, 1, [1, 0.5], ["ann", "bo"]), again))
    np.testing.assert_array_equal(found.votes.answers, [[1, 0.5]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty: it holds no record"),
        (["", "  "], "is empty"),
        ([line(0, 0, 1, [1]), '{"prompt": 0,'], r"line 2: this is no JSON \(.* at column"),
        (["[1, 2]"], r"item 1: expected a list of JSON objects, got 1"),
        ([line(0, 0, 1, [1]), "7"], "line 2: expected one JSON object a line, got 7"),
        ([line(0, 1, 1, [1])], "line 1: expected two completions, got 1 twice"),
        ([line(-1, 0, 1, [1])], "field 'prompt': expected zero or more, got -1"),
        ([line(0, 0.5, 1, [1])], "field 'first': expected a valid integer, got 0.5"),
        ([line(0, 0, True, [1])], "field 'second': expected a valid integer, got True"),
        ([line(0, 0, "1", [1])], "field 'second': expected a valid integer, got '1'"),
        ([line(0, 0, 2**40, [1])], "field 'second': expected less than 2147483648"),
        ([line(0, 0, 1, [])], "field 'votes'"),
        ([line(0, 0, 1, 1)], "field 'votes': expected a"),
        ([line(0, 0, 1, [1, 2])], r"field 'votes\[1\]': expected 1 .*, 0 .* or 0.5 .*, got 2"),
        ([line(0, 0, 1, [0.7])], r"field 'votes\[0\]': expected 1 .*got 0.7"),
        ([line(0, 0, 1, [None])], r"field 'votes\[0\]': expected 1 .*got None"),
        ([line(0, 0, 1, [True])], r"field 'votes\[0\]': expected 1 .*got True"),
        ([line(0, 0, 1, ["1"])], r"field 'votes\[0\]': expected 1 .*got '1'"),
        ([line(0, 0, 1, [float("nan")])], r"field 'votes\[0\]': expected 1 .*got nan"),
        ([{"prompt": 0, "first": 0, "second": 1}], "field 'votes' is missing"),
        ([line(0, 0, 1, [1, 1], ["ann"])], "expected an annotator for each vote, got 1 for 2"),
        ([line(0, 0, 1, [1], [])], "expected an annotator for each vote, got 0 for 1"),
        ([line(0, 0, 1, [1], [None])], r"field 'annotators\[0\]'"),
        (
            [line(0, 0, 1, [1], ["ann"]), line(3, 0, 1, [1]), line(0, 1, 0, [1], ["ann"])],
            r"line 3: annotator 'ann' votes 1 on completions 1 and 0 of prompt 0, but voted "
            r"otherwise in .*line 1\. Leave one",
        ),
        ([line(0, 0, 1, [1, 0], ["ann", "ann"])], "line 1: annotator 'ann' votes 0 .*otherwise"),
        (
            [line(0, 0, 1, [1]), line(0, 1, 0, [1])],
            r"line 2: this pair stands in .*line 1, too\. Put its votes into one line, or name",
        ),
        ([line(0, 0, 1, [1], ["ann"]), line(0, 0, 1, [1])], "line 2: this pair stands in"),
        ([line(0, 0, 1, [1]), line(0, 0, 1, [1], ["ann"])], "line 2: this pair stands in"),
    ],
)
def test_a_file_that_is_no_votes_is_refused_with_the_line(
    write: Write, lines: list[Line | str], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        read(write(*lines))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(InvalidData, match=r"line 1: byte 13 is no UTF-8"):
        read_pair_votes(tmp_path / "votes.jsonl", "")
    with pytest.raises(InvalidData, match="cannot read"):
        read_pair_votes(tmp_path / "none.jsonl", "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (line(0, 0, 4, [1]), "line 2: completion 4 is outside the pool, which has .* 0 to 3"),
        (line(5, 0, 1, [1]), "line 2: prompt 5 is outside the pool, which has prompts 0 to 4"),
        (line(1, 3, 0, [1]), "line 2: completion 3 of prompt 1 is not valid"),
    ],
)
def test_a_pair_that_the_pool_does_not_have_is_refused(
    write: Write, given: Line, message: str
) -> None:
    valid = np.ones((5, 4), dtype=np.bool_)
    valid[1, 3] = False
    records = read(write(line(0, 0, 1, [1]), given))
    with pytest.raises(InvalidData, match=message):
        records.check(Pool(np.ones((5, 4, 2)), valid=valid))


def test_a_pair_that_nobody_compared_is_refused(write: Write) -> None:
    records = read(write(line(0, 0, 1, [1]), line(2, 1, 2, [0])))
    for pair in ([0, 0, 2], [1, 0, 1], [2, 0, 1], [9, 8, 7]):
        with pytest.raises(NotRecorded, match=f"nobody compared completions {pair[1]} and"):
            records.votes_on(np.array([[0, 1, 0], pair]))
    assert records.votes_on(np.empty((0, 3), dtype=np.int64)).answers.shape == (0, 1)


# -- cliques -------------------------------------------------------------------------------------


@given(EDGES)
def test_every_edge_lies_in_one_clique(edges: set[tuple[int, int]]) -> None:
    found = list(partition_into_cliques(sorted(edges)))
    covered = [pair for clique in found for pair in combinations(clique, 2)]
    assert len(covered) == len(set(covered)) == len(edges)
    assert set(covered) == edges
    assert all(clique == sorted(clique) for clique in found)


@given(EDGES, st.randoms())
def test_the_order_of_the_edges_does_not_matter(edges: set[tuple[int, int]], random: Any) -> None:
    shuffled = [edge if random.random() < 0.5 else edge[::-1] for edge in edges]
    random.shuffle(shuffled)
    assert list(partition_into_cliques(shuffled)) == list(partition_into_cliques(sorted(edges)))


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([], []),
        (list(combinations(range(7), 2)), [[0, 1, 2, 3, 4, 5, 6]]),
        ([(0, 1), (1, 2), (2, 3)], [[0, 1], [1, 2], [2, 3]]),
        # A triangle that hangs on a square of four.
        ([*combinations([1, 2, 5, 9], 2), (5, 6), (6, 7), (5, 7)], [[1, 2, 5, 9], [5, 6, 7]]),
    ],
)
def test_large_cliques_come_first(edges: list[tuple[int, int]], expected: list[list[int]]) -> None:
    assert list(partition_into_cliques(edges)) == expected


# -- pools ---------------------------------------------------------------------------------------


def test_the_rows_share_weights_and_hold_the_recorded_pairs_alone(write: Write) -> None:
    rng = np.random.default_rng(0)
    pool = Pool(
        rng.normal(size=(4, 5, 3)),
        log_ref=rng.normal(size=(4, 5)),
        lengths=rng.integers(1, 9, size=(4, 5)),
        prompt_weights=[1, 2, 3, 4],
        texts=[[f"{x} {k}" for k in range(5)] for x in range(4)],
        scores=rng.normal(size=(4, 5)),
    )
    # Of prompt 1 a triangle and an edge that hangs on it; of prompt 3 one edge.
    edges = [(1, 4, 0), (1, 0, 2), (1, 2, 4), (1, 2, 3), (3, 4, 1)]
    records = read(write(*(line(*edge, [1, 0.5]) for edge in edges)))
    rows = records.index
    np.testing.assert_allclose(rows.weights, [3 / 4, 1 / 4, 1])
    assert rows.prompts.tolist() == [1, 1, 3]
    assert rows.completions.tolist() == [[0, 2, 4], [2, 3, -1], [1, 4, -1]]
    small = pool.regroup(rows)
    assert small.n_pairs == len(edges)
    np.testing.assert_array_equal(small.valid, rows.completions >= 0)
    for row, (x, completions) in enumerate(
        zip([1, 1, 3], [[0, 2, 4], [2, 3], [1, 4]], strict=True)
    ):
        there = slice(len(completions))
        for name in ("features", "lengths", "scores"):
            np.testing.assert_array_equal(
                getattr(small, name)[row, there], getattr(pool, name)[x, completions]
            )
        ref = np.exp(pool.log_ref[x, completions])
        np.testing.assert_allclose(np.exp(small.log_ref[row, there]), ref / ref.sum())
        assert small.texts is not None
        assert small.texts[row] == tuple(f"{x} {k}" for k in completions) + ("",) * (3 - there.stop)
    # And the votes go with them: the higher completion of each of these edges but two lost.
    again = records.regroup(rows)
    assert again.pairs.tolist() == [[0, 0, 1], [0, 0, 2], [0, 1, 2], [1, 0, 1], [2, 0, 1]]
    np.testing.assert_array_equal(again.votes.answers[:, 0], [1, 0, 1, 1, 0])
    assert [place.rpartition(" ")[2] for place in again.locations] == ["2", "1", "3", "4", "5"]


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_each_pair_of_the_new_pool_is_recorded_once(asked: set[tuple[int, int, int]]) -> None:

    pairs = {(x, min(i, j), max(i, j)) for x, i, j in asked if i != j}
    if not pairs:
        return
    given_ = {pair: [("ann", float(hash(pair) % 2))] for pair in pairs}
    records = tabulate_votes(given_, dict.fromkeys(pairs, ""))  # type: ignore[arg-type]
    pool = Pool(np.random.default_rng(0).normal(size=(4, 6, 2)))
    rows = records.index
    small, again = pool.regroup(rows), records.regroup(rows)
    np.testing.assert_array_equal(again.pairs, np.argwhere(small.pair_mask))
    old = np.stack(
        [
            rows.prompts[again.pairs[:, 0]],
            rows.completions[again.pairs[:, 0], again.pairs[:, 1]],
            rows.completions[again.pairs[:, 0], again.pairs[:, 2]],
        ],
        axis=1,
    )
    assert sorted(map(tuple, old.tolist())) == sorted(pairs)
    expected = [given_[x, i, j][0][1] for x, i, j in old.tolist()]
    np.testing.assert_array_equal(again.votes.answers[:, 0], expected)
