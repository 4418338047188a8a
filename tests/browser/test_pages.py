"""The pages in a real browser, opened from their folder."""

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import stdtrit

from pairbench.site import build_site, serve_site
from tests.browser.conftest import INJECTION, Noted, Open
from tests.site.generated_boards import ENVIRONMENTS, make_board, make_entry, write_entries

pytestmark = pytest.mark.slow  # half a minute, most of it Chromium's

BOARD, COMPARE = "boards/full-v1.html", "boards/full-v1.compare.html"
PAGES = (
    "index.html",
    BOARD,
    COMPARE,
    "boards/bare-v1.html",
    "boards/bare-v1.compare.html",
    "boards/empty-v1.html",
    "boards/empty-v1.compare.html",
    "designs/stranger.html",
    "designs/stranger-opened.html",
    "environments/nearduplicates-v1.html",
    "environments/tinylm-v1.html",
)
DRAWN = "[data-chart] svg, [data-ratios] svg"


def drawn(noted: Noted) -> None:
    """Wait for the first chart where the page has any."""
    if noted.page.locator("[data-charts], [data-compare]").count():
        noted.page.locator(DRAWN).first.wait_for(state="attached")


def column(noted: Noted, table: str, number: int) -> list[str]:
    """The visible texts of a column, without what stands small below or beside them."""
    cells = noted.page.locator(f"#{table} tbody tr:visible > :nth-child({number})")
    return [text.split("\n")[0].strip() for text in cells.all_inner_texts()]


def values(noted: Noted, table: str, number: int) -> list[float]:
    cells = noted.page.locator(f"#{table} tbody tr > :nth-child({number})")
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells.all()]


def sideways(noted: Noted) -> int:
    """By how many pixels the page itself is wider than the window."""
    wider: int = noted.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible_quiet_and_ask_nobody_outside(open_page: Open, name: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    noted = open_page(name, color_scheme="light")
    drawn(noted)
    broken = []
    for scheme in ("light", "dark"):
        noted.page.emulate_media(color_scheme=scheme)
        # Without preload: the page's policy lets axe fetch no style sheets.
        result = axe.run(noted.page, options={"resultTypes": ["violations"], "preload": False})
        broken += [
            (scheme, rule["id"], [node["html"][:200] for node in rule["nodes"]][:3])
            for rule in result.response["violations"]
        ]
    assert broken == []
    assert noted.errors == []
    assert noted.outside == []


def test_the_scheme_is_followed(open_page: Open) -> None:
    def colours(scheme: str) -> list[int]:
        noted = open_page(BOARD, color_scheme=scheme)
        colour = noted.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in re.findall(r"\d+", colour)]

    assert min(colours("light")) > 230
    assert max(colours("dark")) < 40


@pytest.mark.parametrize("scripts", [True, False])
def test_no_page_scrolls_sideways_on_a_phone(open_page: Open, site: Path, scripts: bool) -> None:
    noted = open_page("index.html", width=390, java_script_enabled=scripts)
    for name in PAGES:
        noted.page.goto(f"{site.as_uri()}/{name}")
        if scripts:
            drawn(noted)
        assert sideways(noted) == 0, name


def test_the_corner_of_a_long_table_stays_above_what_scrolls_below_it(open_page: Open) -> None:
    noted = open_page("environments/nearduplicates-v1.html", width=390)
    under: str = noted.page.evaluate("""() => {
        const table = document.querySelector(".scroll.tall");
        table.scrollIntoView({behavior: "instant"});
        table.scrollTo(60, 60);
        const corner = table.querySelector("thead th.stick").getBoundingClientRect();
        const seen = document.elementFromPoint(corner.right - 6, corner.bottom - 6);
        return seen.closest("th, td").className;
    }""")
    assert under == "stick"


