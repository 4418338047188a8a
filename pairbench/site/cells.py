"""The gaps of an entry, for the compare page."""

from pairbench.site.words import island
from pairbench.submission.entry import BoardEntry


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
