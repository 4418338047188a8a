"""Specs that people are shown, in docs, help and docstrings, are ones that can be given back."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairbench.design.registry import describe_design, design_names
from pairbench.oracles.annotators import annotator_names, describe_annotator
from pairbench.spec.text import parse_spec
from pairbench.worlds.registry import NAMESPACE, describe_env, environment_ids
from tests.commands import commands

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
# What a reader is to put in: an ellipsis, or one letter as in the formulas.
OPEN = re.compile(r"(?<==)(?:…|[a-zα-ω])(?=[,)])")


def known() -> dict[str, dict[str, Any]]:
    """The parameters of all designs, annotators and environments, by name."""
    named = {name: describe_design(name) for name in design_names()}
    named |= {name: describe_annotator(name) for name in annotator_names()}
    for id_ in environment_ids():
        named[id_] = named[id_.removeprefix(NAMESPACE)] = describe_env(id_)
    return {name: told["parameters"] for name, told in named.items()}


def specs(code: str, names: list[str]) -> Iterator[str]:
    """All ``name(key=value)`` in a piece of code, those inside of others included."""
    plain = code.replace('\\"', '"').replace("\\|", "|")
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    for match in re.finditer(rf"(?<![\w./-])(?:{alternatives})\((?=\s*\w+\s*=)", plain):
        end, depth = match.end(), 1
        while depth and end < len(plain):
            quoted = QUOTED.match(plain, end)
            depth += 0 if quoted else (plain[end] in "([{") - (plain[end] in ")]}")
            end = quoted.end() if quoted else end + 1
        yield OPEN.sub("1", plain[match.start() : end])


def shown(root: Path) -> dict[str, list[str]]:
    """The inline code of pages and docstrings, and the help of the command line, by place."""
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("leaderboards/*.md")]
    sources = [
        path for part in ("pairbench", "designs", "envs") for path in root.glob(f"{part}/**/*.py")
    ]
    places = {
        str(path.relative_to(root)): [
            code for _, code in CODE.findall(FENCE.sub("", path.read_text()))
        ]
        for path in (*pages, *sources)
    }
    for words, command in commands().items():
        texts = [command.help, *(getattr(p, "help", None) for p in command.params)]
        places[f"pairbench {words} --help"] = [text for text in texts if text]
        places[f"defaults of pairbench {words}"] = [
            p.default for p in command.params if isinstance(p.default, str)
        ]
    return places


def test_every_spec_that_is_shown_parses_and_names_parameters_that_there_are(root: Path) -> None:
    parameters = known()
    wrong, read = [], set()
    for place, codes in shown(root).items():
        for spec in (spec for code in codes for spec in specs(code, list(parameters))):
            name, given = parse_spec(spec)
            read.add(name)
            if not given.keys() <= parameters[name].keys():
                wrong.append((place, spec))
    assert not wrong
    # The reading is not of nothing: these are in a docstring, in help, in a default and on pages.
    assert {"guro", "mistake", "greedy-i-robust", "crowd", "pairbench/Isotropic-v1"} <= read


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("guro(bayesian=true)", ["guro(bayesian=true)"]),
        (
            "length-bias(weight=2) | mistake(rate=0.1)",
            ["length-bias(weight=2)", "mistake(rate=0.1)"],
        ),
        ("recorded(file='a)b.jsonl')", ["recorded(file='a)b.jsonl')"]),
        ("drift(size=s)", ["drift(size=1)"]),
        (
            "generate-first(design='guro(draws=3)')",
            ["generate-first(design='guro(draws=3)')", "guro(draws=3)"],
        ),
        ("np.uniform(low=0)", []),
        ("my-guro(draws=3)", []),
        ("uniform(view, n)", []),
        ("guro(draws=3", ["guro(draws=3"]),
    ],
)
def test_specs_are_found_in_code(code: str, found: list[str]) -> None:
    assert list(specs(code, list(known()))) == found
