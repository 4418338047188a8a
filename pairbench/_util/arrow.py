"""Arrow tables with declared columns, and their CSV, JSON and Parquet forms."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pairbench._util.files import replace_nonfinite
from pairbench.errors import InvalidParameter

Table = Any
"""A :class:`pyarrow.Table`, which has no types of its own."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        type: as Arrow calls it, ``"double"``.
        about: what stands in it, with its unit.
    """

    type: str
    about: str


Columns = Mapping[str, Column]


def to_parquet(table: Table) -> bytes:
    """Write a table as a Parquet file; the same bytes for the same table."""
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def to_json(table: Table) -> bytes:
    """Write a table as JSON, a list of objects; numbers that JSON does not have are null."""
    # Column by column, in which the same texts come again and again.
    columns = [
        _encoded(name, column.to_pylist())
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    lines = ",\n".join(f"{{{', '.join(row)}}}" for row in zip(*columns, strict=True))
    return f"[\n{lines}\n]\n".encode() if lines else b"[]\n"


def _encoded(name: str, values: Sequence[Any]) -> list[str]:
    """``"name": value`` for each value of a column."""
    key, encoded = json.dumps(name, ensure_ascii=False), dict[str, str]()

    def text(value: Any) -> str:
        if not isinstance(value, str):
            return (
                f"{key}: {json.dumps(replace_nonfinite(value), ensure_ascii=False, default=_plain)}"
            )
        if value not in encoded:
            encoded[value] = f"{key}: {json.dumps(value, ensure_ascii=False)}"
        return encoded[value]

    return [text(value) for value in values]


def to_csv(table: Table) -> bytes:
    """Write a table as CSV with a line of headings (RFC 4180); what is null is empty."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(table.column_names)
    writer.writerows([_csv(value) for value in row.values()] for row in _each(table))
    return file.getvalue().encode()


WRITERS: Mapping[str, Callable[[Table], bytes]] = {
    "parquet": to_parquet,
    "csv": to_csv,
    "json": to_json,
}
"""Functions that write a table, by format name."""


def schema(columns: Columns) -> Any:
    """Return the columns as a :class:`pyarrow.Schema`."""
    pa = import_pyarrow()
    return pa.schema([(name, pa.type_for_alias(column.type)) for name, column in columns.items()])


def from_rows(columns: Columns, found: Sequence[Mapping[str, Any]]) -> Table:
    """Build a table from its rows."""
    return import_pyarrow().Table.from_pylist([dict(row) for row in found], schema=schema(columns))


def concat_parts(columns: Columns, parts: Sequence[Mapping[str, Any]]) -> Table:
    """Concatenate parts of a table, which map columns to one value for all rows or one for each.

    Args:
        columns: of the table.
        parts: numpy arrays of one length ``(n,)``, at least one in a part, and single values. NaN
            becomes null.
    """
    pa, wanted = import_pyarrow(), schema(columns)
    tables = []
    for part in parts:
        n = next(len(values) for values in part.values() if isinstance(values, np.ndarray))
        arrays = []
        for field in wanted:
            values = part[field.name]
            if isinstance(values, np.ndarray):
                arrays.append(pa.array(values, field.type, from_pandas=True))
            else:
                arrays.append(pa.repeat(pa.scalar(values, field.type), n))
        tables.append(pa.Table.from_arrays(arrays, schema=wanted))
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def import_pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        InvalidParameter: If it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise InvalidParameter(
            "tables need pyarrow, which is not installed: pip install 'pairbench[site]'."
        ) from error
    return pyarrow


def _each(table: Table) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _csv(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(replace_nonfinite(value), ensure_ascii=False, default=_plain)
    return value


def _plain(value: Any) -> Any:
    """Convert a value of another type for JSON: an integral decimal to a number, else to a text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)