def test_headers_sort_their_column_by_mouse_and_by_keyboard(open_page: Open) -> None:
    noted = open_page(BOARD)
    gap = noted.page.locator("#closed thead th", has_text="Gap")
    number = 1 + noted.page.locator("#closed thead th").all_inner_texts().index(gap.inner_text())
    before = values(noted, "closed", number)
    gap.get_by_role("button").click()
    assert gap.get_attribute("aria-sort") == "ascending"
    assert values(noted, "closed", number) == sorted(before)
    noted.page.keyboard.press("Enter")
    assert gap.get_attribute("aria-sort") == "descending"
    assert values(noted, "closed", number) == sorted(before, reverse=True)
    design = noted.page.locator("#closed thead th", has_text="Design")
    design.get_by_role("button").focus()
    noted.page.keyboard.press("Space")
    assert gap.get_attribute("aria-sort") is None
    names = [name.lower() for name in column(noted, "closed", 2)]
    assert names == sorted(names)
    assert noted.errors == []


def test_sorting_by_rank_gives_the_first_order_back(open_page: Open) -> None:
    noted = open_page(BOARD)
    first = column(noted, "closed", 2)
    for head in ("Design", "Place"):
        noted.page.locator("#closed thead th", has_text=head).get_by_role("button").click()
    assert column(noted, "closed", 2) == first


def test_designs_are_found_by_text_and_by_family(open_page: Open) -> None:
    noted = open_page(BOARD)
    everyone = column(noted, "closed", 2)
    noted.page.get_by_label("Find").first.fill("GREEDY")
    result = column(noted, "closed", 2)
    assert result == [name for name in everyone if "greedy" in name]
    assert 0 < len(result) < len(everyone)
    assert (
        noted.page.locator("[data-count]").first.inner_text() == f"{len(result)} of {len(everyone)}"
    )
    noted.page.get_by_label("Find").first.fill("")
    noted.page.get_by_label("Family").first.select_option("plain")
    assert column(noted, "closed", 2) == ["uniform"]
    noted.page.get_by_label("Family").first.select_option("")
    assert column(noted, "closed", 2) == everyone


def test_controls_are_shown_apart_and_have_no_rank(open_page: Open) -> None:
    noted = open_page(BOARD)
    assert "first-two" not in column(noted, "closed", 2)
    assert column(noted, "controls", 2) == ["first-two"]
    assert column(noted, "controls", 1) == ["–"]


def test_a_level_says_what_it_means_on_focus_and_on_hover(open_page: Open) -> None:
    noted = open_page(BOARD)
    badge = noted.page.locator("#closed .badge").first
    badge.focus()
    tip = noted.page.locator("#tip")
    assert tip.inner_text() == badge.get_attribute("data-tip")
    assert badge.get_attribute("aria-describedby") == "tip"
    noted.page.keyboard.press("Escape")
    assert tip.is_hidden()
    badge.hover()
    assert tip.is_visible()


def test_focus_is_seen_and_the_keyboard_reaches_the_content_first(open_page: Open) -> None:
    noted = open_page(BOARD)
    noted.page.keyboard.press("Tab")
    skip = noted.page.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    box = skip.bounding_box()
    assert box is not None
    assert box["y"] >= 0
    noted.page.keyboard.press("Enter")
    noted.page.keyboard.press("Tab")
    assert noted.page.evaluate("document.activeElement.closest('main') !== null")
    outline = noted.page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"


@pytest.mark.parametrize("width", [390, 1280])
def test_names_of_bars_that_begin_alike_are_told_apart(
    open_page: Open, tmp_path: Path, width: int
) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:1])
    write_entries(tmp_path / "boards", board, make_entry(board, "uniform", 1.0))
    for k in (4, 8, 16):
        label = f"generate-first(design='greedy-i-robust', completions={k})"
        write_entries(tmp_path / "boards", board, make_entry(board, f"first-{k}", 2.0, label=label))
    built = build_site(tmp_path / "out", tmp_path / "boards")
    noted = open_page(
        f"boards/{board.name}.html", width=width, address=built.folder.resolve().as_uri()
    )
    chart = noted.page.locator("[data-chart=savings] svg")
    chart.wait_for(state="attached")
    names = [text for text in chart.locator("text").all_text_contents() if "gen" in text]
    assert {name[-4:] for name in names} == {"s=4)", "s=8)", "=16)"}
    assert noted.errors == []


