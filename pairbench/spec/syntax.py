"""Digest of what Python source means to the interpreter, whatever its comments and docstrings say.

``ast.dump`` prints the same tree differently from one version of Python to the next (3.12 adds
``type_params``, 3.13 leaves empty lists out), so that the tree is written here by rules of our own.
"""

import ast
import hashlib
import io
import itertools
import tokenize
import warnings
from collections.abc import Iterator
from typing import Any

_MEANINGLESS = {"kind", "type_comment"}  # the u of u"text", and a comment


def syntax_digest(source: bytes) -> str:
    """Compute the SHA-256 of a source's syntax tree, the same on every version of Python.

    Comments, blank lines and layout do not count, nor do statements that do nothing: ``pass`` and
    constants, among them all docstrings. So a body of a docstring alone equals one of ``pass``
    alone. Docstrings are taken to have no effect: a design that reads its own ``__doc__``, its
    source or its line numbers while it runs is not told apart from one in which these differ.

    Args:
        source: the bytes of the file, whose first lines may declare their encoding.

    Raises:
        ValueError: If it is no Python, or nested too deeply to be parsed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # whoever imports the file is warned
            tree = ast.parse(source, "source")
    except SyntaxError as error:
        raise ValueError(f"it is no Python: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply to be parsed") from None
    digest = hashlib.sha256()
    for token in _tokens(tree):
        digest.update(token)
    return digest.hexdigest()


def declared_encoding(source: bytes) -> str:
    """Read the encoding that a source declares, ``"utf-8"`` where it declares none.

    Raises:
        ValueError: If there is no such encoding, or the source begins with bytes not of it.
    """
    try:
        return tokenize.detect_encoding(io.BytesIO(source).readline)[0].removesuffix("-sig")
    except SyntaxError as error:
        raise ValueError(f"it is no Python: {error.msg}") from None


def _tokens(tree: ast.AST) -> Iterator[bytes]:
    """Write a tree in preorder: names of fields and counts of items make it readable in one way."""
    stack: list[Any] = [tree]
    while stack:  # no recursion: a sum of a thousand terms is a thousand nodes deep
        item = stack.pop()
        if isinstance(item, ast.AST):
            fields = _fields(item)
            yield f"{type(item).__name__}({','.join(fields)})".encode()
            stack += reversed(fields.values())
        elif isinstance(item, list):
            yield f"[{len(item)}]".encode()
            stack += reversed(item)
        else:
            yield from _constant(item)


def _fields(node: ast.AST) -> dict[str, Any]:
    """Select the fields of a node that mean something, without those that are empty."""
    if isinstance(node, ast.Constant):
        return {"value": node.value}  # None, too
    fields = {name: value for name, value in ast.iter_fields(node) if name not in _MEANINGLESS}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = [item for item in value if not _does_nothing(item)]
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _does_nothing(item: object) -> bool:
    """Tell ``pass``, docstrings and other constants that stand as statements."""
    constant = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
    return constant or isinstance(item, ast.Pass)


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """Join neighbouring texts of an f-string, which Python 3.12 interlaces with empty ones."""
    joined: list[ast.expr] = []
    for text, group in itertools.groupby(parts, lambda part: isinstance(part, ast.Constant)):
        if not text:
            joined += group
        elif whole := "".join(ast.literal_eval(part) for part in group):
            joined.append(ast.Constant(whole))
    return joined


def _constant(value: object) -> Iterator[bytes]:
    """Write a constant with its type: 1, 1.0, True and "1" are four things."""
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")  # repr depends on the tables of Unicode
    elif isinstance(value, bytes):
        content = value
    elif isinstance(value, int):
        content = hex(value).encode()  # in decimal, Python refuses more than 4,300 digits
    else:
        content = repr(value).encode()  # of a float, the shortest text that is read as the same
    yield f"{type(value).__name__}:{len(content)}:".encode()
    yield content
