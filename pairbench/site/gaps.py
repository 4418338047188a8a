"""Gaps of an entry, for the compare page."""

from pairbench.boards.entry import BoardEntry
from pairbench.site.text import script_json


def gaps_script(entry: BoardEntry) -> bytes:
    """Return a script that passes an entry's gaps to the compare page.

    Pages opened from a folder cannot load JSON, but they can load scripts.
    """
    data = {
        "slug": entry.design.slug,
        "name": entry.design.label,
        "curves": [{"seeds": c.seeds, "budgets": c.budgets, "gaps": c.gaps} for c in entry.curves],
    }
    return f"pairbench.receive({script_json(data)});\n".encode()
