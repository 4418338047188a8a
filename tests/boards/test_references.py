"""Publications of designs, and their BibTeX, which a real parser reads."""

import re
from typing import Any

import latexcodec  # noqa: F401  (registers the codec)
import pytest
from hypothesis import given, strategies as st
from pybtex import format_from_string  # type: ignore[import-untyped]
from pybtex.database import parse_string  # type: ignore[import-untyped]

from pairbench.boards.references import (
    CRITERION_PAPER,
    Publication,
    bibtex,
    latex,
    parse_publications,
)
from pairbench.design.registry import describe_design, design_names

SOURCES = {
    'Jinnai and Honda 2024, "Annotation-Efficient Alignment", arXiv 2405.13541; λ is ours': [
        Publication(
            ("Jinnai", "Honda"), False, 2024, "Annotation-Efficient Alignment", None, "2405.13541"
        )
    ],
    "Ash, Zhang and Agarwal 2020, Batch learning by diverse, uncertain bounds, arXiv 1906.03671": [
        Publication(
            ("Ash", "Zhang", "Agarwal"),
            False,
            2020,
            "Batch learning by diverse, uncertain bounds",
            None,
            "1906.03671",
        )
    ],
    "Wald 1943, On Designs; Kiefer and Wolfowitz 1960, Two Problems, Biometrika": [
        Publication(("Wald",), False, 1943, "On Designs"),
        Publication(("Kiefer", "Wolfowitz"), False, 1960, "Two Problems", "Biometrika"),
    ],
    "the rule in Bickford Smith, van Amersfoort et al. 2023, BatchBALD, arXiv 1906.08158, eq. 5": [
        Publication(
            ("Bickford Smith", "van Amersfoort"), True, 2023, "BatchBALD", None, "1906.08158"
        )
    ],
    'kin of top-two sampling (Even-Dar 2016, "Simple Algorithms", COLT)': [
        Publication(("Even-Dar",), False, 2016, "Simple Algorithms", "COLT")
    ],
    "MacKay 1992, The Evidence Framework, Neural Computation 4(5); Pása 2011, Teams (of two)": [
        Publication(("MacKay",), False, 1992, "The Evidence Framework", "Neural Computation 4(5)"),
        Publication(("Pása",), False, 2011, "Teams"),
    ],
    "argued by Shen et al. 2025, First, arXiv 2502.04354 (whose rule is ours), and that by Gao "
    "et al. 2025, Second, arXiv 2502.09650": [
        Publication(("Shen",), True, 2025, "First", None, "2502.04354"),
        Publication(("Gao",), True, 2025, "Second", None, "2502.09650"),
    ],
    "the criterion of Han, Goyal, Ma 2026, arXiv 2606.19607, turned round": [
        Publication(("Han", "Goyal", "Ma"), False, 2026, "", None, "2606.19607")
    ],
    "common practice, no publication of its own": [],
    "after Wiens 1992": [],
    "": [],
}


def read(text: str) -> dict[str, Any]:
    """Parse a bibliography, and return its entries by key."""
    return dict(parse_string(text, "bibtex").entries.items())


@pytest.mark.parametrize("source", SOURCES)
def test_publications_are_parsed_from_prose(source: str) -> None:
    assert parse_publications(source) == SOURCES[source]


def test_the_bibliography_covers_every_design() -> None:
    sources = {name: describe_design(name)["source"] for name in design_names()}
    text = bibtex(sources)
    entries = read(text)
    assert len(entries) == text.count("@misc{")  # no key occurs twice
    keywords = {key: str(entry.fields["keywords"]).split(", ") for key, entry in entries.items()}
    assert {name for names in keywords.values() for name in names} == sources.keys()
    for name, source in sources.items():
        named = {key for key, names in keywords.items() if name in names}
        numbers = {str(entries[key].fields.get("eprint")) for key in named}
        assert set(re.findall(r"arXiv (\d{4}\.\d{5})", source or "")) <= numbers
        # A design without publication is a keyword of the package.
        assert named == {"pairbench"} or len(named) == len(parse_publications(source or ""))
        if "pairbench" in named:
            assert re.match("common practice|none", source)
    for key, entry in entries.items():
        assert re.fullmatch(r"[a-z]+\d{4}[a-z]+|pairbench", key)
        assert not re.search(r"arXiv|\d{4}", str(entry.fields["title"]))
        assert entry.persons["author"]


