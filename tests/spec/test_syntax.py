"""The digest of a source's syntax tree: what it sees, what it does not, and that it is pinned."""

import ast
import io
import tokenize
import warnings
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pairbench.spec.syntax import declared_encoding, syntax_digest

CONSTRUCTS = '''"""Many constructs of Python 3.11."""
from __future__ import annotations
import os.path as p, sys
from . import near
from ..far import *

LIMIT: int = 0x_ff
values = [1, 1.0, 1e300, 1e999, 1j, True, None, ..., "é\\ud800", b"\\x00", u"u", -0.0, 10**40]
x, *rest = (yes if values else no), [*values], {**{}, "a": 1}, {1, 2}


@decorated(by=1)
class Thing(Base, metaclass=Meta):
    """Say something."""

    __slots__ = ()
    field: list[int] | None
    """Say something about a field."""

    async def method(self, a, /, b: int = 2, *c: str, d, e=None, **f) -> "Thing":
        """Say something else."""
        async with self as one, other(one):
            async for item in one[1:2, ::3, ...]:
                await item
        return [i async for i in self if i if not i]


class Empty(Exception):
    """Nothing."""


def generate(n):
    global LIMIT
    while n > 0 <= 3 != 4 is not None not in ():
        n -= 1; n @= n
        if n == 2: continue
        elif n: break
        else: pass
    else:
        yield
    def inner():
        nonlocal n
        del n, x[0]
        return
    try:
        raise Error from None
    except (A, B) as error:
        assert error, f"{error!r:>{n}}{n=}{n:%Y-{n}}" "tail" f"{n:}{{}}"
    except C:
        raise
    finally:
        ...
    try:
        yield from map(lambda a, *b, c=1: a if a else b, ~n ** -n // +n % n << n >> n & n ^ n | n)
    except* D:
        pass
    match n:
        case {"a": 1, **more} | [1, *_] if (m := n): pass
        case Point(0, y=None) as point: pass
        case -1.5 + 2j | True | "t" | a.b: pass
        case _: pass
    with (open(p) as f, g): return not (n and m or n)
    return {k: v for k, v in f}, {k for k in f}, (k for k in f), f(*n, **m), f""
'''
PINNED = "7c0d3f7d1f7bcd635575d5c3b4e00c71b7de1612631c8df90216e201bdc0fb21"
PAIRS = [
    *[("x = 1", f"x = {other}") for other in ("1.0", "True", "'1'", "b'1'", "1j", "2", "-1", "y")],
    ("x = 0.0", "x = -0.0"),
    ("x = 0.1", "x = 0.1000000000000001"),
    ("x = 0j", "x = 0.0"),
    ("x = 1e999", "x = 1e999j"),
    ("x = 1e999", "x = inf"),
    ("x = None", "x = ..."),
    ("x = None", "x = 'None'"),
    ("x = 'a'", "x = b'a'"),
    ("x = 'a'", "x = f'a{b}'"),
    ("x = 'ab'", "x = 'a', 'b'"),
    ("x = 'é'", "x = 'e\u0301'"),
    ("x = '\\ud800'", "x = '\\ud801'"),
    (f"x = {hex(16**5000)}", f"x = {hex(16**5000 + 1)}"),
    ("x = f'{a}'", "x = f'{a!r}'"),
    ("x = f'{a}b'", "x = f'b{a}'"),
    ("x = f'{a:b}'", "x = f'{a:{b}}'"),
    ("def f(): return", "def f(): return None"),
    ("def f(a, b): g", "def f(a, /, b): g"),
    ("def f(a=1, b=2): g", "def f(a=2, b=1): g"),
    ("def f(*, a=1, b): g", "def f(*, a, b=1): g"),
    ("def f(): g", "async def f(): g"),
    ("def f(): g", "class f: g"),
    ("if a: b\nelse: c", "if a: b\nc"),
    ("if a: pass\nelse: b", "if a: b"),
    ("if a: pass\nb", "if a: b"),
    ("while a: b\nelse: c", "while a: b\nc"),
    ("try: a\nexcept b: c", "try: a\nexcept* b: c"),
    ("try: a\nexcept: c", "try: a\nexcept b: c"),
    ("try: a\nexcept b: c\nelse: d", "try: a\nexcept b: c\nfinally: d"),
    ("a = b, c", "a = (b, c),"),
    ("a = b = c", "a = c"),
    ("a < b < c", "(a < b) < c"),
    ("x = {**a, 'b': c}", "x = {'b': c, **a}"),
    ("from a import b", "from .a import b"),
    ("import a.b", "import a.b as b"),
    ("a: int", "a: str"),
    ("a: int = 1", "(a): int = 1"),
    ("a: int", "a: 'int'"),
    ("f(*a)", "f(**a)"),
    ("x[1:2]", "x[1::2]"),
    ("match a:\n case _: b", "match a:\n case c: b"),
    ("match a:\n case None: b", "match a:\n case _: b"),
    ("# coding: latin-1\nx = 'é'", "x = 'é'"),
    ("f('a')", "g('a')"),
    ("'doc'\na", "a('doc')"),
]


def digest(text: str) -> str:
    return syntax_digest(text.encode())


