"""Bundles: all cells of one design on one board, in one file that holds nothing else.

A bundle is canonical JSON (RFC 8785), compressed by xz; its digest is the SHA-256 of the JSON. It
has no file names in it and nothing that is executed when it is read, so that there is no path to
escape by and nothing to unpickle.
"""

import hashlib
import lzma
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import Field, StringConstraints, model_validator

from pairbench.boards.entry import Digest, Manifest, StrictModel
from pairbench.boards.strict import parse_strict_json, validate_model
from pairbench.cells.plan import PROTOCOL, stated_protocol, version_for
from pairbench.errors import InvalidSubmission
from pairbench.spec.syntax import declared_encoding, syntax_digest

_MOST_JSON = 64_000_000  # three times what the largest board makes of its reference
_MEMORY = 256_000_000  # what the decompressor may take; xz -9 takes 65 MB
_CHUNK = 1 << 20
_MAGIC = b"\xfd7zXZ\x00"

Count = Annotated[int, Field(ge=0, lt=2**53)]
Figure = Annotated[float, Field(ge=0)]


class BundledUsage(StrictModel):
    """What something took: see :class:`pairbench._util.metering.Usage`."""

    seconds: Figure
    peak_bytes: Count | None


class BundledRound(StrictModel):
    """A round of an episode, as :meth:`pairbench.cells.play.Episode.results` has it."""

    budget: Annotated[int, Field(ge=1)]
    generated: tuple[Count, ...]
    pairs: tuple[Count, ...]
    labels: tuple[Annotated[float, Field(ge=0, le=1)] | None, ...]
    tokens_read: Count
    spent: Figure
    policy: Annotated[str, StringConstraints(max_length=200)]
    score: dict[str, Any]

    @model_validator(mode="after")
    def _consistent(self) -> "BundledRound":
        if len(self.pairs) != 3 * len(self.labels):
            raise ValueError("there must be three numbers of a pair for each label")
        return self


class BundledCell(StrictModel):
    """One episode.

    Attributes:
        key: SHA-256 of the cell's identity, see :class:`pairbench.cells.plan.Cell`; what stands
            in the next four follows from the board, too.
        environment: the environment's label.
        unit: what budgets count.
        seed: of the world.
        horizon: the board's last budget; the reference is played beyond it.
        start: the score before the first label.
        rounds: as they were played.
        selection: what the design took, by round.
    """

    key: Digest
    environment: str
    unit: Literal["labels", "money"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    horizon: Annotated[int, Field(ge=1)]
    start: dict[str, Any]
    rounds: tuple[BundledRound, ...] = Field(min_length=1)
    selection: tuple[BundledUsage, ...]

    @model_validator(mode="after")
    def _consistent(self) -> "BundledCell":
        if len(self.selection) != len(self.rounds):
            raise ValueError("selection must have a figure for each round")
        return self


class Bundle(StrictModel):
    """A design's cells on a board.

    Attributes:
        format: version of this form.
        manifest: what is said of them.
        source: the text of the file that defines the design; None where it ships with pairbench.
        cells: in the order of the board's environments, then of seeds.
    """

    format: Literal[1] = 1
    manifest: Manifest
    source: Annotated[str, StringConstraints(max_length=500_000)] | None = None
    cells: tuple[BundledCell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Bundle":
        keys = [cell.key for cell in self.cells]
        if len(set(keys)) < len(keys):
            raise ValueError("cells: a cell stands twice")
        if self.source is not None:
            content = self.source.encode()
            try:
                if (encoding := declared_encoding(content)) != "utf-8":
                    raise ValueError(f"it declares {encoding}, where bundles are UTF-8")
                found = syntax_digest(content)
            except ValueError as error:
                raise ValueError(f"source: {error}") from None
            if found != self.manifest.design.source:
                raise ValueError("source: its digest is not the one in the manifest")
        return self


@dataclass(frozen=True)
class Packed:
    """A bundle's file and digest."""

    data: bytes
    digest: str


# Why: docs/decisions/037-a-bundle-is-one-compressed-json-text.md
def packed(bundle: Bundle) -> Packed:
    """The bundle's file; the same bytes for the same bundle."""
    content = rfc8785.dumps(bundle.model_dump(mode="json"))
    data = lzma.compress(content, lzma.FORMAT_XZ, lzma.CHECK_CRC64, preset=9)
    return Packed(data, hashlib.sha256(content).hexdigest())


def unpacked(data: bytes, name: str) -> tuple[Bundle, str]:
    """The bundle in a file, and its digest.

    Args:
        data: the file's bytes.
        name: of the file, for messages.

    Raises:
        InvalidSubmission: If it is no bundle, is larger than any bundle, or was not written as
            :func:`packed` writes it.
    """
    content = _decompressed(data, name)
    said = parse_strict_json(content, name)
    _check_protocol(said, name)
    bundle = validate_model(Bundle, said, name)
    # One bundle, one text: what is not read could otherwise stand between what is.
    if rfc8785.dumps(bundle.model_dump(mode="json")) != content:
        raise InvalidSubmission(
            f"{name} is not in canonical JSON, as `pairbench submit` writes it."
        )
    return bundle, hashlib.sha256(content).hexdigest()


def _check_protocol(content: Any, name: str) -> None:
    """Refuse a bundle whose cells mean something else than they do here."""
    protocol = stated_protocol(content.get("manifest")) if isinstance(content, dict) else None
    if protocol is not None and protocol != PROTOCOL:
        raise InvalidSubmission(
            f"{name} was made under protocol {protocol}, where {PROTOCOL} is known: verify it with "
            f"{version_for(protocol)}"
        )


def _decompressed(data: bytes, name: str) -> bytes:
    if not data.startswith(_MAGIC):
        raise InvalidSubmission(
            f"{name} is no bundle: it is not compressed by xz. `pairbench submit` makes bundles; "
            "archives of files are none."
        )
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    found = bytearray()
    try:
        while not reader.eof:
            found += reader.decompress(data if reader.needs_input else b"", _CHUNK)
            data = b""
            if len(found) > _MOST_JSON:
                raise InvalidSubmission(
                    f"{name} is larger than {_MOST_JSON:,} bytes once it is decompressed, and no "
                    "bundle is."
                )
            if reader.needs_input and not reader.eof:
                raise InvalidSubmission(f"{name} is cut off.")
    except lzma.LZMAError as error:
        raise InvalidSubmission(f"{name} cannot be decompressed: {error}.") from None
    if reader.unused_data:
        raise InvalidSubmission(f"{name} goes on after the end of its bundle.")
    return bytes(found)