def test_a_bibliography_style_typesets_every_entry() -> None:
    sources = {name: describe_design(name)["source"] for name in design_names()}
    typeset = " ".join(format_from_string(bibtex(sources), "plain", output_backend="text").split())
    for text in (
        "Han, Goyal, and Ma. Which Pairs to Compare for LLM Post-Training? 2026.",
        "Stochastic Contextual Dueling Bandits",
        "Bengs, Saha, and Hüllermeier.",
        "Bıyık, Palan, Landolfi, Losey, and Sadigh. Asking Easy Questions.",
        "Bickford Smith, Kirsch, Farquhar, Gal, Foster, and Rainforth.",
        "Ouyang and others.",
    ):
        assert text in typeset


def test_a_bibliography_always_has_the_package_and_the_paper() -> None:
    entries = read(bibtex({}))
    assert list(entries) == ["pairbench", "han2026which"]
    paper = entries["han2026which"]
    assert [person.last_names for person in paper.persons["author"]] == [
        [name] for name in CRITERION_PAPER.authors
    ]
    assert paper.fields["eprint"] == "2606.19607"


def test_a_publication_of_several_designs_has_one_entry() -> None:
    entries = read(
        bibtex(
            {
                "one": "Lewis and Gale 1994, Text; Aa et al. 2020, Short, arXiv 2001.00001",
                "two": "Lewis and Gale 1994, Text, SIGIR",
                "three": "Aa, Bb, Cc 2020, Short and Long, ICML, arXiv 2001.00001",
            }
        )
    )
    assert len(entries) == 4
    lewis, aa = entries["lewis1994text"], entries["aa2020short"]
    assert lewis.fields["keywords"] == "one, two"
    assert lewis.fields["howpublished"] == "SIGIR"
    assert aa.fields["keywords"] == "one, three"
    assert (aa.fields["title"], aa.fields["howpublished"]) == ("{Short and Long}", "ICML")
    assert len(aa.persons["author"]) == 3


def test_duplicate_keys_get_letters() -> None:
    texts = [f"Aa 2020, Same word {number}x" for number in "abcd"]
    keys = read(bibtex({text: text for text in texts}))
    assert list(keys)[2:] == ["aa2020same", "aa2020sameb", "aa2020samec", "aa2020samed"]


WORDS = st.text(
    st.characters(max_codepoint=0x17F, exclude_categories=["C", "Z"]) | st.just(" "), max_size=40
)


@given(st.dictionaries(WORDS, st.none() | WORDS, max_size=3), WORDS)
def test_any_bibliography_can_be_parsed(sources: dict[str, str | None], title: str) -> None:
    text = bibtex({**sources, "cited": f'Aa 2020, "{title}", arXiv 2001.00001'})
    assert len(read(text)) == len(re.findall(r"^@misc\{", text, re.MULTILINE))


@given(st.text(st.sampled_from("abzABZ éèêëüöñçøłßåőčăžşı&%$#_{}~^\\")))
def test_accents_are_commands_and_special_characters_are_escaped(text: str) -> None:
    code = latex(text)
    assert code.isascii()
    braces = code.replace(r"\{", "").replace(r"\}", "")
    assert braces.count("{") == braces.count("}")
    assert not re.search(r"(?<!\\)[&%$#_~^]", re.sub(r"\\[~^](?=\{)", "", code))
    letters = "".join(c if c.isalpha() else " " for c in text)
    decoded = latex(letters).encode().decode("latex")
    assert "".join(c for c in decoded if c.isalpha()) == letters.replace(" ", "")
