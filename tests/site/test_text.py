"""Figures, docstrings and JSON as the pages show them."""

import html
import json
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from pairbench.site import text as site_text
from pairbench.stats.bootstrap import Estimate

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class Elements(HTMLParser):
    """The elements of a piece of HTML, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(JSON)
def test_script_json_is_equal_json_and_ends_no_script(value: object) -> None:
    text = str(site_text.script_json(value))
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text)


def test_script_json_refuses_numbers_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        site_text.script_json(math.inf)
    assert site_text.chart_number(math.inf) is None
    assert site_text.chart_triple(Estimate(1.23456, 0.0, math.inf)) == [1.235, 0.0, None]


@given(st.text(alphabet="<>&\"'`*- \n\tabc:/{}σ"))
def test_prose_makes_no_element_of_its_text(text: str) -> None:
    elements = Elements(str(site_text.prose(text)))
    assert set(elements.found) <= {"p", "pre", "ul", "li", "code", "strong"}
    assert set(elements.attributes) <= {"class"}


def test_prose_has_paragraphs_lists_equations_and_code() -> None:
    output = site_text.prose(
        "Chooses **well**,\nby ``view.pool``.\n\n    tr(C Σ⁻¹) < 1\n\n"
        "Arguments:\n\n- ``dim``: d.\n- ``b``:\n  β."
    )
    assert str(output) == (
        "<p>Chooses <strong>well</strong>, by <code>view.pool</code>.</p>\n"
        '<pre class="equation">tr(C Σ⁻¹) &lt; 1</pre>\n'
        "<p>Arguments:</p>\n"
        "<ul><li><code>dim</code>: d.</li><li><code>b</code>: β.</li></ul>"
    )


@given(st.text(min_size=1))
def test_prose_leaves_no_word_out(text: str) -> None:
    converted = Elements(str(site_text.prose(text))).text
    letters = re.findall(r"[a-z]+", text)
    assert re.findall(r"[a-z]+", html.unescape(converted)) == letters


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (0.5, "0.500"), (12.345, "12.3"), (4321.0, "4.32e+03"), (0.0, "0")],
)
def test_gaps_have_three_digits(value: float, text: str) -> None:
    assert site_text.gap_text(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (300 * 2**20, "300 MiB"),
        (5 * 2**40, "5120 GiB"),
    ],
)
def test_memory_is_told_in_its_unit(count: int | None, text: str) -> None:
    assert site_text.bytes_text(count) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [(20, "generate-first(k=10)"), (19, "generate-…rst(k=10)"), (8, "gen…=10)"), (3, "g…)")],
)
def test_long_names_keep_their_ends(length: int, text: str) -> None:
    name = site_text.abbreviate("generate-first(k=10)", length)
    assert name == text
    assert len(name) == length


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1e-5, "< 1 ms"), (0.0432, "43 ms"), (2.34, "2.3 s"), (59.6, "60 s"), (3600, "60 min")],
)
def test_times_are_told_in_seconds_or_minutes(seconds: float, text: str) -> None:
    assert site_text.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.org/a", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)//https://", False),
        ("data:text/html,x", False),
        ("//example.org", False),
        (" https://example.org", False),
    ],
)
def test_only_addresses_of_the_web_are_links(address: str, shown: bool) -> None:
    assert site_text.web_link(address) == (address if shown else None)


@pytest.mark.parametrize(
    ("value", "colour"),
    [(0.1, -3), (0.25, -3), (0.5, -2), (0.8, -1), (0.81, 0), (1, 0), (1.25, 1), (2, 2), (9, 3)],
)
def test_heatmap_level_is_one_of_seven(value: float, colour: int) -> None:
    assert site_text.heatmap_level(Estimate(value, 0.0, math.inf)) == colour


@pytest.mark.parametrize(
    ("ratio", "told"),
    [((0.5, 0.4, 0.9), "better"), ((0.9, 0.7, 1.1), "even"), ((2.0, 1.1, 3.0), "worse")],
)
def test_a_verdict_needs_an_interval_that_leaves_out_one(
    ratio: tuple[float, float, float], told: str
) -> None:
    assert site_text.verdict(Estimate(*ratio)) == told


def test_savings_are_split_into_figure_and_interval() -> None:
    assert site_text.savings_value(Estimate(2.04, 1.6, 2.4)) == "2.0×"
    assert site_text.savings_range(Estimate(2.04, 1.6, 2.4)) == "1.6 to 2.4"
    assert site_text.savings_range(Estimate(1.0, 1.0, 1.0)) == ""
    assert site_text.savings_value(Estimate(8.0, 7.0, math.inf, "above")) == "> 8.0×"


def test_a_geometric_mean_is_one_of_logarithms() -> None:
    assert site_text.geometric_mean([0.25, 4.0, 1.0]) == pytest.approx(1)
    assert site_text.geometric_mean([0.0, 4.0]) == 0


def test_environments_of_one_name_are_told_apart_by_their_parameters() -> None:
    alike = ["pairbench/PowerLaw-v1", "pairbench/PowerLaw-v1(annotator='crowd(votes=3)', dim=2)"]
    assert [site_text.shorten(one, alike) for one in alike] == [
        "PowerLaw-v1",
        "annotator='crowd(votes=3)', dim=2",
    ]
    rest = [*alike, "pairbench/Isotropic-v1"]
    assert site_text.shorten(alike[1], rest) == "PowerLaw-v1(annotator='crowd(votes=3)', dim=2)"
    assert site_text.shorten("other/World-v1") == "other/World-v1"
