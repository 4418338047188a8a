"""Entries: valid and malformed ones, and their round trip through files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pairbench.boards.entry import (
    LEVELS,
    MAX_ENTRY_BYTES,
    BoardEntry,
    read_entry,
    round_figure,
    write_entry,
)
from pairbench.cells.plan import LAST_VERSIONS, PROTOCOL, UNSTATED
from pairbench.errors import InvalidSubmission

GOOD: dict[str, Any] = {
    "board": "small-v1",
    "board_digest": "0" * 64,
    "design": {
        "name": "greedy-d",
        "params": {},
        "source": "1" * 64,
        "label": "greedy-d",
        "slug": "greedy-d",
        "summary": "Each next pair raises log det(λI + Σ w z zᵀ) most; σ² and ½ are as they are.",
    },
    "author": "Ada Lovelace",
    "link": "https://example.org/paper?a=1#b",
    "date": "2026-01-31",
    "versions": {"pairbench": "0.1.0"},
    "machine": "Linux, 2 cores",
    "bundle": "2" * 64,
    "curves": [
        {
            "environment": "pairbench/LogLinear-v1",
            "unit": "labels",
            "budgets": [10, 20],
            "seeds": [0, 1, 2],
            "gaps": [[0.5, 0.25], [0.4, 0.2], [0.3, 0]],
            "spent": [10, 20],
            "start": 1.5,
            "floor": 0.0,
            "efficiency": 0.5,
            "win_rate": 0.75,
            "seconds": 0.125,
            "memory": 1024,
        }
    ],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the good entry with another value in one field, such as ``"design.name"``."""
    content: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    parent: Any = content
    for name in parents:
        parent = parent[int(name) if name.isdigit() else name]
    parent[int(last) if last.isdigit() else last] = value
    return content


def read(content: Any) -> BoardEntry:
    return read_entry(json.dumps(content).encode(), "mine.json")


def test_an_entry_survives_being_written_and_read(tmp_path: Path) -> None:
    entry = read(GOOD)
    assert (entry.level, entry.division, entry.design.control) == ("claimed", "closed", False)
    assert entry.curves[0].gaps[2] == (0.3, 0.0)
    assert set(LEVELS) == {"claimed", "recomputed", "reproduced"}
    write_entry(entry, tmp_path / "greedy-d.json")
    data = (tmp_path / "greedy-d.json").read_bytes()
    assert data == entry.to_bytes()
    assert read_entry(data, "greedy-d.json") == entry


def test_a_verified_entry_has_the_level_of_its_verification() -> None:
    verification = {"level": "reproduced", "date": "2026-02-01", "pairbench": "0.1.0", "cells": 240}
    entry = read(changed("verification", verification))
    assert entry.level == "reproduced"
    assert entry.verification is not None
    assert entry.verification.date.isoformat() == "2026-02-01"


def test_an_entry_of_an_earlier_protocol_names_the_version_that_can_compute_it() -> None:
    earlier = read(GOOD)
    assert (earlier.protocol, earlier.required_version) == (UNSTATED, "0.1.0")
    assert read(GOOD | {"versions": {"pairbench": "0.0.9"}}).required_version == "0.0.9"
    assert read(GOOD | {"versions": {}}).required_version == LAST_VERSIONS[UNSTATED] == "0.1.0"
    verification = {"level": "recomputed", "date": "2026-02-01", "pairbench": "0.1.1", "cells": 240}
    assert read(GOOD | {"verification": verification}).required_version == "0.1.1"
    current = GOOD | {
        "protocol": PROTOCOL,
        "verification": verification | {"pairbench": "0.2.0"},
    }
    assert read(current).required_version is None
    assert read(json.loads(read(current).to_bytes())).protocol == PROTOCOL


BAD = [
    ("protocol", 2, "protocol: .*greater than or equal to 3"),
    ("protocol", "4", "protocol: .*valid integer"),
    ("author", "", "author"),
    ("author", "Аda\u202eecalevoL", "author: .*printable text on one line"),
    ("author", "two\nlines", "author: .*printable"),
    ("author", "ﬁne", "author: .*NFKC"),
    ("design.label", "a\u200bb", "design.label: .*printable"),
    ("design.slug", "../../etc/passwd", "design.slug"),
    ("design.slug", "Greedy", "design.slug"),
    ("design.source", "1234", "design.source"),
    ("design.other", 1, "design.other: Extra"),
    ("link", "javascript:alert(1)", "link: .*https"),
    ("link", 'https://a.b/"onclick=1', "link: .*https"),
    ("link", "https://a.b/<script>", "link: .*https"),
    ("board_digest", "0" * 63, "board_digest"),
    ("date", "yesterday", "date"),
    ("division", "open", "open division, and no other, declares changes"),
    ("changes", {"trainer": "ipo"}, "open division, and no other, declares changes"),
    ("curves", [], "curves"),
    ("curves.0.gaps", [[0.5, 0.25], [0.4, 0.2]], "gaps must be 3 rows of 2"),
    ("curves.0.gaps", [[0.5], [0.4], [0.3]], "gaps must be 3 rows of 2"),
    ("curves.0.gaps.0.0", -0.1, "curves.0.gaps.0.0: .*greater than or equal to 0"),
    ("curves.0.gaps.0.0", "0.5", "curves.0.gaps.0.0: .*valid number"),
    ("curves.0.gaps.0.0", None, "curves.0.gaps.0.0"),
    ("curves.0.gaps.0.0", True, "curves.0.gaps.0.0"),
    ("curves.0.seeds", [0, 1, 1], "a seed occurs twice"),
    ("curves.0.seeds", [0, 1, 2**32], "curves.0.seeds.2"),
    ("curves.0.budgets", [20, 10], "budgets must increase"),
    ("curves.0.spent", [20, 10], "spent must be 2 numbers that do not decrease"),
    ("curves.0.unit", "hours", "curves.0.unit"),
    ("format", 2, "format"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_a_malformed_entry_is_refused_and_its_field_named(
    field: str, value: Any, message: str
) -> None:
    with pytest.raises(InvalidSubmission, match=f"(?s)mine.json: .*{message}"):
        read(changed(field, value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no JSON"),
        (b"[1, 2]", "mine.json: the whole"),
        (b"\xff\xfe", "no JSON"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": Infinity}', "Infinity is no finite number"),
        (b'{"a": 1e999}', "1e999 is beyond float64"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too large a number"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b"[" * 20_000 + b"]" * 20_000, "nested too deeply"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b" " * (MAX_ENTRY_BYTES + 1), "where an entry may have 50,000"),
    ],
)
def test_malformed_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InvalidSubmission, match=message):
        read_entry(text, "mine.json")


def test_an_entry_that_is_too_large_is_not_written(tmp_path: Path) -> None:
    gaps = [[1 / (7 + seed), 1 / (8 + seed)] for seed in range(4000)]
    content = changed("curves.0.gaps", gaps)
    content["curves"][0]["seeds"] = list(range(4000))
    entry = BoardEntry.model_validate_json(json.dumps(content))
    with pytest.raises(InvalidSubmission, match="where an entry may have 50,000"):
        write_entry(entry, tmp_path / "mine.json")
    assert not list(tmp_path.iterdir())


@given(st.floats(1e-12, 1e12))
def test_rounding_keeps_six_digits_and_is_idempotent(value: float) -> None:
    assert round_figure(value) == pytest.approx(value, rel=5.1e-6)
    assert round_figure(round_figure(value)) == round_figure(value)