def test_the_ratio_of_a_design_to_its_copy_is_drawn_at_one(open_page: Open, tmp_path: Path) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:1])
    one = make_entry(board, "uniform", 1.0)
    copy = one.design.model_copy(update={"slug": "copy", "label": "copy", "name": "copy"})
    write_entries(tmp_path / "boards", board, one, one.model_copy(update={"design": copy}))
    built = build_site(tmp_path / "out", tmp_path / "boards")
    address = built.folder.resolve().as_uri()
    noted = open_page(f"boards/{board.name}.compare.html#copy&uniform", address=address)
    chart = noted.page.locator("[data-ratios] svg")
    chart.wait_for(state="attached")
    heights = []
    for tick in ("2", "1", "0.5"):
        box = chart.get_by_text(tick, exact=True).bounding_box()
        assert box is not None
        heights.append(box["y"])
    assert heights[0] + 30 < heights[1] < heights[2] - 30
    assert noted.errors == []


def test_every_chart_is_drawn_and_designs_are_coloured_by_choice(open_page: Open) -> None:
    noted = open_page(BOARD)
    noted.page.locator("[data-chart=profile] svg").wait_for(state="attached")
    noted.page.locator("[data-chart=savings] svg").wait_for(state="attached")
    panels = noted.page.locator("[data-chart=curves] .panel svg")
    panels.nth(2).wait_for(state="attached")
    assert panels.count() == 3
    assert noted.page.locator("svg.savings").is_hidden()
    chips = noted.page.locator(".chip")
    before = chips.count()
    noted.page.get_by_text("Choose up to seven").click()
    free = noted.page.locator("[data-options] input:not(:checked)")
    free.first.check()
    assert chips.count() == before + 1
    while noted.page.locator("[data-options] input:enabled:not(:checked)").count():
        noted.page.locator("[data-options] input:enabled:not(:checked)").first.check()
    assert noted.page.locator("[data-options] input:checked").count() == 7
    assert noted.errors == []


def test_two_designs_are_compared_seed_by_seed(open_page: Open) -> None:
    noted = open_page(f"{COMPARE}#greedy-6&uniform")
    results = noted.page.locator("[data-results]")
    results.wait_for()
    first = noted.page.locator("[data-differences] tbody td").first
    forth = first.inner_text()
    assert noted.page.locator("[data-differences] tbody tr").count() == 3
    assert noted.page.locator("[data-differences] thead th").count() == 5
    noted.page.get_by_role("button", name="Swap").click()
    noted.page.wait_for_function("location.hash === '#uniform&greedy-6'")
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(first).not_to_have_text(forth)
    back = first.inner_text().split()[0]
    assert float(forth.split()[0]) * float(back) == pytest.approx(1, rel=0.02)
    assert noted.page.locator("[data-summary]").inner_text().count("uniform") == 1
    noted.page.get_by_label("Design B").select_option("uniform")
    assert results.is_hidden()
    assert "two different designs" in noted.page.locator("[data-summary]").inner_text()
    assert noted.errors == []


