"""Pages that show commands show what these print."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pairbench.design.registry import design_names
from pairbench.oracles.annotators import annotator_names


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
    content = (root / "docs" / page).read_text()
    assert content.count("\n$ ") > 5
    # The last digits may differ from machine to machine.
    assert _without_numbers(refreshed(content)) == _without_numbers(content)


@pytest.mark.slow
def test_the_page_of_annotators_is_current(root: Path, refreshed: Callable[[str], str]) -> None:
    content = (root / "docs" / "annotators.md").read_text()
    command = "python docs/refresh.py docs/annotators.md"
    assert _without_numbers(refreshed(content)) == _without_numbers(content), command
    for name in annotator_names():
        assert f"[{name}](#{name})" in content
        assert f"\n### {name}\n" in content


def test_the_page_of_designs_is_current(root: Path, refreshed: Callable[[str], str]) -> None:
    content = (root / "docs" / "designs.md").read_text()
    assert refreshed(content) == content, "python docs/refresh.py docs/designs.md"
    for name in design_names():
        assert f"[{name}](#{name})" in content
        assert f"\n### {name}\n" in content
    for link in re.findall(r"\]\(\.\./(\S+?)\)", content):
        assert (root / link).exists(), link


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.,]*", "#", text)
