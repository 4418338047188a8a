"""What designs and annotators say of themselves: their docstrings, and a catalogue of them.

A design's module docstring says in one sentence which pairs it chooses, then gives the equation,
and ends with four lines, each of which may go on below: ``Family:``, ``Source:``, ``Assumes:``,
``Cost:``.
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
"""What the designs of each family go by, in the order of listings."""
ANNOTATORS = {
    "perception": "by how much the first seems better than the second; before the choice",
    "choice": "what that makes of the answer; exactly one, `bradley-terry` if none is named",
    "reply": "what becomes of the answer; after the choice",
    "ready-made": "names that stand for a chain",
}
"""The same of the stages of annotators."""
OTHER = "other"
KEYS = ("family", "source", "assumes", "cost")

_KEY = re.compile(rf"^({'|'.join(KEYS).title()}):", re.MULTILINE)
_SECTION = re.compile(r"^(?:Attributes|Args):\n((?:[ \t]+.*(?:\n|$)|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"(?:^|\n)(\w+): ((?:.|\n(?! {0,3}\S))*)")
_FIRST = re.compile(r"[;:] |\. (?=[A-Z])")  # but not after "et al."
_YEAR = re.compile(r"(.*?)[\s,(]*\b((?:18|19|20)\d\d)\b")
_ROLE = re.compile(r":\w+:(?=`)")
_CODE = re.compile(r"(`+[^`]+`+)")

Entry = Mapping[str, Any]
"""A design as :func:`pairbench.registry.describe_design` gives it."""


@dataclass(frozen=True)
class Notes:
    """A docstring, taken apart.

    Attributes:
        summary: its first paragraph, on one line.
        text: all of it but the parameters and the closing lines.
        closing: what stands in the closing lines, by key, in their order.
    """

    summary: str
    text: str
    closing: dict[str, str]


def notes(docstring: str | None) -> Notes:
    """Take a docstring apart; closing lines that it does not have are left out."""
    whole = _cleaned(docstring)
    text, *parts = _KEY.split(whole)
    values = (_one_line(value).removesuffix(".") for value in parts[1::2])
    closing = dict(zip((key.lower() for key in parts[::2]), values, strict=True))
    if "family" in closing:
        closing["family"] = closing["family"].lower()
    summary = _one_line(text.split("\n\n")[0]).replace("``", "")
    return Notes(summary, _SECTION.sub("", text).strip(), closing)


def parameter_notes(factory: Any) -> dict[str, str]:
    """What docstrings say of the parameters: those of a class and its bases, or of a function."""
    found: dict[str, str] = {}
    for owner in reversed(getattr(factory, "__mro__", (factory,))):
        section = _SECTION.search(_cleaned(owner.__doc__))
        if owner is not object and section:
            entries = _ENTRY.findall(textwrap.dedent(section[1]))
            found |= {name: _one_line(text) for name, text in entries}
    return found


def by_family(
    entries: Iterable[Entry], families: Mapping[str, str] = FAMILIES
) -> dict[str, list[Entry]]:
    """The designs of each family, the families in their order; unknown ones are "other"."""
    found: dict[str, list[Entry]] = {family: [] for family in (*families, OTHER)}
    for entry in entries:
        found[entry["family"] if entry["family"] in families else OTHER].append(entry)
    return {family: designs for family, designs in found.items() if designs}


def family_note(family: str, families: Mapping[str, str] = FAMILIES) -> str:
    """What a family goes by, as the beginning of a sentence."""
    note = families.get(family, "of no family that is known here")
    return note[0].upper() + note[1:]


def short_source(source: str) -> str:
    """The authors and the year of the first publication: ``"Das et al. 2024"``."""
    first = _FIRST.split(source, maxsplit=1)[0]
    match = _YEAR.match(first)
    if not match:
        return first.partition(",")[0]
    authors = re.split(r",? and |, ", match[1])
    named = " and ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
    return f"{named} {match[2]}"


def markdown(
    entries: Iterable[Entry], families: Mapping[str, str] = FAMILIES, what: str = "designs"
) -> str:
    """The catalogue as Markdown: a table of contents, then every design in full.

    Args:
        entries: the designs, or whatever they are.
        families: what each family goes by, in the order of the catalogue.
        what: what they are, in the plural.
    """
    found = by_family(entries, families)
    lines = [f"| family | {what} |", "|---|---|"]
    for family, designs in found.items():
        links = " · ".join(f"[{entry['name']}](#{entry['name']})" for entry in designs)
        lines.append(f"| [{family}](#family-{family.replace(' ', '-')}) | {links} |")
    for family, designs in found.items():
        lines += ["", f"## Family: {family}", "", f"{family_note(family, families)}."]
        for entry in designs:
            lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


def _section(entry: Entry) -> list[str]:
    """One design: its docstring, its parameters, its closing lines, and where its code is."""
    lines = [f"### {entry['name']}", "", *map(_escaped, entry["text"].splitlines()), ""]
    for name, default in entry["parameters"].items():
        about = entry["about"].get(name)
        lines.append(f"- `{name}={default!r}`{f': {_escaped(about)}' if about else ''}")
    for key in KEYS[1:]:
        if entry[key]:
            lines.append(f"- **{key.capitalize()}:** {_escaped(entry[key])}.")
    if entry["file"]:
        lines.append(f"- **Code:** `{'/'.join(PurePath(entry['file']).parts[-2:])}`")
    return lines


def _escaped(line: str) -> str:
    """A line of a docstring that Markdown shows as it is, code left alone."""
    if line.startswith("    "):
        return line
    parts = _CODE.split(line)
    # Signs that stand between spaces, and underscores within a word, are no mark-up.
    parts[::2] = [
        re.sub(r"(?<!\s)\*|\*(?!\s)|(?<!\w)_|_(?!\w)|<|\[(?=[^]]*\]\()", r"\\\g<0>", part)
        for part in parts[::2]
    ]
    return re.sub(r"^([+>#=])", r"\\\1", "".join(parts))


def _cleaned(docstring: str | None) -> str:
    """A docstring without its indentation, and without the roles of Sphinx."""
    return _ROLE.sub("", inspect.cleandoc(docstring or ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())
