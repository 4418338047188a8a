"""Entries: what a board shows of one design, a small file that a pull request can carry.

An entry holds every gap of the design, seed by seed and budget by budget, so that all of a board's
figures follow from its entries alone; the pairs that the gaps come from are in the bundle that it
names by digest.
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
from pairbench.boards.strict import parsed_json, validated
from pairbench.cells.plan import LAST_VERSIONS, PROTOCOL, UNSTATED
from pairbench.errors import InvalidSubmission

MOST_ENTRY_BYTES = 50_000

LEVELS = {
    "claimed": "the author's figures, which nobody has computed again",
    "recomputed": "labels, policies and scores were computed again from the pairs on record",
    "reproduced": "the design itself was run again, isolated, on the announced seeds and on others",
}
"""What is known of an entry's figures, from least to most."""


_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Characters that count as printable, and show nothing."""
_TOGETHER = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "CJK")


def _plain(text: str) -> str:
    """A name that looks like what it is: NFKC, printable, on one line, each word of one script."""
    if unicodedata.normalize("NFKC", text) != text or not _shown(text):
        raise ValueError("expected printable text on one line, in Unicode's form NFKC")
    if "<" in text or ">" in text:
        raise ValueError("expected a name without < and >")
    return _one_script(text)


def _one_script(text: str) -> str:
    """Text in which no letter passes for that of another script."""
    for word in re.findall(r"[^\W\d_]+", text):
        scripts = {unicodedata.name(letter, "?").split()[0] for letter in word}
        if len({_TOGETHER.get(script, script) for script in scripts}) > 1:
            raise ValueError(f"expected the letters of one script in a word, got {word!r}")
    return text


def _prose(text: str) -> str:
    """Text that may hold σ² and ½, but nothing that hides."""
    if unicodedata.normalize("NFC", text) != text or not _shown(text):
        raise ValueError("expected printable text on one line, in Unicode's form NFC")
    return text


def _shown(text: str) -> bool:
    """Whether all of it can be seen, on one line."""
    return text.isprintable() and not _INVISIBLE.search(text)


def _link(text: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text) or any(c in text for c in "\"'<>\\`"):
        raise ValueError("expected a link that begins with https:// or http://")
    return text


# Why: docs/decisions/038-entries-keep-six-digits.md
def rounded(value: float) -> float:
    """Six significant digits, as entries keep figures."""
    return float(f"{value:.6g}")


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""A name that is part of a file's: small ASCII letters, digits, single hyphens."""
Plain = Annotated[str, AfterValidator(_plain), StringConstraints(min_length=1, max_length=200)]
Prose = Annotated[str, AfterValidator(_prose), StringConstraints(max_length=2000)]
Label = Annotated[Prose, AfterValidator(_one_script), StringConstraints(min_length=1)]
Link = Annotated[str, AfterValidator(_link), StringConstraints(max_length=300)]
Gap = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    """Nothing but what is declared, as the declared type, with finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SubmittedDesign(Strict):
    """The design of an entry.

    Attributes:
        name: as it is called in a spec, ``"greedy-d"``, or its file's name, ``"my_design.py"``.
        params: every parameter, defaults included.
        source: digest of the syntax tree of the file that defines it.
        label: the name and the parameters that are not defaults.
        slug: what it is called in file names and addresses.
        control: whether it is shown the truth, and not ranked.
        deterministic: whether the same seed gives the same pairs; it must then do so when it is
            verified.
        family: see :data:`pairbench.spec.catalogue.FAMILIES`.
        summary: what it does, in a sentence.
        citation: the publication that it is from.
    """

    name: Plain
    params: dict[str, JsonValue]
    source: Digest
    label: Label
    slug: Slug
    control: bool = False
    deterministic: bool = True
    family: Plain | None = None
    summary: Prose = ""
    citation: Prose | None = None


class Curve(Strict):
    """What a design reached in one environment of the board.

    Attributes:
        environment: its label, id and the parameters that are not defaults.
        unit: what budgets count.
        budgets: cumulative, ``(b,)``; the reference's go beyond the board's.
        seeds: of the worlds, ``(s,)``.
        gaps: G(π̂) on held-out prompts, ``(s, b)`` reward units.
        spent: labels or money that went by each budget, mean over seeds, ``(b,)``.
        start: mean gap of π_ref, reward units.
        floor: mean least gap of the policy class, reward units.
        efficiency: mean design efficiency at the board's last budget.
        win_rate: mean win rate against π_ref there.
        seconds: mean time of the design's own work up to there, an episode.
        memory: the most memory that its work took, bytes; None where that is not known.
    """

    environment: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    unit: Literal["labels", "money"]
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1)
    gaps: tuple[tuple[Gap, ...], ...]
    spent: tuple[Gap, ...]
    start: Gap
    floor: Gap
    efficiency: Gap
    win_rate: Gap
    seconds: Gap
    memory: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Curve":
        marks, seeds = len(self.budgets), len(self.seeds)
        if list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError("budgets must grow")
        if len(set(self.seeds)) != seeds:
            raise ValueError("a seed stands twice")
        if len(self.gaps) != seeds or any(len(row) != marks for row in self.gaps):
            raise ValueError(f"gaps must be {seeds} rows of {marks}")
        if len(self.spent) != marks or list(self.spent) != sorted(self.spent):
            raise ValueError(f"spent must be {marks} numbers that do not fall")
        return self


class Verification(Strict):
    """What somebody found who computed an entry's figures again.

    Attributes:
        level: see :data:`LEVELS`.
        date: when.
        pairbench: the version that did it.
        cells: how many cells were computed again.
        fresh: seeds that nobody had announced, on which the design was run.
        secret: SHA-256 of the secret that they were drawn from.
    """

    level: Literal["recomputed", "reproduced"]
    date: Annotated[datetime.date, Field(strict=False)]
    pairbench: Plain
    cells: Annotated[int, Field(ge=1)]
    fresh: tuple[int, ...] = ()
    secret: Digest | None = None


class Manifest(Strict):
    """What is said of one design's cells on one board.

    Attributes:
        format: version of this form.
        protocol: under which the cells were played, see :data:`pairbench.cells.plan.PROTOCOL`;
            up to 3 ``design.source`` is the SHA-256 of the file's bytes.
        board: the board's name.
        board_digest: of its file, see :attr:`pairbench.boards.board.Board.digest`.
        division: ``"closed"``, where all but the design is as the board has it, or ``"open"``.
        changes: parameters of the environments that an open entry changes.
        design: whose cells these are.
        author: a person or a group.
        link: where to read more.
        date: when it was submitted.
        versions: of Python, pairbench and what it computes with.
        machine: what it was run on.
        commit: of the checkout that it was run from, where there was one.
        dirty: whether that had changes that were not committed.
    """

    format: Literal[1] = 1
    protocol: Annotated[int, Field(ge=UNSTATED)] = UNSTATED
    board: Slug
    board_digest: Digest
    division: Literal["closed", "open"] = "closed"
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    design: SubmittedDesign
    author: Plain
    link: Link
    date: Annotated[datetime.date, Field(strict=False)]
    versions: dict[str, Plain]
    machine: Plain
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    dirty: bool = False

    @model_validator(mode="after")
    def _division(self) -> "Manifest":
        if (self.division == "open") != bool(self.changes):
            raise ValueError("an entry of the open division, and no other, declares changes")
        return self


class BoardEntry(Manifest):
    """One design on one board: the manifest of its bundle, and the figures.

    Attributes:
        bundle: digest of the bundle with its pairs.
        curves: one for each environment of the board.
        verification: who computed it again, None where nobody did.
    """

    bundle: Digest
    curves: tuple[Curve, ...] = Field(min_length=1)
    verification: Verification | None = None

    @property
    def level(self) -> str:
        """What is known of the figures, a key of :data:`LEVELS`."""
        return "claimed" if self.verification is None else self.verification.level

    @property
    def other_version(self) -> str | None:
        """The version of pairbench that can compute the figures, None where this one can.

        It is the one that verified them, or else the one that made them.
        """
        if self.protocol == PROTOCOL:
            return None
        if self.verification is not None:
            return self.verification.pairbench
        return self.versions.get("pairbench") or LAST_VERSIONS.get(self.protocol, "another version")

    @property
    def unit(self) -> str:
        """What its budgets count: ``"labels"``, ``"money"``, or ``"labels or money"``."""
        return " or ".join(sorted({curve.unit for curve in self.curves}))

    def content(self) -> dict[str, Any]:
        """The entry as JSON."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_bytes(self) -> bytes:
        """The entry's file: canonical JSON (RFC 8785) and a line's end."""
        return rfc8785.dumps(self.content()) + b"\n"


def read_entry(data: bytes, name: str) -> BoardEntry:
    """An entry from the bytes of its file.

    Args:
        data: the bytes.
        name: of the file, for messages.

    Raises:
        InvalidSubmission: If it is too large, or not as it must be; names the place.
    """
    if len(data) > MOST_ENTRY_BYTES:
        raise InvalidSubmission(
            f"{name} has {len(data):,} bytes, where an entry may have {MOST_ENTRY_BYTES:,}."
        )
    return validated(BoardEntry, parsed_json(data, name), name)


def write_entry(entry: BoardEntry, path: Path) -> None:
    """Keep an entry, whole or not at all.

    Raises:
        InvalidSubmission: If it is too large to be one.
    """
    data = entry.to_bytes()
    read_entry(data, path.name)
    write_atomic(path, data)
