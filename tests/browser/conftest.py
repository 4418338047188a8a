"""Debian's Chromium, by Playwright, and pages that note all that must not happen."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pairbench.boards.entry import BoardEntry
from pairbench.boards.standings import standings
from pairbench.site.build import BoardPage, board_pages, write_pages
from tests.site.generated_boards import fill_board, make_board, make_entry, write_entries

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

INJECTION = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;</script><!-- {{ 7*7 }}"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@dataclass
class Noted:
    """What a page did that it should not.

    Attributes:
        page: the page.
        errors: errors on the console, uncaught ones, and dialogs.
        outside: addresses asked for that are not the site's own.
    """

    page: "Page"
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


Open = Callable[..., Noted]


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium, where it is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a full board, whose first design is a stranger's, of a bare one, and an empty one.

    The bare one has one seed, which tells no interval, and a design without any gap.
    What the stranger writes would not get past the checks of entries: pages must not rely on them.
    """
    root, out = tmp_path_factory.mktemp("boards"), tmp_path_factory.mktemp("pages") / "out"
    full = make_board(root, "full-v1")
    fill_board(root, full, 9)
    make_board(root, "empty-v1", ["pairbench/AlpacaEval57-v1", "pairbench/TinyLM-v1"])
    bare = make_board(root, "bare-v1", seeds=1)
    perfect = make_entry(bare, "perfect", 9.0)
    nothing = [
        c.model_copy(update={"gaps": tuple(tuple(0.0 for _ in row) for row in c.gaps)})
        for c in perfect.curves
    ]
    perfect = perfect.model_copy(update={"curves": tuple(nothing)})
    write_entries(root, bare, make_entry(bare, "uniform", 1.0), perfect)
    written = {"author": INJECTION, "machine": INJECTION, "versions": {INJECTION: INJECTION}}
    strangers = [
        hostile(make_entry(full, "stranger", 8.0), **written),
        hostile(
            make_entry(full, "stranger-opened", 8.0),
            division="open",
            changes={"trainer": INJECTION},
            link="javascript:alert(3)",
            **written,
        ),
    ]
    pages = board_pages(root)
    for index, page in enumerate(pages):
        if page.board == full:
            entries = [*page.entries, *strangers]
            pages[index] = BoardPage(full, entries, standings(full, entries))
    return write_pages(out, pages).folder


def hostile(entry: BoardEntry, **written: Any) -> BoardEntry:
    """The entry with markup in every text of its design, and in what is written."""
    texts = dict.fromkeys(("name", "label", "summary", "citation", "family"), INJECTION)
    design = entry.design.model_copy(update={**texts, "params": {INJECTION: INJECTION}})
    return entry.model_copy(update={"design": design, **written})


@pytest.fixture
def open_page(browser: "Browser", site: Path) -> Iterator[Open]:
    """Open a page from its file: ``open_page("index.html", width=390, color_scheme="dark")``."""
    contexts = []

    def opened(name: str, width: int = 1280, address: str | None = None, **options: Any) -> Noted:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        noted = Noted(context.new_page())
        allowed = (address or site.as_uri(), "data:")

        def console(message: Any) -> None:
            if message.type in ("error", "warning"):
                noted.errors.append(message.text)

        def dialog(shown: Any) -> None:
            noted.errors.append(f"dialog: {shown.message}")
            shown.dismiss()

        def request(asked: Any) -> None:
            if not asked.url.startswith(allowed):
                noted.outside.append(asked.url)

        noted.page.on("console", console)
        noted.page.on("pageerror", lambda error: noted.errors.append(str(error)))
        noted.page.on("requestfailed", lambda asked: noted.errors.append(f"failed: {asked.url}"))
        noted.page.on("dialog", dialog)
        noted.page.on("request", request)
        noted.page.goto(f"{allowed[0]}/{name}")
        return noted

    yield opened
    for context in contexts:
        context.close()
