"""Figures of the import structure of the pairbench that is on the path.

    python docs/structure.py
    PYTHONPATH=OTHER_CHECKOUT python docs/structure.py    # for comparison

A room is a package or a module directly below ``pairbench``. Layers are the longest chain of rooms
of which each imports the next, imports against the order left out. Imports against the order are
those whose removal leaves the rooms without a cycle (a small set, as grimp nominates it).
"""

import importlib.util
import sys
from collections.abc import Set
from functools import cache
from pathlib import Path

import grimp

ROOT = "pairbench"


def main() -> None:
    """Print the figures as a Markdown table."""
    spec = importlib.util.find_spec(ROOT)
    assert spec is not None
    assert spec.origin is not None
    files = [file.stem for file in Path(spec.origin).parent.glob("*.py")]
    graph = grimp.build_graph(ROOT, exclude_type_checking_imports=True, cache_dir=None)
    against = graph.nominate_cycle_breakers(ROOT)
    rows = {
        "modules at the root of the package": len(files),
        "modules in all": len(graph.modules),
        "layers of imports": layers(graph, against),
        "imports against their order": len(against),
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    sys.stdout.write(f"| | figure |\n|---|---|\n{table}")


def layers(graph: grimp.ImportGraph, against: Set[tuple[str, str]]) -> int:
    """Return the length of the longest chain of imports between rooms."""
    rooms: dict[str, set[str]] = {room: set() for room in graph.find_children(ROOT)}
    for module in graph.modules - {ROOT}:
        for imported in graph.find_modules_directly_imported_by(module) - {ROOT}:
            if (module, imported) not in against and room_of(module) != room_of(imported):
                rooms[room_of(module)].add(room_of(imported))

    @cache
    def height(room: str) -> int:
        return 1 + max((height(below) for below in rooms[room]), default=0)

    return max(height(room) for room in rooms)


def room_of(module: str) -> str:
    """Return the package or module directly below the root that a module belongs to."""
    return ".".join(module.split(".")[:2])


if __name__ == "__main__":
    main()
