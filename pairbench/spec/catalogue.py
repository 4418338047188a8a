"""Parsed docstrings of designs and annotators, and their catalogue in Markdown.

A design's module docstring says in one sentence which pairs the design chooses, then gives the
equation, and ends with four closing lines, each of which may continue on the next: ``Family:``,
``Source:``, ``Assumes:``, ``Cost:``.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

WRAPPER = "wrapper"
FAMILIES = {
    "plain": "no model of the reward",
    "reward rank": "by where completions stand in the estimated rewards of their prompt",
    "uncertainty": "where the answer is known least",
    "optimal design": "where labels tell most about the parameters, or about the policy",
    "dueling bandit": "duels that find the best completion of a prompt",
    "diversity": "pairs that stand for the pool and differ from each other",
    "decision-theoretic": "what a label is worth for the decision that it serves",
    "generation": "as a policy that generates its own completions would pair them",
    WRAPPER: "what changes another design: what it may choose from, or what it pays for",
    "control": "not ranked: designs that know the truth, or that show what any choice can do",
}
"""Criterion by which the designs of each family choose, in the order of listings."""
ANNOTATORS = {
    "perception": "stages that change the perceived difference Δ between the two completions",
    "choice": "the stage that turns Δ into an answer; exactly one, `bradley-terry` by default",
    "reply": "stages that change the answer, after the choice",
    "ready-made": "names of whole chains",
}
"""Role of each family of annotator stages, in the order of listings."""
OTHER = "other"
CLOSING_KEYS = ("family", "source", "assumes", "cost")

_KEY = re.compile(rf"^({'|'.join(CLOSING_KEYS).title()}):", re.MULTILINE)
_SECTION = re.compile(r"^(?:Attributes|Args):\n((?:[ \t]+.*(?:\n|$)|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"(?:^|\n)(\w+): ((?:.|\n(?! {0,3}\S))*)")
_FIRST = re.compile(r"[;:] |\. (?=[A-Z])")  # but not after "et al."
_YEAR = re.compile(r"(.*?)[\s,(]*\b((?:18|19|20)\d\d)\b")
_ROLE = re.compile(r":\w+:(?=`)")
_CODE = re.compile(r"(`+[^`]+`+)")

Description = Mapping[str, Any]
"""Description of a design, as :func:`pairbench.design.registry.describe_design` returns it."""


@dataclass(frozen=True)
class Docstring:
    """Parts of a docstring.

    Attributes:
        summary: the first paragraph, on one line.
        text: the whole text without the parameters and the closing lines.
        closing: the texts of the closing lines, by key, in their order.
    """

    summary: str
    text: str
    closing: dict[str, str]


def parse_docstring(docstring: str | None) -> Docstring:
    """Split a docstring into its parts; ``closing`` has only the keys that occur."""
    text, *parts = _KEY.split(_clean(docstring))
    values = (_one_line(value).removesuffix(".") for value in parts[1::2])
    closing = dict(zip((key.lower() for key in parts[::2]), values, strict=True))
    if "family" in closing:
        closing["family"] = closing["family"].lower()
    summary = _one_line(text.split("\n\n")[0]).replace("``", "")
    return Docstring(summary, _SECTION.sub("", text).strip(), closing)


def parameter_docs(factory: Any) -> dict[str, str]:
    """Return the documentation of each parameter, by name.

    It is read from the docstring of a function, or from those of a class and its bases, where the
    class has precedence.
    """
    texts: dict[str, str] = {}
    for owner in reversed(getattr(factory, "__mro__", (factory,))):
        section = _SECTION.search(_clean(owner.__doc__))
        if owner is not object and section:
            entries = _ENTRY.findall(textwrap.dedent(section[1]))
            texts |= {name: _one_line(text) for name, text in entries}
    return texts


def by_family(
    entries: Iterable[Description], families: Mapping[str, str] = FAMILIES
) -> dict[str, list[Description]]:
    """Group designs by family, in the order of the families; unknown families become "other"."""
    groups: dict[str, list[Description]] = {family: [] for family in (*families, OTHER)}
    for entry in entries:
        groups[entry["family"] if entry["family"] in families else OTHER].append(entry)
    return {family: designs for family, designs in groups.items() if designs}


def describe_family(family: str, families: Mapping[str, str] = FAMILIES) -> str:
    """Describe a family's criterion, with a capital first letter."""
    criterion = families.get(family, "of no family that is known here")
    return criterion[0].upper() + criterion[1:]


def short_source(source: str) -> str:
    """Return the authors and the year of the first publication: ``"Das et al. 2024"``."""
    first = _FIRST.split(source, maxsplit=1)[0]
    match = _YEAR.match(first)
    if not match:
        return first.partition(",")[0]
    authors = re.split(r",? and |, ", match[1])
    named = " and ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
    return f"{named} {match[2]}"


def markdown(
    entries: Iterable[Description], families: Mapping[str, str] = FAMILIES, what: str = "designs"
) -> str:
    """Write the catalogue as Markdown: a table of contents, then every design in full.

    Args:
        entries: descriptions of the designs or annotator stages.
        families: the criterion of each family, in the order of the catalogue.
        what: the heading of the designs or stages, a noun in the plural.
    """
    groups = by_family(entries, families)
    lines = [f"| family | {what} |", "|---|---|"]
    for family, designs in groups.items():
        links = " · ".join(f"[{entry['name']}](#{entry['name']})" for entry in designs)
        lines.append(f"| [{family}](#family-{family.replace(' ', '-')}) | {links} |")
    for family, designs in groups.items():
        lines += ["", f"## Family: {family}", "", f"{describe_family(family, families)}."]
        for entry in designs:
            lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


def _section(entry: Description) -> list[str]:
    """Write the lines of one design: docstring, parameters, closing lines, and source file."""
    lines = [f"### {entry['name']}", "", *map(_escape, entry["text"].splitlines()), ""]
    for name, default in entry["parameters"].items():
        about = entry["about"].get(name)
        lines.append(f"- `{name}={default!r}`{f': {_escape(about)}' if about else ''}")
    for key in CLOSING_KEYS[1:]:
        if entry[key]:
            lines.append(f"- **{key.capitalize()}:** {_escape(entry[key])}.")
    if entry["file"]:
        lines.append(f"- **Code:** `{'/'.join(PurePath(entry['file']).parts[-2:])}`")
    return lines


def _escape(line: str) -> str:
    """Escape Markdown's markup characters in a line of a docstring, except in code."""
    if line.startswith("    "):
        return line
    parts = _CODE.split(line)
    # Signs between spaces, and underscores within a word, are no markup.
    parts[::2] = [
        re.sub(r"(?<!\s)\*|\*(?!\s)|(?<!\w)_|_(?!\w)|<|\[(?=[^]]*\]\()", r"\\\g<0>", part)
        for part in parts[::2]
    ]
    return re.sub(r"^([+>#=])", r"\\\1", "".join(parts))


def _clean(docstring: str | None) -> str:
    """Return a docstring without its indentation and without Sphinx roles."""
    return _ROLE.sub("", inspect.cleandoc(docstring or ""))


def _one_line(text: str) -> str:
    """Replace every run of whitespace by one space."""
    return " ".join(text.split())
