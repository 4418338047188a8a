"""Whole sites."""

import datetime
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import pairbench
from pairbench import play, run
from pairbench.boards.board import board_names, load_board
from pairbench.boards.collection import load_entries
from pairbench.boards.entry import Verification
from pairbench.cells.plan import UNSTATED
from pairbench.design.registry import design_spec
from pairbench.errors import InvalidParameter, OutputExists
from pairbench.site import SiteSummary, build_site, serve_site
from pairbench.site.build import MARKER, environment_slug
from pairbench.submission.submit import make_submission
from tests.site.generated_boards import (
    BUDGETS,
    ENVIRONMENTS,
    fill_board,
    make_board,
    make_entry,
    write_entries,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    fill_board(folder, make_board(folder, "full-v1"), 4)
    make_board(folder, "empty-v1", ["pairbench/AlpacaEval57-v1", "pairbench/TinyLM-v1"])
    waiting = make_board(folder, "waiting-v1", ENVIRONMENTS[:1])
    write_entries(folder, waiting, make_entry(waiting, "early", 2.0))
    make_board(folder, "study", published=False)
    return folder


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> SiteSummary:
    return build_site(tmp_path_factory.mktemp("pages") / "out", root)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Links(HTMLParser):
    """The addresses and the ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.addresses += [attributes[k] or "" for k in ("href", "src") if k in attributes]
        self.ids += [attributes["id"] or ""] if "id" in attributes else []


def test_there_is_a_page_for_each_board_design_and_environment(built: SiteSummary) -> None:
    boards = {
        f"boards/{name}{kind}.html"
        for name in ("full-v1", "empty-v1", "waiting-v1")
        for kind in ("", ".compare")
    }
    designs = {"uniform", "first-two", "opened", "greedy-0", "leverage-1", "duel-2", "spread-3"}
    slugs = {environment_slug(e) for e in ENVIRONMENTS} | {"alpacaeval57-v1", "tinylm-v1"}
    assert set(built.pages) == {
        "index.html",
        *boards,
        *(f"designs/{slug}.html" for slug in designs),
        *(f"environments/{slug}.html" for slug in slugs),
    }


def test_what_was_built_is_what_lies_there(built: SiteSummary) -> None:
    files = contents(built.folder)
    assert built.files == len(files)
    assert built.bytes == sum(map(len, files.values())) - len(files[MARKER])
    static = sum(
        len(files[f"static/{name}"])
        for name in ("icon.svg", "site.css", "site.js", "vega.js", "charts.js")
    )
    assert built.heaviest == "boards/full-v1.html"
    assert built.heaviest_bytes == len(files[built.heaviest]) + static


def test_every_link_leads_somewhere_and_no_id_stands_twice(built: SiteSummary) -> None:
    pages = {name: Links((built.folder / name).read_text()) for name in built.pages}
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), name
        for address in page.addresses:
            if address.startswith("https://example.org/"):
                continue
            path, _, anchor = urllib.parse.unquote(address).partition("#")
            target = (built.folder / name).parent / path if path else built.folder / name
            assert target.resolve().is_file(), f"{name}: {address}"
            inside = str(target.resolve().relative_to(built.folder.resolve()))
            if anchor and ".compare." not in inside:
                assert anchor in pages[inside].ids, f"{name}: {address}"


def test_no_page_names_another_host_but_in_links_and_all_forbid_it(built: SiteSummary) -> None:
    for name in built.pages:
        text = (built.folder / name).read_text()
        assert text.count("Content-Security-Policy") == 1
        assert "default-src 'none'" in text
        assert not re.search(r'(?:src|href)="(?:https?:)?//(?!example\.org)', text)
        assert not re.search(r"<[^>]* (?:on\w+|style)=", text), name


def test_all_cells_of_a_design_can_be_taken_away(built: SiteSummary, root: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for entry in load_entries("full-v1", root):
        stem = built.folder / "cells" / "full-v1" / entry.design.slug
        cells = json.loads(stem.with_suffix(".json").read_text())
        assert cells == parquet.read_table(stem.with_suffix(".parquet")).to_pylist()
        expected = {
            (curve.environment, seed, budget): gap
            for curve in entry.curves
            for seed, gaps in zip(curve.seeds, curve.gaps, strict=True)
            for budget, gap in zip(curve.budgets, gaps, strict=True)
        }
        assert {(r["environment"], r["seed"], r["budget"]): r["gap"] for r in cells} == expected
        assert len(cells) == len(expected)


def test_the_same_boards_give_the_same_bytes(
    built: SiteSummary, root: Path, tmp_path: Path
) -> None:
    again = build_site(tmp_path / "again", root)
    assert contents(again.folder) == contents(built.folder)


def test_pages_of_an_earlier_build_are_replaced_and_nothing_else_is(
    root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    alone = make_board(tmp_path / "boards", "alone-v1")
    fill_board(tmp_path / "boards", alone, 1)
    build_site(out, tmp_path / "boards")
    assert (out / "designs" / "greedy-0.html").is_file()
    (tmp_path / "boards" / "alone-v1" / "entries" / "greedy-0.json").unlink()
    build_site(out, tmp_path / "boards")
    assert not (out / "designs" / "greedy-0.html").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("ten years of work")
    for taken in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(OutputExists, match="holds no pages"):
            build_site(taken, root)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "ten years of work"


def test_boards_that_wait_say_what_for_and_how_to_submit(built: SiteSummary) -> None:
    for name, waits in (
        ("empty-v1", "waits for its first entry"),
        ("waiting-v1", "1 entry waits for the reference"),
    ):
        text = (built.folder / f"boards/{name}.html").read_text()
        assert waits in text
        assert f"pairbench submit {name}" in text
        assert "static/vega.js" not in text


def test_a_page_says_why_a_pool_is_not_drawn(built: SiteSummary, data_folder: Path) -> None:
    del data_folder  # empty
    missing = (built.folder / "environments/alpacaeval57-v1.html").read_text()
    assert "pairbench data import alpaca-eval" in missing
    written = (built.folder / "environments/tinylm-v1.html").read_text()
    assert "A language model writes the completions" in written
    assert (built.folder / "environments/isotropic-v1.html").read_text().count("<circle") == 48


@pytest.mark.slow
def test_the_same_entries_give_the_same_bytes_wherever_they_are_built(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    # Three whose pools cannot be drawn: no data, no such environment, a file that does not load.
    lacking = {
        "pairbench/AlpacaEval57-v1": "`pairbench data import alpaca-eval PATH`",
        "pairbench/Nowhere-v1": "could not be created when the page was built",
        "mine.py": "could not be created when the page was built",
    }
    fill_board(boards, make_board(boards, environments=[*ENVIRONMENTS[:1], *lacking]), 2)
    sites = []
    for number, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text("raise RuntimeError(__file__)\n")
        subprocess.run(
            [sys.executable, "-m", "pairbench", "site", "build", "--boards", str(boards)],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
                "PYTHONHASHSEED": str(number),
                "PAIRBENCH_DATA": str(folder / "data"),
                "PAIRBENCH_CACHE": str(folder / "cache"),
                "HOME": str(folder),
            },
            check=True,
            capture_output=True,
        )
        sites.append(contents(folder / "site"))
    for name, content in sites[0].items():
        assert str(tmp_path).encode() not in content, name
        assert content == sites[1].get(name), name
    assert sites[0].keys() == sites[1].keys()
    for environment, reason in lacking.items():
        page = sites[0][f"environments/{environment_slug(environment)}.html"].decode()
        assert reason in page


def test_environment_pages_have_the_docstring_and_the_parameters(built: SiteSummary) -> None:
    text = (built.folder / "environments/nearduplicates-v1.html").read_text()
    assert "<strong>What this diagnoses.</strong>" in text
    assert "<strong>Known optimum.</strong>" in text
    row = re.search(r"<tr class=\"lead\">.*?</tr>", text, re.DOTALL)
    assert row is not None
    assert "duplicates" in row[0]
    assert "0.8" in row[0]
    assert "collapse onto one mode" in row[0]


def test_a_built_in_design_tells_of_itself_if_it_is_that_very_file(tmp_path: Path) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:1])
    source = design_spec("greedy-d").source
    for slug, digest in (("uniform", "ab" * 32), ("greedy-d", source), ("greedy-i", "ab" * 32)):
        entry = make_entry(board, slug, 1.0 if slug == "uniform" else 2.0, source=digest)
        write_entries(tmp_path / "boards", board, entry)
    out = build_site(tmp_path / "out", tmp_path / "boards").folder
    assert ">Documentation</h2>" in (out / "designs/greedy-d.html").read_text()
    assert ">Documentation</h2>" not in (out / "designs/greedy-i.html").read_text()


def test_an_entry_of_an_earlier_protocol_says_with_what_it_was_verified(tmp_path: Path) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:1])
    checked = Verification(
        level="reproduced", date=datetime.date(2026, 11, 28), pairbench="0.1.0", cells=3
    )
    params = design_spec("greedy-d").params
    changes: dict[str, dict[str, Any]] = {
        "uniform": {"verification": checked},
        "greedy-d": {"protocol": UNSTATED, "verification": checked, "params": params},
        "greedy-i": {"protocol": UNSTATED, "verification": None, "params": {"other": 1}},
    }
    for slug, change in changes.items():
        write_entries(tmp_path / "boards", board, make_entry(board, slug, 1.0, **change))
    out = build_site(tmp_path / "out", tmp_path / "boards").folder
    new, old, claimed = (
        (out / f"designs/{slug}.html").read_text() for slug in ("uniform", "greedy-d", "greedy-i")
    )
    assert "with 0.1.0" not in new
    assert "with pairbench" not in new
    assert "SHA-256 of its syntax tree" in new
    assert "reproduced</a> <small>with 0.1.0</small>" in old
    assert "verified with pairbench 0.1.0" in old
    assert "SHA-256 of its file" in old
    assert f"As of pairbench {pairbench.__version__}; the entry is of 0.1.0." in old
    assert "made with pairbench 0.1.0" in claimed
    assert "Documentation</h2>" not in claimed
    page = (out / f"boards/{board.name}.html").read_text()
    assert page.count("; verified with pairbench 0.1.0") == 2  # the tip and the title of a badge


def test_a_page_says_how_much_of_an_entry_was_computed_again(tmp_path: Path) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:1])
    checked = Verification(
        level="recomputed", date=datetime.date(2026, 11, 28), pairbench="0.1.0", cells=3
    )
    entry = make_entry(board, "uniform", 1.0, verification=checked)
    write_entries(tmp_path / "boards", board, entry)
    out = build_site(tmp_path / "out", tmp_path / "boards").folder
    (curve,) = entry.curves
    words = f"3 of {len(curve.seeds)} cells computed again"
    assert words in (out / "designs/uniform.html").read_text()


@pytest.mark.parametrize(
    ("paid", "said", "how"),
    [
        (0, "Labels saved", "how many labels"),
        (1, "Labels or money saved", "how many labels or money"),
        (2, "Money saved", "how much money"),
    ],
)
def test_a_board_says_whether_it_is_labels_or_money_that_is_saved(
    paid: int, said: str, how: str, tmp_path: Path
) -> None:
    board = make_board(tmp_path / "boards", environments=ENVIRONMENTS[:2])
    for slug, strength in (("uniform", 1.0), ("better", 2.0)):
        entry = make_entry(board, slug, strength)
        curves = tuple(
            curve.model_copy(update={"unit": "money" if place < paid else "labels"})
            for place, curve in enumerate(entry.curves)
        )
        write_entries(tmp_path / "boards", board, entry.model_copy(update={"curves": curves}))
    out = build_site(tmp_path / "out", tmp_path / "boards").folder
    rest = {"Labels saved", "Labels or money saved", "Money saved"} - {said}
    for page in ("index.html", f"boards/{board.name}.html", "designs/better.html"):
        text = (out / page).read_text()
        assert said in text, page
        assert not any(other in text for other in rest), page
    assert how in (out / f"boards/{board.name}.html").read_text()


@pytest.mark.slow
def test_the_boards_that_ship_have_pages(tmp_path: Path) -> None:
    built = build_site(tmp_path / "out")
    assert load_board("synthetic-v1").published is not None
    assert "boards/synthetic-v1.html" in built.pages
    assert built.heaviest_bytes < 1_500_000


def test_no_two_environments_of_the_boards_share_an_address() -> None:
    specs = {e.spec for name in board_names() for e in load_board(name).environments}
    assert len({environment_slug(spec) for spec in specs}) == len(specs)


def test_a_folder_of_pages_is_served(built: SiteSummary) -> None:
    server = serve_site(built.folder, 0)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/boards/full-v1.html"
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == (built.folder / "boards/full-v1.html").read_bytes()
    finally:
        server.shutdown()
        server.server_close()


def test_another_folder_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="holds no pages"):
        serve_site(tmp_path, 0)


def test_the_charts_library_is_shipped_with_its_notice() -> None:
    static = resources.files("pairbench.site").joinpath("static")
    head = static.joinpath("vega.js").read_text(encoding="utf-8")[:100]
    notice = static.joinpath("NOTICE").read_text(encoding="utf-8")
    named = re.findall(r"(vega[a-z-]*) (\d+\.\d+\.\d+)", head)
    assert len(named) == 3
    for package, version in named:
        assert re.search(rf"^{package} {re.escape(version)}", notice, re.MULTILINE)
    assert "University of Washington Interactive Data Lab" in notice


def test_a_run_of_a_board_becomes_pages(tmp_path: Path) -> None:
    world = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
    board = make_board(tmp_path / "boards", environments=[world], seeds=2)
    run(board.run_spec("greedy-d"), tmp_path / "run", jobs=1)
    for design in ("uniform", "greedy-d"):
        submission = make_submission(
            board, tmp_path / "run", design, author="Someone", link="https://example.org"
        )
        write_entries(tmp_path / "boards", board, submission.entry)
    out = build_site(tmp_path / "out", tmp_path / "boards").folder
    assert ">Documentation</h2>" in (out / "designs/greedy-d.html").read_text()
    page = (out / "boards/small-v1.html").read_text()
    assert {"greedy-d", "uniform"} <= set(re.findall(r"<a [^>]*>([^<]+)</a></th>", page))
    cells = json.loads((out / "cells/small-v1/greedy-d.json").read_text())
    episode = play(world, "greedy-d", seed=100, budgets=BUDGETS)
    played = {round_.budget: round_.score.gap for round_ in episode.rounds}
    gaps = {row["budget"]: row["gap"] for row in cells if row["seed"] == 100}
    assert gaps == pytest.approx(played, rel=1e-5)
