"""Entries: the results of one design on a board, in a file small enough for a pull request.

An entry holds the design's gap for every environment, seed and budget, so that all figures of a
board can be computed from its entries alone. The pairs behind the gaps are in the bundle whose
digest the entry contains.
"""

import datetime
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from pairbench._util.files import write_atomic
from pairbench.boards.strict import parse_strict_json, validate_model
from pairbench.cells.plan import LAST_VERSIONS, PROTOCOL, UNSTATED
from pairbench.errors import InvalidSubmission

MAX_ENTRY_BYTES = 50_000
"""Maximal size of an entry's file."""

LEVELS = {
    "claimed": "the author's figures, which nobody has computed again",
    "recomputed": "labels, policies and scores were computed again from the pairs on record",
    "reproduced": "the design itself was run again, isolated, on the announced seeds and on others",
}
"""Verification levels of an entry's figures with their meanings, the weakest first."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Characters that Python counts as printable and that are invisible."""
_SCRIPT_GROUPS = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "CJK")
"""Scripts that are written together in one word, each with the name of its group."""


def _check_name(text: str) -> str:
    """Refuse a name that could pass for another: not NFKC, invisible parts, or mixed scripts."""
    if unicodedata.normalize("NFKC", text) != text or not _is_visible(text):
        raise ValueError("expected printable text on one line, in Unicode's form NFKC")
    if "<" in text or ">" in text:
        raise ValueError("expected a name without < and >")
    return _check_scripts(text)


def _check_scripts(text: str) -> str:
    """Refuse text with a word of several scripts, in which a letter may pass for another one."""
    for word in re.findall(r"[^\W\d_]+", text):
        scripts = {unicodedata.name(letter, "?").split()[0] for letter in word}
        if len({_SCRIPT_GROUPS.get(script, script) for script in scripts}) > 1:
            raise ValueError(f"expected the letters of one script in a word, got {word!r}")
    return text


def _check_prose(text: str) -> str:
    """Refuse text that is not NFC or has invisible parts; σ² and ½, which NFKC lacks, may occur."""
    if unicodedata.normalize("NFC", text) != text or not _is_visible(text):
        raise ValueError("expected printable text on one line, in Unicode's form NFC")
    return text


def _is_visible(text: str) -> bool:
    """Return whether the text is on one line and has no invisible characters."""
    return text.isprintable() and not _INVISIBLE.search(text)


def _check_link(text: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text) or any(c in text for c in "\"'<>\\`"):
        raise ValueError("expected a link that begins with https:// or http://")
    return text


# Why: docs/decisions/038-entries-keep-six-digits.md
def round_figure(value: float) -> float:
    """Round to six significant digits, the precision of figures in entries."""
    return float(f"{value:.6g}")


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""Name that is part of a file's name: lower-case ASCII letters, digits, single hyphens."""
Name = Annotated[str, AfterValidator(_check_name), StringConstraints(min_length=1, max_length=200)]
Prose = Annotated[str, AfterValidator(_check_prose), StringConstraints(max_length=2000)]
Label = Annotated[Prose, AfterValidator(_check_scripts), StringConstraints(min_length=1)]
Link = Annotated[str, AfterValidator(_check_link), StringConstraints(max_length=300)]
NonNegative = Annotated[float, Field(ge=0)]


