"""Boards taken elsewhere, and what became of them: who came, went and changed, and who moved."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pairbench._util.files import replace_nonfinite
from pairbench.boards.board import Board, board_names, load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import BoardEntry, read_entry
from pairbench.boards.standings import Standing, is_control, standings
from pairbench.boards.tables import code_span, rank_text
from pairbench.errors import InvalidParameter
from pairbench.stats.bootstrap import Estimate
from pairbench.stats.text import savings_text

Kind = Literal["new", "gone", "changed", "moved"]
HEADINGS = ("", "design", "rank", "saved", "gap", "level", "what differs")
"""Of the rows that :meth:`BoardDiff.rows` gives."""


@dataclass(frozen=True)
class Place:
    """What a board said of a design at one time.

    Attributes:
        rank: 1 + the number of designs in better tie groups; None where it was not ranked.
        tied: whether another design had the same rank.
        control: whether it was shown and never ranked.
        savings: label savings; None where there were no standings.
        gap: at the board's last budget, or the entry's where there were no standings, the mean over
            seeds and the geometric mean over environments, reward units.
        level: what was known of its figures.
        bundle: digest of the bundle with its pairs.
    """

    rank: int | None
    tied: bool
    control: bool
    savings: Estimate | None
    gap: float
    level: str
    bundle: str


@dataclass(frozen=True)
class DesignDiff:
    """A design of which two boards do not say the same.

    Attributes:
        slug: the name of the entry's file.
        design: its label.
        before: what the old board said, None where it did not have it.
        after: what the new one says, likewise.
        fields: which fields of the entry differ, where both have one; none where its place moved
            because of others.
    """

    slug: str
    design: str
    before: Place | None
    after: Place | None
    fields: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """What happened: it came, it went, its entry changed, or others moved it."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "changed" if self.fields else "moved"


@dataclass(frozen=True)
class BoardDiff:
    """A board of which something differs.

    Attributes:
        board: its name.
        rules: whether its ``board.toml`` says something else.
        designs: those that differ: new ones first, then those gone, changed and moved; by name.
    """

    board: str
    rules: bool
    designs: tuple[DesignDiff, ...]

    def summary(self) -> str:
        """How many designs came, went, changed and moved: ``"1 new, 3 moved"``."""
        kinds = [design.kind for design in self.designs]
        counts = [f"{kinds.count(kind)} {kind}" for kind in _ORDER if kind in kinds]
        return ", ".join(["board.toml changed"] * self.rules + counts)

    def rows(self) -> list[tuple[str, ...]]:
        """The designs as texts, under :data:`HEADINGS`; what differs as ``old → new``."""
        return [
            (
                design.kind,
                design.design,
                _told(design, lambda p: rank_text(p.rank, p.tied, control=p.control)),
                _told(design, lambda p: savings_text(p.savings)),
                _told(design, lambda p: f"{p.gap:.4g}"),
                _told(design, lambda p: p.level),
                ", ".join(design.fields),
            )
            for design in self.designs
        ]


@dataclass(frozen=True)
class _Side:
    """A board as one of the two states has it; its file is not known beside a single entry."""

    digest: str
    board: Board | None
    entries: Mapping[str, BoardEntry]

    def places(self) -> dict[str, Place]:
        """What is said of each design."""
        board, entries = self.board, list(self.entries.values())
        if board is None:
            return {e.design.slug: _place(e, control=e.design.control) for e in entries}
        found = standings(board, entries)
        placed = {s.entry.design.slug: s for s in (*found.closed, *found.open)}
        return {
            slug: _place(entry, control=is_control(board, entry), standing=placed.get(slug))
            for slug, entry in self.entries.items()
        }


