"""Rows of files that come from outside, with the place that each stands at, for messages."""

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
"""In a folder that holds a pool in several files, the file that names them."""

_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\xff\xfe": "is UTF-16 text. Save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text. Save it as UTF-8",
    b"\x1f\x8b": "is compressed by gzip. Unpack it first",
    b"PK\x03\x04": "is a zip archive or a spreadsheet. Unpack it, or save the sheet as CSV",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd. Unpack it first",
}

# pydantic's words for these are of Python, not of files.
_EXPECTED = {
    "model_type": "an object",
    "list_type": "a list",
    "string_type": "a text",
    "greater_than_equal": "zero or more",
}


class Row(NamedTuple):
    """A record of a file.

    Attributes:
        place: the file and the line, row or item, counted from 1, as in ``pool.jsonl, line 7``.
        values: its fields.
    """

    place: str
    values: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """The records of a JSONL, JSON, CSV, TSV or Parquet file, or a folder's, one after the other.

    The kind is told by the name's ending, and what has none of these is JSON or JSONL. Text is
    UTF-8, with or without a byte order mark; lines may end in CRLF; blank lines are skipped. A
    folder is one that ``pairbench pool generate`` made.

    Args:
        path: the file or folder.

    Raises:
        InvalidData: If it cannot be read or holds something else, with the place.
    """
    empty = True
    try:
        for row in _rows(path):
            empty = False
            yield row
    except OSError as error:
        raise InvalidData(f"cannot read {path}: {error.strerror or error}.") from error
    if empty:
        raise InvalidData(f"{path} is empty: it holds no record.")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, without their ends.

    Args:
        path: UTF-8, with or without a byte order mark.

    Raises:
        InvalidData: If it cannot be read or holds none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidData(f"cannot read {path}: {error.strerror or error}.") from error
    _check_plain(path, content)
    # Not str.splitlines, which also parts lines at characters that texts may hold.
    ends = _text(content.removeprefix(_BOM), str(path)).split("\n")
    lines = [line.removesuffix("\r") for line in ends if line.strip()]
    if not lines:
        raise InvalidData(f"{path} is empty: it holds no line.")
    return lines


def validated(model: type[Model], row: Row) -> Model:
    """A row as a model.

    Raises:
        InvalidData: With the place, the field, what was expected and what came.
    """
    try:
        return model.model_validate(row.values)
    except ValidationError as error:
        raise InvalidData(f"{row.place}: {_problem(error, model)}") from error


def short(value: object) -> str:
    """A value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _rows(path: Path) -> Iterator[Row]:
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as file:
        head = file.read(4096)
    _check_plain(path, head)
    if path.suffix.lower() == ".parquet" or head.startswith(b"PAR1"):
        return _parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv(path)
    if head.removeprefix(_BOM).lstrip().startswith(b"["):
        return _json(path)
    return _jsonl(path)


def _check_plain(path: Path, head: bytes) -> None:
    for magic, problem in _FOREIGN.items():
        if head.startswith(magic):
            raise InvalidData(f"{path} {problem}.")


def _folder(path: Path) -> Iterator[Row]:
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise InvalidData(
            f"{path} is a folder without {MANIFEST}, and so none that `pairbench pool generate` "
            "made. Name a file."
        )
    found = _parsed(manifest.read_bytes(), str(manifest))
    names = found.get("files") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidData(f"{manifest}: expected an object with a list of 'files'.")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise InvalidData(
            f"{path} is not complete: of its {len(names)} files, {len(missing)} are missing, the "
            f"first of them {missing[0]}. The command that began it goes on from there."
        )
    for name in names:
        yield from _rows(path / name)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content.strip():
                place = f"{path}, line {number}"
                yield _row(_parsed(content, place), place, "one JSON object a line")


def _json(path: Path) -> Iterator[Row]:
    records = _parsed(path.read_bytes().removeprefix(_BOM), str(path))
    for number, record in enumerate(records, start=1):
        yield _row(record, f"{path}, item {number}", "a list of JSON objects")


def _row(value: object, place: str, expected: str) -> Row:
    if not isinstance(value, dict):
        raise InvalidData(f"{place}: expected {expected}, got {short(value)}.")
    return Row(place, value)


def _parsed(content: bytes, place: str) -> Any:
    try:
        return json.loads(_text(content, place))
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " * (error.lineno > 1)
        raise InvalidData(
            f"{place}: this is no JSON ({error.msg} at {line}column {error.colno}). "
            "Expected JSONL, one JSON object a line, or one JSON list of objects."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{place}: this is no JSON that can be read: {error}.") from error


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{place}: byte {error.start + 1} is no UTF-8. Save the file as UTF-8."
        ) from error


def _csv(path: Path) -> Iterator[Row]:
    text = _text(path.read_bytes().removeprefix(_BOM), str(path))
    csv.field_size_limit(sys.maxsize)  # completions may be longer than the 128 KiB it begins with
    # Spreadsheets of many countries write semicolons into what they call CSV.
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            place = f"{path}, line {reader.line_num}"
            if None in record:
                raise InvalidData(
                    f"{place}: there are more cells than the {len(reader.fieldnames or ())} "
                    "columns of the first line. A cell that holds a delimiter must be quoted."
                )
            # An empty cell says nothing.
            values = {key.strip(): cell for key, cell in record.items() if cell not in (None, "")}
            if values:
                yield Row(place, values)
    except csv.Error as error:
        raise InvalidData(f"{path}, line {reader.line_num}: this is no CSV: {error}.") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidData(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'pairbench[parquet]'."
        ) from error
    number = 0
    try:
        # In batches, because embeddings as Python numbers take eight times their space.
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                present = {key: value for key, value in record.items() if value is not None}
                yield Row(f"{path}, row {number}", present)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no Parquet file that can be read: {error}.") from error


def _problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with a row, in a sentence."""
    details = error.errors(include_url=False)
    first = details[0]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    said = _EXPECTED.get(first["type"], first["msg"])
    said = said.removeprefix("Value error, ").removeprefix("Input should be ")
    said = said if said.startswith("expected") else f"expected {said}"
    if first["type"] == "missing":
        text = f"field {field!r}{_other_names(model, field)} is missing."
    elif not field:  # what is wrong is the row as a whole
        text = f"{said}."
    else:
        text = f"field {field!r}: {said}, got {short(first['input'])}."
    more = len(details) - 1
    return text + (f" ({more} more fields of it are wrong, too.)" if more else "")


def _other_names(model: type[BaseModel], field: str) -> str:
    for info in model.model_fields.values():
        names = info.validation_alias
        if isinstance(names, AliasChoices) and names.choices[0] == field:
            return f" (or {', '.join(map(repr, names.choices[1:]))})"
    return ""