def test_ratios_and_their_intervals_are_those_of_the_cells(open_page: Open, site: Path) -> None:
    noted = open_page(f"{COMPARE}#greedy-6&leverage-7")
    noted.page.locator("[data-results]").wait_for()
    cell = noted.page.locator("[data-differences] tbody tr").nth(1).locator("td").nth(2)
    numbers = [float(number) for number in re.findall(r"[\d.]+", cell.inner_text())]

    def gaps(slug: str) -> NDArray[np.float64]:
        rows = json.loads((site / "cells" / "full-v1" / f"{slug}.json").read_text())
        chosen = [r for r in rows if (r["environment"], r["budget"]) == (ENVIRONMENTS[1], 200)]
        return np.array([row["gap"] for row in sorted(chosen, key=lambda row: int(row["seed"]))])

    one, other = gaps("greedy-6"), gaps("leverage-7")
    ratio, n = one.mean() / other.mean(), len(one)
    deviation = np.std(one / one.mean() - other / other.mean(), ddof=1) / np.sqrt(n)
    half = stdtrit(n - 1, 0.975) * deviation
    assert numbers == pytest.approx([ratio, ratio * np.exp(-half), ratio * np.exp(half)], rel=6e-3)


def test_without_scripts_all_figures_can_be_read(open_page: Open) -> None:
    noted = open_page(BOARD, java_script_enabled=False)
    page = noted.page
    assert page.locator("#closed tbody tr").count() == 11
    assert page.locator("svg.savings").is_visible()
    assert page.locator("[data-filters]").first.is_hidden()
    assert page.locator("details.numbers table").first.is_visible()
    assert page.locator("#closed .badge").first.get_attribute("title")
    page.locator("#heat").get_by_role("link", name="greedy-6").click()
    assert page.get_by_role("heading", level=1).inner_text() == "greedy-6"
    compare = open_page(COMPARE, java_script_enabled=False)
    assert compare.page.get_by_text("worked out by a script").is_visible()


@pytest.mark.parametrize(
    "name", [BOARD, COMPARE, "index.html", "designs/stranger.html", "designs/stranger-opened.html"]
)
def test_what_strangers_write_is_text_and_nothing_else(open_page: Open, name: str) -> None:
    noted = open_page(name if name != COMPARE else f"{COMPARE}#stranger&uniform")
    page = noted.page
    drawn(noted)
    assert page.get_by_text(INJECTION).count() > 0
    assert page.locator("img[onerror]").count() == 0
    assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
    if page.locator("[data-chooser]").count():
        page.get_by_text("Choose up to seven").first.click()
        assert page.locator("[data-options] label", has_text="onerror").count() == 1
    assert "49" not in page.title()
    assert noted.errors == []
    assert noted.outside == []


def test_links_of_strangers_pass_nothing_on(open_page: Open) -> None:
    noted = open_page(BOARD)
    link = noted.page.locator("#closed .by a[href^=http]").first
    assert link.get_attribute("rel") == "noopener nofollow"


def test_the_printed_page_is_light_and_has_its_tables_whole(open_page: Open) -> None:
    noted = open_page(BOARD, color_scheme="dark")
    drawn(noted)
    noted.page.emulate_media(media="print")
    style = "getComputedStyle(document.querySelector('{}')).{}"
    output = noted.page.evaluate(style.format("body", "backgroundColor"))
    assert min(int(part) for part in re.findall(r"\d+", output)) > 230
    assert noted.page.evaluate(style.format(".scroll", "overflowX")) == "visible"
    assert noted.page.locator("header.site nav").is_hidden()
    assert noted.page.locator("[data-filters]").first.is_hidden()
    assert noted.page.locator("[data-chart=savings] svg").is_visible()
    assert noted.page.pdf(format="A4").startswith(b"%PDF")


def test_pages_and_cells_are_served_to_this_machine_alone(open_page: Open, site: Path) -> None:
    server = serve_site(site, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        noted = open_page("designs/greedy-6.html", address=f"http://127.0.0.1:{port}")
        drawn(noted)
        with noted.page.expect_download(timeout=5000) as download:
            noted.page.get_by_role("link", name="All cells as JSON").click()
        assert download.value.suggested_filename == "greedy-6.json"
        assert noted.errors == []
        assert noted.outside == []
    finally:
        server.shutdown()
        server.server_close()
