"""Differences between two versions of boards: new, removed, changed and moved designs."""

from collections.abc import Callable, Mapping, Sequence
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
"""Headings of the columns of :meth:`BoardDiff.rows`."""


@dataclass(frozen=True)
class DesignState:
    """State of a design in one version of a board.

    Attributes:
        rank: 1 + the number of designs in better tie groups; None if it is not ranked.
        tied: whether another design has the same rank.
        control: whether the design is listed and never ranked.
        savings: label or money savings; None if the board has no standings.
        gap: mean gap over seeds at the board's last budget, or at the entry's if the board has no
            standings, as geometric mean over environments, reward units.
        level: verification level of the figures, a key of
            :data:`pairbench.boards.entry.LEVELS`.
        bundle: digest of the bundle, which holds the design's pairs.
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
    """Difference between two versions of a board in one design.

    Attributes:
        slug: name of the entry's file, without its suffix.
        design: label of the design.
        before: state in the old version, None if the design is new.
        after: state in the new version, None if the design was removed.
        fields: fields of the entry that differ; empty if only one version has the entry, or if the
            state differs because of other designs.
    """

    slug: str
    design: str
    before: DesignState | None
    after: DesignState | None
    fields: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """Kind of difference; a design has moved if its state differs and its entry does not."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "changed" if self.fields else "moved"


@dataclass(frozen=True)
class BoardDiff:
    """Difference between two versions of a board.

    Attributes:
        board: name of the board.
        rules: whether the content of ``board.toml`` differs.
        designs: designs that differ: the new ones first, then the removed, changed and moved ones,
            each by slug.
    """

    board: str
    rules: bool
    designs: tuple[DesignDiff, ...]

    def summary(self) -> str:
        """Count the designs by kind of difference, as in ``"1 new, 3 moved"``."""
        kinds = [design.kind for design in self.designs]
        counts = [f"{kinds.count(kind)} {kind}" for kind in _ORDER if kind in kinds]
        return ", ".join(["board.toml changed"] * self.rules + counts)

    def rows(self) -> list[tuple[str, ...]]:
        """Format the designs as rows under :data:`HEADINGS`, with changes as ``old → new``."""
        return [
            (
                design.kind,
                design.design,
                _change_text(design, lambda s: rank_text(s.rank, s.tied, control=s.control)),
                _change_text(design, lambda s: savings_text(s.savings)),
                _change_text(design, lambda s: f"{s.gap:.4g}"),
                _change_text(design, lambda s: s.level),
                ", ".join(design.fields),
            )
            for design in self.designs
        ]


@dataclass(frozen=True)
class _BoardVersion:
    """Version of a board.

    Attributes:
        digest: digest of the board's file.
        board: the board, None if only the file of an entry is given.
        entries: entries by slug.
    """

    digest: str
    board: Board | None
    entries: Mapping[str, BoardEntry]

    def design_states(self) -> dict[str, DesignState]:
        """Return the state of each design by slug."""
        board, entries = self.board, list(self.entries.values())
        if board is None:
            return {e.design.slug: _design_state(e, control=e.design.control) for e in entries}
        results = standings(board, entries)
        by_slug = {s.entry.design.slug: s for s in (*results.closed, *results.open)}
        return {
            slug: _design_state(entry, control=is_control(board, entry), standing=by_slug.get(slug))
            for slug, entry in self.entries.items()
        }


def diff(old: Path, new: Path) -> tuple[BoardDiff, ...]:
    """Compare two versions of boards.

    Args:
        old: a folder of boards, a checkout with such a folder named ``leaderboards``, the folder of
            one board, or the file of an entry.
        new: another version of the same.

    Returns:
        The differences of each board that differs, by name.

    Raises:
        InvalidParameter: If one path is nothing of the kind.
        InvalidSubmission: If an entry is malformed.
    """
    old_boards, new_boards = _load_versions(old), _load_versions(new)
    differences = []
    for name in sorted(old_boards.keys() | new_boards.keys()):
        before = old_boards.get(name, _MISSING_BOARD)
        after = new_boards.get(name, _MISSING_BOARD)
        if before == after:
            continue
        designs = _diff_designs(before, after)
        rules = name in old_boards and name in new_boards and before.digest != after.digest
        if designs or rules:
            differences.append(BoardDiff(name, rules, designs))
    return tuple(differences)


