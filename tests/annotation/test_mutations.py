"""Random mutations of users' files: an error of our own or a correct reading, never a traceback."""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pairbench.annotation.answers import read_answers
from pairbench.errors import PairbenchError
from pairbench.pool.corpus import read_corpus

EXPORTS = sorted((Path(__file__).parent / "exports").iterdir())
CHAT = [{"role": "user", "content": "Q"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
POOLS: list[list[dict[str, Any]]] = [
    [
        {"prompt_id": 1, "prompt": "Q", "completions": ["a", "b"], "models": ["m", "n"]},
        {"prompt_id": 2, "prompt": "Q", "completions": [{"text": "a", "embedding": [1, 2]}, "c"]},
    ],
    [
        {"system": "S", "prompt": "Q", "chosen": "a", "rejected": "b", "score_chosen": 1.0},
        {"history": [["x", "y"]], "prompt": "Q", "chosen": "a", "rejected": "b"},
        {"images": ["x.png"], "prompt": CHAT, "chosen": "a", "rejected": "b"},
    ],
    [
        {"chosen": [*CHAT, {"role": "assistant", "content": "a"}], "rejected": CHAT},
        {"prompt": CHAT, "chosen": "a", "rejected": [{"role": "assistant", "tool_calls": [CALL]}]},
    ],
    [{"prompt": "Q", "output": "a", "model": "m"}, {"prompt": "Q", "output": "b", "logp": -1.5}],
    [{"messages": [*CHAT, {"role": "assistant", "content": "a"}], "rejected_response": "b"}],
    [{"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"}],
]
VALUES: list[Any] = [
    *(None, "", 0, -1, 1.5, True, [], {}, [[]], [{}], [None], {"a": 1}, "a", "[1", "\ud800"),
    *({"text": ["a", "b"]}, CHAT, [{"role": "user"}], [{"role": 1, "content": "a"}]),
    *([{"role": "user", "content": [{"type": "image"}]}], float("nan"), float("inf"), 10**400),
]
pytestmark = pytest.mark.slow
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "delete", "double"])),
    min_size=1,
    max_size=4,
)
fuzz = settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value within JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def mutate(rows: list[Any], changes: list[tuple[float, str]], values: list[Any]) -> list[Any]:
    """Change values of JSON at relative positions."""
    rows = copy.deepcopy(rows)
    for (position, kind), new in zip(changes, values, strict=True):
        paths = list(places(rows))
        if not paths:
            break
        *parents, key = paths[int(position * len(paths))]
        parent: Any = rows
        for step in parents:
            parent = parent[step]
        if kind == "set":
            parent[key] = copy.deepcopy(new)
        elif kind == "delete":
            del parent[key]
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[f"{key}_2"] = copy.deepcopy(parent[key])
    return rows


@fuzz
@given(data=st.data(), rows=st.sampled_from(POOLS), changes=edits)
def test_mutated_pool_files_are_read_or_refused(
    tmp_path: Path, data: st.DataObject, rows: list[Any], changes: list[tuple[float, str]]
) -> None:
    values = [data.draw(st.sampled_from(VALUES)) for _ in changes]
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(mutate(rows, changes, values)))
    try:
        corpus = read_corpus(path)
    except PairbenchError:
        return
    for comparison in corpus.comparisons:
        assert comparison.first != comparison.second
    # Everything that is printed and exported can be rendered.
    assert all(len({c.digest for c in p.candidates}) == p.distinct for p in corpus.prompts)
    assert [prompt.text for prompt in corpus.prompts]
    assert len(corpus.texts) == len(corpus.candidates)
    json.dumps(corpus.unused)


@fuzz
@given(
    file=st.sampled_from([path for path in EXPORTS if path.suffix == ".json"]),
    changes=edits,
    data=st.data(),
)
def test_mutated_exports_answer_no_other_questions(
    tmp_path: Path, data: st.DataObject, file: Path, changes: list[tuple[float, str]]
) -> None:
    values = [data.draw(st.sampled_from(VALUES)) for _ in changes]
    content = file.read_text()
    path = tmp_path / file.name
    path.write_text(json.dumps(mutate(json.loads(content), changes, values)))
    try:
        answers = read_answers(path)
    except PairbenchError:
        return
    assert all(label.id in content for label in answers.labels)


@fuzz
@given(
    file=st.sampled_from(EXPORTS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1),
)
def test_files_with_changed_bytes_are_read_or_refused(
    tmp_path: Path, file: Path, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(file.read_bytes())
    for position, byte in changes:
        content[int(position * len(content))] = byte
    path = tmp_path / file.name
    path.write_bytes(content)
    with contextlib.suppress(PairbenchError):
        read_answers(path)
