"""Grammar of specs: ``"name(key=value)"``."""

import ast
import re
from typing import Any

from pairbench.errors import InvalidParameter

# The path of a file, whose folders may have brackets in their names, or a name; then parameters.
_SPEC = re.compile(r"(.+\.py(?::\w+)?|[^(]+)(\(.*)?", re.DOTALL)


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split ``"name(key=value, …)"`` into the name and the parameters, which are Python literals.

    ``true`` and ``false``, as TOML and JSON spell them, are read as ``True`` and ``False``.

    Raises:
        InvalidParameter: If the brackets hold anything but keyword arguments with literal values.
    """
    match = _SPEC.fullmatch(spec.strip())
    name, brackets = match.groups() if match else (spec.strip(), None)
    if not brackets:
        return name, {}
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError
        values = {k.arg: _BooleanNames().visit(k.value) for k in call.keywords if k.arg}
        params = {name: ast.literal_eval(value) for name, value in values.items()}
        if len(params) < len(call.keywords):  # a repeated keyword, or ``**dictionary``
            raise ValueError
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise InvalidParameter(
            f"cannot read the parameters of {spec!r}. Write them as in "
            "\"name(pilot=0.3, kind='x')\": names, equals signs, numbers or quoted strings."
        ) from error
    return name.strip(), params


class _BooleanNames(ast.NodeTransformer):
    """Transformer that replaces the names ``true`` and ``false`` by Python's constants."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the constant for ``true`` or ``false``, and any other name unchanged."""
        values = {"true": True, "false": False}
        return ast.Constant(values[node.id]) if node.id in values else node
