"""Pages that show commands show what these print."""

import importlib.util
import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["annotation.md"])
def test_a_page_shows_what_its_commands_print(root: Path, tmp_path: Path, page: str) -> None:
    spec = importlib.util.spec_from_file_location("refresh", root / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)
    shown = (root / "docs" / page).read_text()
    assert shown.count("\n$ ") > 5
    printed = refresh.refreshed(shown, tmp_path)
    # The last digits may differ from machine to machine.
    assert _without_numbers(printed) == _without_numbers(shown)


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.,]*", "#", text)
