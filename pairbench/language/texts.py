"""The texts of a data set: a user's own file, or one of the Hugging Face hub."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pairbench.annotation.rows import read_lines, read_rows
from pairbench.errors import InvalidData, MissingData
from pairbench.language.checkpoints import folder_digest


def local(source: str) -> Path | None:
    """The file or folder of that name, None where there is none, and so an id."""
    path = Path(source).expanduser()
    return path if source and path.exists() else None


def source_texts(source: str, split: str, fields: Sequence[str]) -> tuple[str, ...]:
    """All texts of a data set, in its order.

    Args:
        source: the path of a text file, one text a line of ``.txt``, or of JSONL, JSON, CSV or
            Parquet; or the id of a data set on the hub, which :mod:`datasets` loads.
        split: of the hub's.
        fields: what a text may be called in a record; the first that is there is taken.

    Raises:
        MissingData: If there is no such file, and no such data set can be loaded.
        InvalidData: If a record has none of the fields, or no text there.
    """
    path = local(source)
    return _texts(source, split, tuple(fields), folder_digest(path) if path else None)


@lru_cache(maxsize=2)
def _texts(
    source: str, split: str, fields: tuple[str, ...], _digest: str | None
) -> tuple[str, ...]:
    path = local(source)
    if path is None:
        return _of_hub(source, split, fields)
    if path.suffix.lower() == ".txt":
        return tuple(read_lines(path))
    return tuple(_text(row.values, fields, row.place) for row in read_rows(path))


def _of_hub(source: str, split: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    try:
        import datasets

        found: Any = datasets.load_dataset(source, split=split)
    except Exception as error:  # offline, unknown, damaged: each has errors of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise MissingData(
            f"cannot load the data {source!r} (split {split!r}): {reason}. Expected a file of "
            f"texts, .txt, JSONL, JSON, CSV or Parquet with a field {' or '.join(fields)}, or a "
            f"Hugging Face id: `hf download --repo-type dataset {source} --local-dir FOLDER` on a "
            "machine with network brings its files."
        ) from error
    name = next((name for name in fields if name in found.column_names), fields[0])
    rows = found.select_columns([name]) if name in found.column_names else found
    return tuple(_text(row, fields, f"{source}, row {i}") for i, row in enumerate(rows, start=1))


def _text(values: dict[str, Any], fields: tuple[str, ...], place: str) -> str:
    text = next((values[name] for name in fields if name in values), None)
    if not isinstance(text, str):
        raise InvalidData(
            f"{place}: expected a text called {' or '.join(map(repr, fields))}, among the fields "
            f"{', '.join(map(repr, values))}."
        )
    return text
