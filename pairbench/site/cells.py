"""The gaps of an entry, to be taken away and for the compare page."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from pairbench.site.words import island
from pairbench.submission.entry import BoardEntry


def rows_json(table: Any) -> bytes:
    """A table of finite numbers and texts as :func:`pairbench.tables.to_json` gives it.

    Encoded column by column, in which the same texts come again and again; a site holds a
    hundred thousand rows.
    """
    columns = [
        _encoded(name, column.to_pylist())
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    lines = (f"{{{', '.join(row)}}}" for row in zip(*columns, strict=True))
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _encoded(name: str, values: Sequence[Any]) -> list[str]:
    @cache
    def text(value: Any) -> str:
        return f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"

    return [text(value) for value in values]


def gaps_script(entry: BoardEntry) -> bytes:
    """A script that hands the gaps to the compare page.

    A page that lies in a folder can load no JSON, but it can load a script.
    """
    told = {
        "slug": entry.design.slug,
        "name": entry.design.label,
        "curves": [{"seeds": c.seeds, "budgets": c.budgets, "gaps": c.gaps} for c in entry.curves],
    }
    return f"pairbench.receive({island(told)});\n".encode()
