"""Records of users' files, each with its location for error messages."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError

from pairbench.errors import InvalidData

Model = TypeVar("Model", bound=BaseModel)

MANIFEST = "pool.json"
"""Name of the file that lists the files of a pool folder."""

_BOM = b"\xef\xbb\xbf"
_UNSUPPORTED = {
    b"\xff\xfe": "is UTF-16 text. Save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text. Save it as UTF-8",
    b"\x1f\x8b": "is compressed by gzip. Unpack it first",
    b"PK\x03\x04": "is a zip archive or a spreadsheet. Unpack it, or save the sheet as CSV",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd. Unpack it first",
}

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
    """

    location: str
    values: dict[str, Any]


def iter_records(path: Path) -> Iterator[Record]:
    """Read the records of a JSONL, JSON, CSV, TSV or Parquet file, or of a pool folder.

    The format follows from the name's suffix; a file with none of these is JSON or JSONL. Text is
    UTF-8, with or without a byte order mark; lines may end in CRLF; blank lines are skipped. A
    pool folder is what ``pairbench pool generate`` writes.

    Args:
        path: the file or folder.

    Yields:
        The records in the file's order.

    Raises:
        InvalidData: If the file cannot be read, is empty, or has another format; the message gives
            the location.
    """
    is_empty = True
    try:
        for record in _records(path):
            is_empty = False
            yield record
    except OSError as error:
        raise InvalidData(f"cannot read {path}: {error.strerror or error}.") from error
    if is_empty:
        raise InvalidData(f"{path} is empty: it holds no record.")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank, without their line ends.

    Args:
        path: the file, UTF-8 with or without a byte order mark.

    Raises:
        InvalidData: If the file cannot be read or has no such line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidData(f"cannot read {path}: {error.strerror or error}.") from error
    _check_supported(path, content)
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


def _records(path: Path) -> Iterator[Record]:
    """Yield the records of a file or folder, read in the format that its name or content shows."""
    if path.is_dir():
        return _read_folder(path)
    with path.open("rb") as file:
        head = file.read(4096)
    _check_supported(path, head)
    if path.suffix.lower() == ".parquet" or head.startswith(b"PAR1"):
        return _read_parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _read_csv(path)
    if head.removeprefix(_BOM).lstrip().startswith(b"["):
        return _read_json(path)
    return _read_jsonl(path)


def _check_supported(path: Path, head: bytes) -> None:
    """Raise unless a file's first bytes may be those of a format that can be read."""
    for magic, problem in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InvalidData(f"{path} {problem}.")


def _read_folder(path: Path) -> Iterator[Record]:
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise InvalidData(
            f"{path} is a folder without {MANIFEST}, which `pairbench pool generate` writes. "
            "Name a file or such a folder."
        )
    content = _parse_json(manifest.read_bytes(), str(manifest))
    names = content.get("files") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidData(f"{manifest}: expected an object with a list of 'files'.")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise InvalidData(
            f"{path} is not complete: of its {len(names)} files, {len(missing)} are missing, the "
            f"first of them {missing[0]}. Run `pairbench pool generate` again to make the rest."
        )
    for name in names:
        yield from _records(path / name)


def _read_jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content.strip():
                location = f"{path}, line {number}"
                yield _checked_record(
                    _parse_json(content, location), location, "one JSON object a line"
                )


def _read_json(path: Path) -> Iterator[Record]:
    records = _parse_json(path.read_bytes().removeprefix(_BOM), str(path))
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
    text = _decode(path.read_bytes().removeprefix(_BOM), str(path))
    csv.field_size_limit(sys.maxsize)  # completions may exceed the default of 128 KiB
    # In many locales, spreadsheets separate the cells of a CSV by semicolons.
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            location = f"{path}, line {reader.line_num}"
            if None in record:
                raise InvalidData(
                    f"{location}: there are more cells than the {len(reader.fieldnames or ())} "
                    "columns of the first line. A cell that holds a delimiter must be quoted."
                )
            # An empty cell is an absent field.
            values = {key.strip(): cell for key, cell in record.items() if cell not in (None, "")}
            if values:
                yield Record(location, values)
    except csv.Error as error:
        raise InvalidData(f"{path}, line {reader.line_num}: this is no CSV: {error}.") from error


def _read_parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidData(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'pairbench[parquet]'."
        ) from error
    number = 0
    try:
        # Read in batches, because embeddings as Python numbers take eight times the memory.
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                present = {key: value for key, value in record.items() if value is not None}
                yield Record(f"{path}, row {number}", present)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no Parquet file that can be read: {error}.") from error


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
