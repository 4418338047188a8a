"""Names that say nothing: a closed list, which no assigned name is or begins with."""

import ast
from collections.abc import Iterator
from pathlib import Path

FILLERS = frozenset(
    "asked drawn few found given kept known made much own place said shown there told took".split()
)
FOLDERS = ["pairbench", "designs", "envs"]
# A parameter that stands in records, and a key of JSON that is printed.
FIXED = {("envs/log_linear.py", "given"), ("pairbench/language/generation.py", "made")}


def assigned_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield every name that is assigned, and the names of functions, classes and arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def test_no_assigned_name_is_a_filler(root: Path) -> None:
    names = [
        (str(path.relative_to(root)), line, name)
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        for name, line in assigned_names(ast.parse(path.read_text()))
    ]
    assert len(names) > 5000
    fillers = [
        f"{path}:{line}: {name}"
        for path, line, name in names
        if name.lstrip("_").split("_")[0].lower() in FILLERS and (path, name) not in FIXED
    ]
    assert fillers == []