def test_the_digest_of_many_constructs_is_pinned_for_all_versions_of_python() -> None:
    nodes = {type(node).__name__ for node in ast.walk(ast.parse(CONSTRUCTS))}
    assert len(nodes) > 90
    assert digest(CONSTRUCTS) == PINNED


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_differs_in_meaning_differs(one: str, other: str) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x=(1)  # a comment\n\n"),
        ("x = 255", "x = 0xff"),
        ("x = 'ab'", 'x = u"a" "b"'),
        ("x = f'{a}' 'b'", "x = f'{a}b'"),
        ("x = 1e2", "x = 100.0"),
        ("x = 1", "x = 1  # type: int"),
        ("class E(A): pass", "class E(A):\n    'A docstring.'"),
        ("class E(A): pass", "class E(A): ..."),
        ("def f(): return 1", "def f():\n    '''A docstring.'''\n    return 1"),
        ("async def f(): await a", "async def f():\n    'A docstring.'\n    await a"),
        ("x = 1", "'A docstring.'\nx = 1\n'''What x is.'''"),
        ("x = 1\ny = 2", "x = 1; y = \\\n  2\r\n"),
        ("x = 1", "\ufeffx = 1"),
        ("x = 'é'", "# coding: utf-8\nx = 'é'"),
    ],
)
def test_what_means_the_same_is_the_same(one: str, other: str) -> None:
    assert digest(one) == digest(other)


def test_an_encoding_that_is_declared_is_read() -> None:
    assert syntax_digest("# coding: latin-1\nx = 'é'".encode("latin-1")) == digest("x = 'é'")
    assert declared_encoding(b"x") == declared_encoding(b"\xef\xbb\xbfx") == "utf-8"
    assert declared_encoding(b"#!python\n# -*- coding: latin-1 -*-") == "iso-8859-1"
    with pytest.raises(ValueError, match="unknown encoding"):
        declared_encoding(b"# coding: none-of-all")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"def f(:", "it is no Python: .*line 1"),
        (b"x = 'a\0b'", "null bytes"),
        (b"\xff", "it is no Python"),
        (b"# coding: none-of-all\n", "it is no Python"),
        (b"# coding: hex\n00", "it is no Python"),
        (b"9" * 5000, "it is no Python"),
        (b"-" * 400_000 + b"1", "nested too deeply"),
        (b"not " * 100_000 + b"1", "nested too deeply"),
        (b"+".join([b"1"] * 200_000), "nested too deeply"),
        (b"a" + b".b" * 200_000, "nested too deeply"),
        (b"(" * 200_000, "it is no Python: too many nested parentheses"),
    ],
)
def test_what_cannot_be_parsed_is_a_value_error(source: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        syntax_digest(source)


def test_a_long_sum_is_no_deep_recursion_of_ours() -> None:
    assert digest("+".join(["1"] * 800)) != digest("+".join(["1"] * 801))


def test_escapes_that_are_none_raise_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert syntax_digest(b"x = '\\d'") == syntax_digest(b"x = '\\\\d'")


def free_lines(source: str) -> set[int]:
    """The numbers of lines that no token goes on beyond, so that a comment can follow each."""
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        inside |= set(range(token.start[0], token.end[0]))
    return set(range(1, source.count("\n") + 1)) - inside


DESIGNS = sorted((Path(__file__).parent.parent / "designs").glob("[a-z]*.py"))
words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@pytest.mark.slow
@given(st.data())
def test_comments_blank_lines_and_docstrings_anywhere_keep_the_digest(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(DESIGNS))
    source = path.read_text(encoding="utf-8")
    lines, free = source.splitlines(), free_lines(source)
    bodies = [
        node.body[0].lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    documented = data.draw(st.sets(st.sampled_from(bodies)))
    commented = data.draw(st.sets(st.sampled_from(sorted(free)), min_size=1, max_size=10))
    for number in range(len(lines), 0, -1):
        if number in commented:
            lines[number - 1] += f"  # {data.draw(words)}"
            lines[number:number] = ["", f"{' ' * data.draw(st.integers(0, 9))}#{data.draw(words)}"]
        if number in documented:
            margin = " " * (len(lines[number - 1]) - len(lines[number - 1].lstrip()))
            lines.insert(number - 1, f"{margin}{data.draw(words)!r}")
    edited = "\n".join(lines)
    # A future import stays the first statement but for the docstring, of which there may be one.
    if "from __future__" not in source:
        assert digest(edited) == digest(source)


class Edit(ast.NodeTransformer):
    """Edit one constant or one name of a tree, that of a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        self.number -= 1
        return ast.List([node], ast.Load()) if self.number == -1 else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        self.number -= 1
        return ast.Name(f"{node.id}_", node.ctx) if self.number == -1 else node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # type: ignore[return-value]

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return node


@pytest.mark.parametrize("path", DESIGNS, ids=lambda path: path.stem)
def test_layout_does_not_count(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert digest(ast.unparse(ast.parse(source))) == digest(source)


@pytest.mark.parametrize("path", DESIGNS[::8], ids=lambda path: path.stem)
@pytest.mark.slow
def test_each_constant_and_each_name_counts(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    seen = {digest(source)}
    number = 0
    while (edit := Edit(number)).visit(tree := ast.parse(source)) and edit.number < 0:
        seen.add(digest(ast.unparse(tree)))
        number += 1
    assert number > 5
    assert len(seen) == number + 1


def test_no_two_designs_have_the_same_digest() -> None:
    assert len({syntax_digest(path.read_bytes()) for path in DESIGNS}) == len(DESIGNS)