def diff_markdown(differences: Sequence[BoardDiff]) -> str:
    """Format differences as tables of GitHub Markdown, such as for a comment on a pull request."""
    blocks = []
    for board in differences:
        lines = [f"**{board.board}**: {board.summary()}", ""]
        if board.designs:
            lines += [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
            lines += [
                f"| {' | '.join((row[0], code_span(row[1]), *row[2:]))} |" for row in board.rows()
            ]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks or ["No entry differs."]) + "\n"


def diff_json(differences: Sequence[BoardDiff]) -> list[dict[str, Any]]:
    """Return differences as JSON, in which infinite ends of intervals are null."""
    boards: list[dict[str, Any]] = replace_nonfinite([asdict(board) for board in differences])
    for board, board_json in zip(differences, boards, strict=True):
        for design, design_json in zip(board.designs, board_json["designs"], strict=True):
            design_json["kind"] = design.kind
    return boards


_ORDER: tuple[Kind, ...] = ("new", "gone", "changed", "moved")
_MISSING_BOARD = _BoardVersion("", None, {})


def _load_versions(path: Path) -> dict[str, _BoardVersion]:
    """Load the boards at a path, by name."""
    if path.is_file():
        entry = read_entry(path.read_bytes(), path.name)
        return {entry.board: _BoardVersion(entry.board_digest, None, {entry.design.slug: entry})}
    folder = path.resolve()
    if (folder / "board.toml").is_file():
        return {folder.name: _load_version(folder.name, folder.parent)}
    if (folder / "leaderboards").is_dir():
        folder /= "leaderboards"
    names = board_names(folder) if folder.is_dir() else []
    if not names:
        raise InvalidParameter(
            f"{path} is no folder of boards, no board and no entry. Give two versions of one of "
            "these, such as the leaderboards of two checkouts."
        )
    return {name: _load_version(name, folder) for name in names}


def _load_version(name: str, root: Path) -> _BoardVersion:
    board, entries = load_board(name, root), load_entries(name, root)
    return _BoardVersion(board.digest, board, {entry.design.slug: entry for entry in entries})


def _diff_designs(before: _BoardVersion, after: _BoardVersion) -> tuple[DesignDiff, ...]:
    """Compare the designs of two versions of a board, sorted by kind of difference and slug."""
    old_states, new_states = before.design_states(), after.design_states()
    designs = []
    for slug in sorted(old_states.keys() | new_states.keys()):
        old_entry, new_entry = before.entries.get(slug), after.entries.get(slug)
        entry = new_entry or before.entries[slug]
        old_state, new_state = old_states.get(slug), new_states.get(slug)
        if old_entry != new_entry or old_state != new_state:
            fields = _changed_fields(old_entry, new_entry)
            designs.append(DesignDiff(slug, entry.design.label, old_state, new_state, fields))
    return tuple(sorted(designs, key=lambda design: _ORDER.index(design.kind)))


def _design_state(
    entry: BoardEntry, *, control: bool, standing: Standing | None = None
) -> DesignState:
    if standing is None:
        last_gaps = [float(np.mean([row[-1] for row in curve.gaps])) for curve in entry.curves]
    else:
        last_gaps = [environment.gaps[-1].value for environment in standing.environments]
    with np.errstate(divide="ignore"):  # a gap may be 0
        gap = float(np.exp(np.mean(np.log(last_gaps))))
    if standing is None:
        return DesignState(None, False, control, None, gap, entry.level, entry.bundle)
    return DesignState(
        standing.rank, standing.tied, control, standing.savings, gap, entry.level, entry.bundle
    )


def _changed_fields(before: BoardEntry | None, after: BoardEntry | None) -> tuple[str, ...]:
    """Return the sorted names of the fields in which two entries differ."""
    if before is None or after is None:
        return ()
    old_content, new_content = before.content(), after.content()
    names = sorted(old_content.keys() | new_content.keys())
    return tuple(name for name in names if old_content.get(name) != new_content.get(name))


def _change_text(design: DesignDiff, format_state: Callable[[DesignState], str]) -> str:
    """Format a figure's old and new text as ``old → new``, or one text if they are equal."""
    states = [state for state in (design.before, design.after) if state is not None]
    return " → ".join(dict.fromkeys(format_state(state) for state in states))
