"""The gaps that the compare page loads."""

import json
from pathlib import Path

import pytest

from pairbench.boards.entry import BoardEntry
from pairbench.site.gaps import gaps_script
from tests.site.generated_boards import make_board, make_entry


@pytest.fixture
def entry(tmp_path: Path) -> BoardEntry:
    return make_entry(make_board(tmp_path, seeds=3), "uniform", 1.0)


def test_the_compare_pages_script_hands_over_the_gaps(entry: BoardEntry) -> None:
    design = entry.design.model_copy(update={"label": "</script>\u2028"})
    text = gaps_script(entry.model_copy(update={"design": design})).decode()
    assert "<" not in text
    start, end = "pairbench.receive(", ");\n"
    assert text.startswith(start)
    assert text.endswith(end)
    content = json.loads(text.removeprefix(start).removesuffix(end))
    assert (content["slug"], content["name"]) == ("uniform", "</script>\u2028")
    assert [tuple(map(tuple, c["gaps"])) for c in content["curves"]] == [
        c.gaps for c in entry.curves
    ]