class StrictModel(BaseModel):
    """Immutable model that refuses undeclared fields, other types, and infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SubmittedDesign(StrictModel):
    """Design of an entry.

    Attributes:
        name: name in a spec, such as ``"greedy-d"``, or name of its file, ``"my_design.py"``.
        params: all parameters, including those with default values.
        source: digest of the syntax tree of the file that defines the design.
        label: the name and the parameters that differ from their defaults.
        slug: name in file names and URLs.
        control: whether the design sees the true rewards, and so is not ranked.
        deterministic: whether the same seed gives the same pairs, which verification then
            requires.
        family: one of :data:`pairbench.spec.catalogue.FAMILIES`.
        summary: one sentence on what the design does.
        citation: publication of the design.
    """

    name: Name
    params: dict[str, JsonValue]
    source: Digest
    label: Label
    slug: Slug
    control: bool = False
    deterministic: bool = True
    family: Name | None = None
    summary: Prose = ""
    citation: Prose | None = None


class Curve(StrictModel):
    """Learning curve of a design in one environment of the board.

    Attributes:
        environment: label of the environment: its id and the parameters that differ from their
            defaults.
        unit: unit of the budgets.
        budgets: cumulative budgets in ``unit``, ``(b,)``; the reference's continue beyond the
            board's.
        seeds: seeds of the worlds, ``(s,)``.
        gaps: suboptimality gaps G(π̂) on held-out prompts, ``(s, b)`` reward units.
        spent: labels or money spent by each budget, mean over seeds, ``(b,)``.
        start: mean gap of π_ref, before the first label, reward units.
        floor: mean of the smallest gap in the policy class, reward units.
        efficiency: mean design efficiency at the board's last budget.
        win_rate: mean win rate against π_ref at the board's last budget.
        seconds: mean time per episode that the design's computations took up to the board's last
            budget, seconds.
        memory: peak memory of the design's computations, bytes; None if it was not measured.
    """

    environment: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    unit: Literal["labels", "money"]
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1)
    gaps: tuple[tuple[NonNegative, ...], ...]
    spent: tuple[NonNegative, ...]
    start: NonNegative
    floor: NonNegative
    efficiency: NonNegative
    win_rate: NonNegative
    seconds: NonNegative
    memory: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _check_shapes(self) -> "Curve":
        n_budgets, n_seeds = len(self.budgets), len(self.seeds)
        if list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError("budgets must increase")
        if len(set(self.seeds)) != n_seeds:
            raise ValueError("a seed occurs twice")
        if len(self.gaps) != n_seeds or any(len(row) != n_budgets for row in self.gaps):
            raise ValueError(
                f"gaps must be {n_seeds} rows of {n_budgets}: a row per seed, a column per budget"
            )
        if len(self.spent) != n_budgets or list(self.spent) != sorted(self.spent):
            raise ValueError(f"spent must be {n_budgets} numbers that do not decrease")
        return self


class Verification(StrictModel):
    """Result of computing an entry's figures again.

    Attributes:
        level: level that the entry reached, a key of :data:`LEVELS`.
        date: day of the verification.
        pairbench: version of pairbench that verified the entry.
        cells: number of cells that were computed again.
        fresh: unannounced seeds that the design was run on.
        secret: SHA-256 of the secret that the unannounced seeds were drawn from.
    """

    level: Literal["recomputed", "reproduced"]
    date: Annotated[datetime.date, Field(strict=False)]
    pairbench: Name
    cells: Annotated[int, Field(ge=1)]
    fresh: tuple[int, ...] = ()
    secret: Digest | None = None


class Manifest(StrictModel):
    """Description of one design's cells on one board.

    Attributes:
        format: version of the file format.
        protocol: version of the protocol that the cells were run under, see
            :data:`pairbench.cells.plan.PROTOCOL`; up to 3, ``design.source`` is the SHA-256 of the
            file's bytes.
        board: name of the board.
        board_digest: digest of the board's file, see
            :attr:`pairbench.boards.board.Board.digest`.
        division: ``"closed"`` if only the design is the author's, or ``"open"`` if the entry also
            changes parameters of the environments.
        changes: parameters of the environments that an open entry changes, with their values.
        design: design that the cells are of.
        author: name of a person or a group.
        link: page about the design or its author.
        date: day of the submission.
        versions: versions of Python, pairbench and the packages that it computes with.
        machine: machine that the cells were run on.
        commit: commit of the checkout that the cells were run from, None if there was none.
        dirty: whether the checkout had uncommitted changes.
    """

    format: Literal[1] = 1
    protocol: Annotated[int, Field(ge=UNSTATED)] = UNSTATED
    board: Slug
    board_digest: Digest
    division: Literal["closed", "open"] = "closed"
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    design: SubmittedDesign
    author: Name
    link: Link
    date: Annotated[datetime.date, Field(strict=False)]
    versions: dict[str, Name]
    machine: Name
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    dirty: bool = False

    @model_validator(mode="after")
    def _check_division(self) -> "Manifest":
        if (self.division == "open") != bool(self.changes):
            raise ValueError("an entry of the open division, and no other, declares changes")
        return self


class BoardEntry(Manifest):
    """Results of one design on one board: the manifest of its bundle, and its learning curves.

    Attributes:
        bundle: digest of the bundle, which holds the design's pairs.
        curves: learning curves, one for each environment of the board, in the board's order.
        verification: result of the entry's verification, None if it was not verified.
    """

    bundle: Digest
    curves: tuple[Curve, ...] = Field(min_length=1)
    verification: Verification | None = None

    @property
    def level(self) -> str:
        """Verification level of the figures, a key of :data:`LEVELS`."""
        return "claimed" if self.verification is None else self.verification.level

    @property
    def required_version(self) -> str | None:
        """Version of pairbench that is required to compute the figures, None if this one can.

        It is the version that verified the entry, or else the one that computed the figures.
        """
        if self.protocol == PROTOCOL:
            return None
        if self.verification is not None:
            return self.verification.pairbench
        return self.versions.get("pairbench") or LAST_VERSIONS.get(self.protocol, "another version")

    @property
    def unit(self) -> str:
        """Unit of the budgets: ``"labels"``, ``"money"``, or ``"labels or money"``."""
        return " or ".join(sorted({curve.unit for curve in self.curves}))

    def content(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_bytes(self) -> bytes:
        """Return the content of the entry's file: canonical JSON (RFC 8785) and a newline."""
        return rfc8785.dumps(self.content()) + b"\n"


def read_entry(data: bytes, name: str) -> BoardEntry:
    """Read an entry from the bytes of its file.

    Args:
        data: content of the file.
        name: name of the file, for messages.

    Raises:
        InvalidSubmission: If the file is too large or malformed; names the fields that are wrong.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise InvalidSubmission(
            f"{name} has {len(data):,} bytes, where an entry may have {MAX_ENTRY_BYTES:,}."
        )
    return validate_model(BoardEntry, parse_strict_json(data, name), name)


def write_entry(entry: BoardEntry, path: Path) -> None:
    """Write an entry to a file atomically.

    Args:
        entry: the entry.
        path: file to write.

    Raises:
        InvalidSubmission: If the file would be too large.
    """
    data = entry.to_bytes()
    read_entry(data, path.name)
    write_atomic(path, data)
