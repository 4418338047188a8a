"""Texts of a data set, from a local file or the Hugging Face hub."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pairbench.errors import InvalidData, MissingData
from pairbench.language.checkpoints import folder_digest
from pairbench.pool.records import iter_records, read_lines


def local_path(source: str) -> Path | None:
    """Return the file or folder of that name, or None where there is none, as for a hub id."""
    path = Path(source).expanduser()
    return path if source and path.exists() else None


def load_texts(source: str, split: str, fields: Sequence[str]) -> tuple[str, ...]:
    """Load all texts of a data set, in its order.

    Args:
        source: path of a file: ``.txt`` with one text a line, JSONL, JSON, CSV or Parquet; or the
            id of a data set on the hub, which :mod:`datasets` loads.
        split: split of a data set on the hub.
        fields: names of the field that may hold a record's text; the first that exists is used.

    Raises:
        MissingData: If there is no such file, and no such data set can be loaded.
        InvalidData: If a record has none of the fields, or the field holds no text.
    """
    path = local_path(source)
    return _texts(source, split, tuple(fields), folder_digest(path) if path else None)


@lru_cache(maxsize=2)
def _texts(
    source: str, split: str, fields: tuple[str, ...], _digest: str | None
) -> tuple[str, ...]:
    path = local_path(source)
    if path is None:
        return _load_hub_texts(source, split, fields)
    if path.suffix.lower() == ".txt":
        return tuple(read_lines(path))
    return tuple(_text(row.values, fields, row.location) for row in iter_records(path))


def _load_hub_texts(source: str, split: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    try:
        import datasets

        data: Any = datasets.load_dataset(source, split=split)
    except Exception as error:  # offline, unknown, damaged: each has errors of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise MissingData(
            f"cannot load the data {source!r} (split {split!r}): {reason}. Expected a file of "
            f"texts, .txt, JSONL, JSON, CSV or Parquet with a field {' or '.join(fields)}, or a "
            f"Hugging Face id: `hf download --repo-type dataset {source} --local-dir FOLDER` on a "
            "machine with network brings its files."
        ) from error
    name = next((name for name in fields if name in data.column_names), fields[0])
    rows = data.select_columns([name]) if name in data.column_names else data
    return tuple(_text(row, fields, f"{source}, row {i}") for i, row in enumerate(rows, start=1))


def _text(values: dict[str, Any], fields: tuple[str, ...], location: str) -> str:
    """Return a record's text; ``location`` names the record in errors."""
    text = next((values[name] for name in fields if name in values), None)
    if not isinstance(text, str):
        raise InvalidData(
            f"{location}: expected a text called {' or '.join(map(repr, fields))}, among the "
            f"fields {', '.join(map(repr, values))}."
        )
    return text
