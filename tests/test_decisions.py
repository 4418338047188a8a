"""The decisions are listed, whole, and about code that exists."""

import ast
import re
from pathlib import Path

import pytest

SECTIONS = ["Context", "Decision", "Consequence"]
# Names of other projects that decisions mention.
FOREIGN = re.compile(r"(faulthandler|os|torch|wrapt)\.|DPOTrainer")


@pytest.fixture(scope="module")
def decisions(root: Path) -> list[Path]:
    return sorted((root / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.fixture(scope="module")
def names(root: Path) -> set[str]:
    """Everything that the code defines or gives a name to."""
    found: set[str] = set()
    for folder in ("pairbench", "envs", "designs"):
        for file in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    found.add(node.name)
                elif isinstance(node, ast.Name):
                    found.add(node.id)
                elif isinstance(node, ast.arg | ast.keyword) and node.arg:
                    found.add(node.arg)
    return found


def test_the_list_has_every_decision_in_order(decisions: list[Path]) -> None:
    index = (decisions[0].parent / "README.md").read_text()
    listed = re.findall(r"^- \[(\d{3}) (.*?)\]\((\S+?)\): \S.*\.$", index, re.MULTILINE)
    titles = [file.read_text().partition("\n")[0].removeprefix("# ") for file in decisions]
    assert [name for *_, name in listed] == [file.name for file in decisions]
    assert [title for _, title, _ in listed] == titles
    assert [int(number) for number, *_ in listed] == list(range(1, len(decisions) + 1))
    assert all(name.startswith(number) for number, _, name in listed)


def test_a_decision_has_its_sections(decisions: list[Path]) -> None:
    for file in decisions:
        _, *parts = re.split(r"^## (.*)\n", file.read_text(), flags=re.MULTILINE)
        assert parts[::2] == SECTIONS, file.name
        assert all(part.strip() for part in parts[1::2]), file.name


def test_a_decision_names_code_that_exists(decisions: list[Path], names: set[str]) -> None:
    for file in decisions:
        for code in re.findall(r"`([^`\n]+)`", file.read_text()):
            dotted = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", code)
            # Classes, functions with an underscore in their names, and attributes of classes.
            is_name = dotted and not FOREIGN.match(code) and re.search(r"[A-Z_]", code)
            if is_name and not code.startswith("pairbench."):
                missing = set(code.split(".")) - names
                assert not missing, f"{file.name}: {code}"


def test_links_lead_somewhere(root: Path, decisions: list[Path]) -> None:
    for file in [*decisions, decisions[0].parent / "README.md", root / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", file.read_text()):
            assert (file.parent / link).exists(), f"{file.name}: {link}"
        for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|py)\b", file.read_text()):
            assert (root / page).exists(), f"{file.name}: {page}"
