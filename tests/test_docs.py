"""Pages that show commands show what these print."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pairbench.oracles.annotators import annotator_names
from pairbench.registry import design_names


@pytest.fixture
def refreshed(root: Path, tmp_path: Path) -> Callable[[str], str]:
    """What a page would be if it were written now."""
    spec = importlib.util.spec_from_file_location("refresh", root / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)

    def page(shown: str) -> str:
        now: str = refresh.refreshed(shown, tmp_path)
        return now

    return page


@pytest.mark.parametrize(
    "page", ["annotation.md", pytest.param("query.md", marks=pytest.mark.slow)]
)
def test_a_page_shows_what_its_commands_print(
    root: Path, refreshed: Callable[[str], str], page: str
) -> None:
    shown = (root / "docs" / page).read_text()
    assert shown.count("\n$ ") > 5
    # The last digits may differ from machine to machine.
    assert _without_numbers(refreshed(shown)) == _without_numbers(shown)


def test_the_page_of_annotators_is_current(root: Path, refreshed: Callable[[str], str]) -> None:
    shown = (root / "docs" / "annotators.md").read_text()
    command = "python docs/refresh.py docs/annotators.md"
    assert _without_numbers(refreshed(shown)) == _without_numbers(shown), command
    for name in annotator_names():
        assert f"[{name}](#{name})" in shown
        assert f"\n### {name}\n" in shown


def test_the_page_of_designs_is_current(root: Path, refreshed: Callable[[str], str]) -> None:
    shown = (root / "docs" / "designs.md").read_text()
    assert refreshed(shown) == shown, "python docs/refresh.py docs/designs.md"
    for name in design_names():
        assert f"[{name}](#{name})" in shown
        assert f"\n### {name}\n" in shown
    for link in re.findall(r"\]\(\.\./(\S+?)\)", shown):
        assert (root / link).exists(), link


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.,]*", "#", text)
