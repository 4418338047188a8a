"""Bundles: all cells of one design on one board, in a single compressed JSON file.

A bundle is canonical JSON (RFC 8785), compressed by xz; its digest is the SHA-256 of the JSON.
Because it contains no file names and no code that runs when it is read, a malicious bundle can
neither write outside a folder (path traversal) nor execute anything (as a pickle could).
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

_MAX_JSON_BYTES = 64_000_000  # three times the reference's bundle on the largest board
_MAX_DECOMPRESSOR_BYTES = 256_000_000  # memory; files written by xz -9 need 65 MB
_CHUNK_BYTES = 1 << 20
_MAGIC = b"\xfd7zXZ\x00"

Count = Annotated[int, Field(ge=0, lt=2**53)]
Figure = Annotated[float, Field(ge=0)]


class BundledUsage(StrictModel):
    """Time and memory of one step, see :class:`pairbench._util.metering.Usage`."""

    seconds: Figure
    peak_bytes: Count | None


class BundledRound(StrictModel):
    """A round of an episode, as :meth:`pairbench.cells.play.Episode.results` returns it."""

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
            raise ValueError(
                f"pairs: expected three numbers for each of the {len(self.labels)} labels, got "
                f"{len(self.pairs)} numbers"
            )
        return self


class BundledCell(StrictModel):
    """One episode.

    Attributes:
        key: SHA-256 of the cell's identity, see :class:`pairbench.cells.plan.Cell`. The board
            determines the next four fields, too; they are repeated here for the reader.
        environment: label of the environment.
        unit: unit of the budgets.
        seed: seed of the world.
        horizon: last budget of the board, in ``unit``; the reference is played beyond it.
        start: score before the first label.
        rounds: rounds in the order in which they were played.
        selection: time and memory that the design used in each round.
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
            raise ValueError(
                f"selection: expected one item for each of the {len(self.rounds)} rounds, got "
                f"{len(self.selection)}"
            )
        return self


class Bundle(StrictModel):
    """A design's cells on a board.

    Attributes:
        format: version of the bundle format.
        manifest: metadata: board, design, author, versions and machine.
        source: text of the file that defines the design; None if the design ships with pairbench.
        cells: cells in the order of the board's environments, then of its seeds.
    """

    format: Literal[1] = 1
    manifest: Manifest
    source: Annotated[str, StringConstraints(max_length=500_000)] | None = None
    cells: tuple[BundledCell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Bundle":
        keys = [cell.key for cell in self.cells]
        if len(set(keys)) < len(keys):
            raise ValueError("cells: a cell occurs twice")
        if self.source is not None:
            content = self.source.encode()
            try:
                if (encoding := declared_encoding(content)) != "utf-8":
                    raise ValueError(f"it declares {encoding}, where bundles are UTF-8")
                digest = syntax_digest(content)
            except ValueError as error:
                raise ValueError(f"source: {error}") from None
            if digest != self.manifest.design.source:
                raise ValueError("source: its digest is not the one in the manifest")
        return self


@dataclass(frozen=True)
class PackedBundle:
    """File content and digest of a bundle.

    Attributes:
        data: content of the file.
        digest: SHA-256 of the uncompressed JSON, in hexadecimal.
    """

    data: bytes
    digest: str


# Why: docs/decisions/037-a-bundle-is-one-compressed-json-text.md
def pack_bundle(bundle: Bundle) -> PackedBundle:
    """Serialize and compress a bundle; equal bundles give equal bytes."""
    content = rfc8785.dumps(bundle.model_dump(mode="json"))
    data = lzma.compress(content, lzma.FORMAT_XZ, lzma.CHECK_CRC64, preset=9)
    return PackedBundle(data, hashlib.sha256(content).hexdigest())


def unpack_bundle(data: bytes, name: str) -> tuple[Bundle, str]:
    """Read a bundle from the content of its file, and compute its digest.

    Args:
        data: content of the file.
        name: name of the file, for messages.

    Returns:
        The bundle, and its SHA-256 in hexadecimal.

    Raises:
        InvalidSubmission: If the file is not a bundle, is larger than a bundle may be, or is not
            written as :func:`pack_bundle` writes it.
    """
    text = _decompress(data, name)
    content = parse_strict_json(text, name)
    _check_protocol(content, name)
    bundle = validate_model(Bundle, content, name)
    # Insist on canonical JSON: other spellings could hide content that the model does not read.
    if rfc8785.dumps(bundle.model_dump(mode="json")) != text:
        raise InvalidSubmission(
            f"{name} is not in canonical JSON, as `pairbench submit` writes it."
        )
    return bundle, hashlib.sha256(text).hexdigest()


def _check_protocol(content: Any, name: str) -> None:
    """Refuse a bundle of another protocol, under which cells are computed differently."""
    protocol = stated_protocol(content.get("manifest")) if isinstance(content, dict) else None
    if protocol is not None and protocol != PROTOCOL:
        raise InvalidSubmission(
            f"{name} was made under protocol {protocol}, where {PROTOCOL} is known: verify it with "
            f"{version_for(protocol)}"
        )


def _decompress(data: bytes, name: str) -> bytes:
    """Decompress an xz file, stopping as soon as the output exceeds the size limit."""
    if not data.startswith(_MAGIC):
        raise InvalidSubmission(
            f"{name} is no bundle: it is not compressed by xz. `pairbench submit` makes bundles; "
            "archives of files are none."
        )
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_DECOMPRESSOR_BYTES)
    text = bytearray()
    try:
        while not decompressor.eof:
            text += decompressor.decompress(data if decompressor.needs_input else b"", _CHUNK_BYTES)
            data = b""
            if len(text) > _MAX_JSON_BYTES:
                raise InvalidSubmission(
                    f"{name} is larger than {_MAX_JSON_BYTES:,} bytes once it is decompressed, "
                    "and no bundle is."
                )
            if decompressor.needs_input and not decompressor.eof:
                raise InvalidSubmission(
                    f"{name} is cut off: the compressed data is incomplete. Copy the file again."
                )
    except lzma.LZMAError as error:
        raise InvalidSubmission(f"{name} cannot be decompressed: {error}.") from None
    if decompressor.unused_data:
        raise InvalidSubmission(f"{name} goes on after the end of its bundle.")
    return bytes(text)
