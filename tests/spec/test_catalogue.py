"""Parsing of docstrings, and the catalogue made of them."""

from dataclasses import dataclass
from typing import Any

import pytest

from pairbench.spec.catalogue import (
    CLOSING_KEYS,
    FAMILIES,
    by_family,
    describe_family,
    markdown,
    parameter_docs,
    parse_docstring,
    short_source,
)

DOC = """Pairs of largest tr(C A⁻¹),
    see :func:`play` and ``other``.

    Equation:

        x = y * z_i

    Cost is not given here.

    Family: Dueling bandit.
    Source: Das et al. 2024, "A title: with a colon",
        arXiv 2402.10500; others.
    Assumes: nothing.
    Cost: O(N K²).
    """


def entry(name: str, **values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys((*CLOSING_KEYS, "file"))
    return {"name": name, "text": "Pairs.", "parameters": {}, "about": {}, **nothing, **values}


def test_a_docstring_is_taken_apart() -> None:
    parts = parse_docstring(DOC)
    assert parts.summary == "Pairs of largest tr(C A⁻¹), see `play` and other."
    assert parts.text.startswith("Pairs of largest tr(C A⁻¹),\nsee `play` and ``other``.\n\nEq")
    assert parts.text.endswith("Equation:\n\n    x = y * z_i\n\nCost is not given here.")
    assert parts.closing == {
        "family": "dueling bandit",
        "source": 'Das et al. 2024, "A title: with a colon", arXiv 2402.10500; others',
        "assumes": "nothing",
        "cost": "O(N K²)",
    }
    assert list(parts.closing) == list(CLOSING_KEYS)


def test_a_text_leaves_out_the_parameters() -> None:
    parts = parse_docstring(
        "Errs.\n\nOften.\n\nAttributes:\n    rate: how\n        often.\n\nSource: me.\n"
    )
    assert parts.text == "Errs.\n\nOften."
    assert parts.closing == {"source": "me"}


@pytest.mark.parametrize(
    ("doc", "closing"),
    [
        (None, {}),
        ("", {}),
        ("Pairs. Cost: O(N) a round.", {}),
        ("Pairs.\nCost: one fit\nand O(N).", {"cost": "one fit and O(N)"}),
        ("Pairs.\n\nFamily:", {"family": ""}),
    ],
)
def test_what_a_docstring_does_not_say_is_missing(doc: str | None, closing: dict[str, str]) -> None:
    assert parse_docstring(doc).closing == closing


@dataclass
class Base:
    """A base.

    Attributes:
        first: what it is.
        second: overruled.
    """

    first: int = 1
    second: int = 2


@dataclass
class Derived(Base):
    """One that derives.

    More: of it.

    Attributes:
        second: two lines, the other of which is longer,
            see :class:`Base`: it has a colon.

        third: after a blank line.

    Not: an attribute.
    """

    third: int = 3


def test_parameters_are_explained_where_they_are_declared() -> None:
    assert parameter_docs(Derived) == {
        "first": "what it is.",
        "second": "two lines, the other of which is longer, see `Base`: it has a colon.",
        "third": "after a blank line.",
    }
    assert parameter_docs(lambda view, n: None) == {}


@pytest.mark.parametrize(
    ("source", "short"),
    [
        ('Das et al. 2024, "A title of 1999", arXiv 2402.10500', "Das et al. 2024"),
        ("Lewis and Gale 1994; Yang et al. 2024", "Lewis and Gale 1994"),
        ("Bengs, Saha and Hüllermeier 2022, Title", "Bengs et al. 2022"),
        ("Lin, Astudillo, Frazier, Bakshy 2022, Title", "Lin et al. 2022"),
        ("Han, Goyal, and Ma 2026", "Han et al. 2026"),
        ("the rule of Tunstall et al. 2023, with more", "the rule of Tunstall et al. 2023"),
        ("MacKay (1992), Title", "MacKay 1992"),
        ("common practice; as in Han, Goyal, Ma 2026", "common practice"),
        ("common practice, no publication of its own: that of 2020", "common practice"),
        ("no publication. That it helps is argued by Shen et al. 2025", "no publication"),
        ("none", "none"),
        ("", ""),
    ],
)
def test_a_source_is_named_shortly(source: str, short: str) -> None:
    assert short_source(source) == short


def test_families_come_in_their_order_and_strangers_last() -> None:
    families = ["control", "new", None, "plain", "diversity", "plain"]
    listed = by_family(entry(str(i), family=family) for i, family in enumerate(families))
    assert {family: [e["name"] for e in designs] for family, designs in listed.items()} == {
        "plain": ["3", "5"],
        "diversity": ["4"],
        "control": ["0"],
        "other": ["1", "2"],
    }
    assert list(listed) == ["plain", "diversity", "control", "other"]
    assert all(describe_family(family)[0].isupper() for family in [*FAMILIES, "other"])


def test_the_page_shows_everything_and_equations_as_they_are() -> None:
    text = "Pairs of θ* and x_i, (a)_+ − (b)_+.\n\n    y = x * θ* <z>\n\n- a * b, `c*d`\n+ e < f"
    shown = markdown(
        [
            entry("one", family="plain", text=text, cost="O(N*K)", file="/a/designs/one.py"),
            entry("two", parameters={"k": 1, "s": "x"}, about={"k": "how many."}, source="me"),
        ]
    )
    assert shown.splitlines()[2:4] == [
        "| [plain](#family-plain) | [one](#one) |",
        "| [other](#family-other) | [two](#two) |",
    ]
    assert (
        "## Family: plain\n\nNo model of the reward.\n\n### one\n\nPairs of θ\\* and x_i, " in shown
    )
    assert "(a)\\_+ − (b)\\_+.\n\n    y = x * θ* <z>\n\n- a * b, `c*d`\n\\+ e \\< f\n" in shown
    assert "- **Cost:** O(N\\*K).\n- **Code:** `designs/one.py`\n" in shown
    assert "### two\n\nPairs.\n\n- `k=1`: how many.\n- `s='x'`\n- **Source:** me.\n" in shown
