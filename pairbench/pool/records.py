"""Records of users' files, each with its location for error messages."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from pydantic import AliasChoices, BaseModel, ValidationError

from pairbench.errors import InvalidData

Model = TypeVar("Model", bound=BaseModel)

MANIFEST = "pool.json"
"""Name of the file that lists the files of a pool folder."""

# Files of datasets' save_to_disk: of one data set, and of several splits of one.
_STATE, _SPLITS = "state.json", "dataset_dict.json"

_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"
_ARROW_FILE, _ARROW_STREAM = b"ARROW1", b"\xff\xff\xff\xff"
# First bytes of compressed files.
_COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda path: _read_zstd(path),
}
_COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")

# pydantic names these in terms of Python, not of files.
_EXPECTED = {
    "model_type": "an object",
    "list_type": "a list",
    "string_type": "a text",
    "greater_than_equal": "zero or more",
}


class Record(NamedTuple):
    """A record of a file.

    Attributes:
        location: the file and the line, row or item, counted from 1, as in ``pool.jsonl, line 7``.
        values: the record's fields by name.
        empty: names of a table's columns whose cell is empty.
    """

    location: str
    values: dict[str, Any]
    empty: frozenset[str] = frozenset()


def iter_records(path: Path) -> Iterator[Record]:
    """Read the records of a JSONL, JSON, CSV, TSV, Parquet or Arrow file, or of a folder of them.

    The format follows from the name's suffix; a file with none of these is JSON or JSONL. Text is
    UTF-8 or UTF-16, with or without a byte order mark in UTF-8; lines may end in CRLF; blank lines
    are skipped. Files may be compressed by gzip, bzip2, xz or zstd. A folder is one that
    ``pairbench pool generate`` or ``datasets``' ``save_to_disk`` writes.

    Args:
        path: the file or folder.

    Yields:
        The records in the file's order.

    Raises:
        InvalidData: If the file cannot be read, is empty, or has another format; the message gives
            the location.
    """
    is_empty = True
    with _reading(path):
        for record in _records(path):
            is_empty = False
            yield record
    if is_empty:
        raise InvalidData(f"{path} is empty: it holds no record.")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank, without their line ends.

    Args:
        path: the file, UTF-8 with or without a byte order mark.

    Raises:
        InvalidData: If the file cannot be read or has no such line.
    """
    with _reading(path), _open_text(path) as file:
        content = file.read()
    # str.splitlines would also split at characters that may occur in a text, such as U+2028.
    text = _decode(content.removeprefix(_BOM), str(path))
    lines = [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
    if not lines:
        raise InvalidData(f"{path} is empty: it holds no line.")
    return lines


def validate_record(model: type[Model], row: Record) -> Model:
    """Validate a record against a pydantic model.

    Args:
        model: the model.
        row: the record.

    Raises:
        InvalidData: If the record does not fit; the message gives the location, the field, what
            was expected and what came.
    """
    try:
        return model.model_validate(row.values)
    except ValidationError as error:
        raise InvalidData(f"{row.location}: {_first_problem(error, model)}") from error


def short_repr(value: object) -> str:
    """Return the repr of a value, cut to 60 characters, for messages."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of a file that is missing or damaged into :class:`InvalidData`."""
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidData(f"cannot read {path}: {reason}.") from error


def _records(path: Path) -> Iterator[Record]:
    """Yield the records of a file or folder, read in the format that its name or content shows."""
    if path.is_dir():
        return _read_folder(path)
    with _open_decompressed(path) as file:
        head = file.read(4096)
    suffix = next((s for s in reversed(path.suffixes) if s not in _COMPRESSED_SUFFIXES), "").lower()
    if suffix == ".parquet" or head.startswith(_PARQUET):
        return _read_parquet(path)
    if suffix == ".arrow" or head.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return _read_arrow(path)
    if suffix in (".csv", ".tsv"):
        return _read_csv(path)
    with _open_text(path) as file:
        head = file.read(4096)
    if head.removeprefix(_BOM).lstrip().startswith(b"["):
        return _read_json(path)
    return _read_jsonl(path)


def _open_decompressed(path: Path) -> BinaryIO:
    """Open a file that may be compressed."""
    with path.open("rb") as file:
        head = file.read(8)
    opener = next((o for magic, o in _COMPRESSIONS.items() if head.startswith(magic)), None)
    return path.open("rb") if opener is None else cast(BinaryIO, opener(path))


def _read_zstd(path: Path) -> BinaryIO:
    pa = _import_pyarrow(path, "is compressed by zstd")
    return io.BytesIO(pa.input_stream(str(path), compression="zstd").read())


def _open_text(path: Path) -> BinaryIO:
    """Open a text file, which may be compressed or UTF-16, as UTF-8.

    Raises:
        InvalidData: If it is no text.
    """
    file = _open_decompressed(path)
    with _open_decompressed(path) as probe:
        head = probe.read(4)
    if head == _ZIP:
        file.close()
        raise InvalidData(
            f"{path} is a zip archive or a spreadsheet. Unpack it, or save the sheet as CSV."
        )
    if not head.startswith(_UTF16_BOMS):
        return file
    with file:
        try:
            return io.BytesIO(file.read().decode("utf-16").encode())
        except UnicodeError as error:
            raise InvalidData(f"{path} begins like UTF-16 text and is not: {error}.") from error


def _read_folder(path: Path) -> Iterator[Record]:
    if (path / _SPLITS).is_file():
        splits = _parse_json((path / _SPLITS).read_bytes(), str(path / _SPLITS)).get("splits", [])
        raise InvalidData(
            f"{path} holds several splits. Name one of them: "
            f"{', '.join(str(path / str(split)) for split in splits)}."
        )
    if (path / MANIFEST).is_file():
        names = _listed_files(path / MANIFEST, lambda content: content["files"])
        remedy = "Run `pairbench pool generate` again to make the rest."
    elif (path / _STATE).is_file():
        arrow_files = [{"filename": file.name} for file in sorted(path.glob("*.arrow"))]
        names = _listed_files(
            path / _STATE,
            lambda content: [file["filename"] for file in content.get("_data_files", arrow_files)],
        )
        remedy = "Save the data set again."
    else:
        raise InvalidData(
            f"{path} is a folder without {MANIFEST}, which `pairbench pool generate` writes, and "
            f"without {_STATE}, which datasets' save_to_disk writes. Name a file or such a folder."
        )
    if missing := [name for name in names if not (path / name).is_file()]:
        raise InvalidData(
            f"{path} is not complete: of its {len(names)} files, {len(missing)} are missing, the "
            f"first of them {missing[0]}. {remedy}"
        )
    for name in names:
        yield from _records(path / name)


def _listed_files(manifest: Path, files: Callable[[Any], Any]) -> list[str]:
    """Return the names of the files that a folder's manifest lists."""
    content = _parse_json(manifest.read_bytes(), str(manifest))
    try:
        names = files(content)
    except (TypeError, KeyError, AttributeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidData(f"{manifest}: expected an object with a list of files.")
    return names


def _read_jsonl(path: Path) -> Iterator[Record]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content.strip():
                location = f"{path}, line {number}"
                yield _checked_record(
                    _parse_json(content, location), location, "one JSON object a line"
                )


def _read_json(path: Path) -> Iterator[Record]:
    with _open_text(path) as file:
        records = _parse_json(file.read().removeprefix(_BOM), str(path))
    for number, record in enumerate(records, start=1):
        yield _checked_record(record, f"{path}, item {number}", "a list of JSON objects")


def _checked_record(value: object, location: str, expected: str) -> Record:
    if not isinstance(value, dict):
        raise InvalidData(f"{location}: expected {expected}, got {short_repr(value)}.")
    return Record(location, value)


def _parse_json(content: bytes, location: str) -> Any:
    try:
        return json.loads(_decode(content, location))
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " * (error.lineno > 1)
        raise InvalidData(
            f"{location}: this is no JSON ({error.msg} at {line}column {error.colno}). "
            "Expected JSONL, one JSON object a line, or one JSON list of objects."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{location}: this is no JSON that can be read: {error}.") from error


def _decode(content: bytes, location: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{location}: byte {error.start + 1} is no UTF-8. Save the file as UTF-8."
        ) from error


def _read_csv(path: Path) -> Iterator[Record]:
    with _open_text(path) as file:
        text = _decode(file.read().removeprefix(_BOM), str(path))
    csv.field_size_limit(sys.maxsize)  # completions may exceed the default of 128 KiB
    # In many locales, spreadsheets separate the cells of a CSV by semicolons.
    header, _, body = text.partition("\n")
    n_skipped = 0
    if named := re.fullmatch(r"sep=(.)", header.strip()):  # for spreadsheets
        delimiter, text, n_skipped = named[1], body, 1
    else:
        delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            location = f"{path}, line {reader.line_num + n_skipped}"
            if None in record:
                raise InvalidData(
                    f"{location}: there are more cells than the {len(reader.fieldnames or ())} "
                    "columns of the first line. A cell that holds a delimiter must be quoted."
                )
            cells = {key.strip(): cell for key, cell in record.items()}
            values = {key: cell for key, cell in cells.items() if cell not in (None, "")}
            if values:
                yield Record(location, values, frozenset(cells.keys() - values.keys()))
    except csv.Error as error:
        line = reader.line_num + n_skipped
        raise InvalidData(f"{path}, line {line}: this is no CSV: {error}.") from error


def _read_parquet(path: Path) -> Iterator[Record]:
    pa = _import_pyarrow(path, "is a Parquet file")
    import pyarrow.parquet as pq

    with _open_decompressed(path) as file:
        # Read in batches, because embeddings as Python numbers take eight times the memory.
        try:
            batches = pq.ParquetFile(file).iter_batches(batch_size=1024)
            yield from _batch_records(path, batches)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise InvalidData(f"{path} is no Parquet file that can be read: {error}.") from error


def _read_arrow(path: Path) -> Iterator[Record]:
    pa = _import_pyarrow(path, "is an Arrow file")
    with _open_decompressed(path) as file:
        try:
            if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
                file.seek(0)
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                file.seek(0)
                batches = iter(pa.ipc.open_stream(file))
            yield from _batch_records(path, batches)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise InvalidData(f"{path} is no Arrow file that can be read: {error}.") from error


def _batch_records(path: Path, batches: Iterator[Any]) -> Iterator[Record]:
    """Yield the rows of Arrow's record batches, without fields that are null."""
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            number += 1
            present = {key: value for key, value in record.items() if value is not None}
            yield Record(f"{path}, row {number}", present)


def _import_pyarrow(path: Path, what: str) -> Any:
    """Import pyarrow, which a file needs that is of some kind."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError as error:
        raise InvalidData(
            f"{path} {what}, which needs pyarrow: pip install 'pairbench[parquet]'."
        ) from error
    return pa


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Describe in a sentence the first thing that is wrong with a record."""
    details = error.errors(include_url=False)
    first = details[0]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    reason = _EXPECTED.get(first["type"], first["msg"])
    reason = reason.removeprefix("Value error, ").removeprefix("Input should be ")
    reason = reason if reason.startswith("expected") else f"expected {reason}"
    if first["type"] == "missing":
        text = f"field {field!r}{_aliases(model, field)} is missing."
    elif not field:  # the record as a whole is wrong
        text = f"{reason}."
    else:
        text = f"field {field!r}: {reason}, got {short_repr(first['input'])}."
    n_more = len(details) - 1
    return text + (f" ({n_more} more of its fields are wrong.)" if n_more else "")


def _aliases(model: type[BaseModel], field: str) -> str:
    """List the other names that a field may have, in parentheses."""
    for info in model.model_fields.values():
        names = info.validation_alias
        if isinstance(names, AliasChoices) and names.choices[0] == field:
            return f" (or {', '.join(map(repr, names.choices[1:]))})"
    return ""