def diff(old: Path, new: Path) -> tuple[BoardDiff, ...]:
    """What differs between two states of boards.

    Args:
        old: a folder of boards, a checkout that has one named ``leaderboards``, a board's own
            folder, or an entry's file.
        new: the same of another time.

    Returns:
        The boards of which something differs, by name.

    Raises:
        InvalidParameter: If one is nothing of the kind.
        InvalidSubmission: If an entry is not what it must be.
    """
    before, after = _sides(old), _sides(new)
    found = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, _NONE), after.get(name, _NONE)
        if one == other:
            continue
        was, now = one.places(), other.places()
        designs = [
            DesignDiff(
                slug,
                (other.entries.get(slug) or one.entries[slug]).design.label,
                was.get(slug),
                now.get(slug),
                _fields(one.entries.get(slug), other.entries.get(slug)),
            )
            for slug in sorted(was.keys() | now.keys())
            if one.entries.get(slug) != other.entries.get(slug) or was[slug] != now[slug]
        ]
        rules = name in before and name in after and one.digest != other.digest
        if designs or rules:
            designs.sort(key=lambda design: _ORDER.index(design.kind))
            found.append(BoardDiff(name, rules, tuple(designs)))
    return tuple(found)


def diff_markdown(found: Sequence[BoardDiff]) -> str:
    """The same as tables of GitHub's Markdown, such as a comment on a pull request."""
    blocks = []
    for board in found:
        lines = [f"**{board.board}**: {board.summary()}", ""]
        if board.designs:
            lines += [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
            lines += [
                f"| {' | '.join((row[0], code_span(row[1]), *row[2:]))} |" for row in board.rows()
            ]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks or ["No entry differs."]) + "\n"


def diff_json(found: Sequence[BoardDiff]) -> list[dict[str, Any]]:
    """The same as JSON; infinite interval ends are null."""
    boards: list[dict[str, Any]] = replace_nonfinite([asdict(board) for board in found])
    for board, told in zip(found, boards, strict=True):
        for design, row in zip(board.designs, told["designs"], strict=True):
            row["kind"] = design.kind
    return boards


_ORDER: tuple[Kind, ...] = ("new", "gone", "changed", "moved")
_NONE = _Side("", None, {})


def _sides(path: Path) -> dict[str, _Side]:
    """The boards of one state, by name."""
    if path.is_file():
        entry = read_entry(path.read_bytes(), path.name)
        return {entry.board: _Side(entry.board_digest, None, {entry.design.slug: entry})}
    folder = path.resolve()
    if (folder / "board.toml").is_file():
        return {folder.name: _side(folder.name, folder.parent)}
    if (folder / "leaderboards").is_dir():
        folder /= "leaderboards"
    names = board_names(folder) if folder.is_dir() else []
    if not names:
        raise InvalidParameter(
            f"{path} is no folder of boards, no board and no entry. Give two states of the same "
            "of these, such as the leaderboards of two checkouts."
        )
    return {name: _side(name, folder) for name in names}


def _side(name: str, root: Path) -> _Side:
    board, entries = load_board(name, root), load_entries(name, root)
    return _Side(board.digest, board, {entry.design.slug: entry for entry in entries})


def _place(entry: BoardEntry, *, control: bool, standing: Standing | None = None) -> Place:
    if standing is None:
        last = [float(np.mean([row[-1] for row in curve.gaps])) for curve in entry.curves]
    else:
        last = [environment.gaps[-1].value for environment in standing.environments]
    with np.errstate(divide="ignore"):  # a gap may be 0
        gap = float(np.exp(np.mean(np.log(last))))
    if standing is None:
        return Place(None, False, control, None, gap, entry.level, entry.bundle)
    return Place(
        standing.rank, standing.tied, control, standing.savings, gap, entry.level, entry.bundle
    )


def _fields(before: BoardEntry | None, after: BoardEntry | None) -> tuple[str, ...]:
    """The fields of two entries that differ, by name."""
    if before is None or after is None:
        return ()
    one, other = before.content(), after.content()
    names = sorted(one.keys() | other.keys())
    return tuple(name for name in names if one.get(name) != other.get(name))


def _told(design: DesignDiff, text: Any) -> str:
    """What was before and what is now, once where that is the same."""
    texts = [text(place) for place in (design.before, design.after) if place is not None]
    return " → ".join(dict.fromkeys(texts))
