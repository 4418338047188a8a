"""The commands of boards: an entry is made of a run, verified, shown, and put on pages."""

import datetime
import json
import lzma
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from typer.testing import CliRunner, Result

from pairbench.boards.collection import load_entries
from pairbench.boards.entry import Verification, read_entry
from pairbench.cells.plan import PROTOCOL, UNSTATED
from pairbench.cli.app import app
from pairbench.errors import InvalidParameter, InvalidSubmission, OutputExists
from pairbench.submission.bundle import unpack_bundle
from tests.site.generated_boards import ENVIRONMENTS, make_board, make_entry, write_entries
from tests.small_board import NAME, played, small_board
from tests.submission.conftest import repacked

WHO = ("--author", "Ada Lovelace", "--link", "https://example.org")
sandboxed = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of boards, and that of a run of one of them."""
    folder = tmp_path_factory.mktemp("boards")
    board = small_board(folder / "leaderboards")
    return folder / "leaderboards", played(board, folder / "run", ["leverage", "first-two"])


def given(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def submit(places: tuple[Path, Path], design: str, out: Path, *more: str | Path) -> Result:
    root, run = places
    return given(
        "submit", NAME, run, "--design", design, *WHO, "--boards", root, "--out", out, *more
    )


def test_a_dry_run_says_what_would_be_sent_and_writes_nothing(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    done = submit(places, "leverage", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    for part in ("leverage on small-v1", "closed", "Ada Lovelace", "8 cells", "leverage.json"):
        assert part in done.stdout
    assert not (tmp_path / "out").exists()


@sandboxed
@pytest.mark.slow
def test_an_entry_is_submitted_signed_verified_shown_and_put_on_pages(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    root, out = shutil.copytree(places[0], tmp_path / "leaderboards"), tmp_path / "leaderboards"
    key = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    assert f"{NAME} has no entry of 'uniform' yet" in " ".join(
        given("leaderboard", "show", NAME, "--boards", root).stdout.split()
    )
    assert submit(places, "uniform", out).exit_code == 0
    signed = submit(places, "leverage", out, "--sign", key)
    assert "next: pairbench verify" in signed.stdout
    entries = root / NAME / "entries"
    assert {file.name for file in entries.iterdir()} == {
        *("leverage.json", "leverage.bundle", "leverage.bundle.sig"),
        *("uniform.json", "uniform.bundle"),
    }
    bundle = entries / "leverage.bundle"
    done = given("verify", bundle, "--boards", root, "--record", "--jobs", "1")
    assert done.exit_code == 0, done.stdout
    for part in ("signed by SHA256:", "recomputed  8 cells", "level: reproduced", "fresh seeds"):
        assert part in done.stdout
    (one,) = (entry for entry in load_entries(NAME, root) if entry.design.name == "leverage")
    assert one.level == "reproduced"
    output = given("leaderboard", "show", NAME, "--boards", root).stdout
    assert "leverage" in output
    assert "reproduced" in output
    assert "claimed" in output
    built = given("site", "build", "--boards", root, "--out", tmp_path / "site")
    assert built.exit_code == 0, built.stdout
    assert (tmp_path / "site" / "index.html").is_file()


def test_designs_whose_long_names_begin_alike_are_told_apart(tmp_path: Path) -> None:
    board = make_board(tmp_path, environments=ENVIRONMENTS[:1])
    write_entries(tmp_path, board, make_entry(board, "uniform", 1.0))
    for end in ("-robust", "-robust', completions=4"):
        slug = f"long{len(end)}"
        label = f"generate-first(design='greedy-i{end})"
        write_entries(tmp_path, board, make_entry(board, slug, 2.0, label=label))
    output = given("leaderboard", "show", board.name, "--boards", tmp_path).stdout
    assert "…" not in output
    assert "completions=4" in output


def test_old_entries_and_new_ones_stand_on_one_board(tmp_path: Path) -> None:
    board = make_board(tmp_path, environments=ENVIRONMENTS[:1])
    checked = Verification(
        level="reproduced", date=datetime.date(2026, 11, 28), pairbench="0.1.0", cells=6
    )
    show = ("leaderboard", "show", board.name, "--boards", tmp_path)
    shown = []
    for old in (set(), {"uniform", "leverage"}):
        for slug, strength in (("uniform", 1.0), ("leverage", 2.0), ("duel", 3.0)):
            protocol = UNSTATED if slug in old else PROTOCOL
            entry = make_entry(board, slug, strength, protocol=protocol, verification=checked)
            write_entries(tmp_path, board, entry)
        shown.append(given(*show).stdout)
    new, mixed = shown
    assert "with 0.1.0" not in new
    assert mixed.count("reproduced*") == 2
    assert "*: verified with 0.1.0, under another protocol than this version's." in mixed
    rows, before = (
        [
            line.replace("*", "").split()
            for line in text.splitlines()
            if "0 s" in line or "×" in line
        ]
        for text in (mixed, new)
    )
    assert len(before) == 3
    assert rows == before


def test_a_bundle_of_an_earlier_protocol_says_which_version_verifies_it(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    assert submit(places, "leverage", tmp_path).exit_code == 0
    bundle = tmp_path / NAME / "entries" / "leverage.bundle"
    content = json.loads(lzma.decompress(bundle.read_bytes()))
    assert content["manifest"].pop("protocol") == PROTOCOL
    bundle.write_bytes(lzma.compress(rfc8785.dumps(content)))
    error = given("verify", bundle, "--boards", places[0]).exception
    assert isinstance(error, InvalidSubmission)
    assert str(error) == (
        "leverage.bundle was made under protocol 3, where 4 is known: verify it with pairbench "
        "0.1.0: pip install pairbench==0.1.0"
    )


def test_an_entry_that_is_there_is_not_overwritten(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    assert submit(places, "leverage", tmp_path).exit_code == 0
    before = (tmp_path / NAME / "entries" / "leverage.json").read_bytes()
    assert isinstance(submit(places, "leverage", tmp_path).exception, OutputExists)
    assert submit(places, "leverage", tmp_path, "--force").exit_code == 0
    assert read_entry(before, "before.json").design.name == "leverage"


def test_what_was_edited_is_not_verified_and_nothing_is_recorded(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    root, _ = places
    assert submit(places, "leverage", tmp_path).exit_code == 0
    entries = tmp_path / NAME / "entries"
    content = json.loads((entries / "leverage.json").read_bytes())
    content["curves"][0]["gaps"][0][0] /= 2
    (entries / "leverage.json").write_text(json.dumps(content))
    before = (entries / "leverage.json").read_bytes()
    verify = ("verify", entries / "leverage.bundle", "--boards", root, "--level", "recomputed")
    assert isinstance(given(*verify, "--record").exception, InvalidSubmission)
    assert (entries / "leverage.json").read_bytes() == before
    # Without the entry, the bundle is what it was.
    (entries / "leverage.json").unlink()
    done = given(*verify, "--json")
    assert done.exit_code == 0, done.stdout
    assert json.loads(done.stdout)["level"] == "recomputed"
    for missing in ((*verify, "--record"), ("verify", tmp_path / "no.bundle", "--boards", root)):
        assert isinstance(given(*missing).exception, InvalidSubmission)


def test_several_are_verified_at_once(places: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = places
    for design in ("leverage", "uniform"):
        assert submit(places, design, tmp_path).exit_code == 0
    entries = tmp_path / NAME / "entries"
    bundles = (entries / "uniform.bundle", entries / "leverage.bundle")
    verify = ("verify", *bundles, "--boards", root, "--level", "recomputed")
    done = given(*verify, "--record", "--jobs", "1")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.count("level: recomputed") == 2
    for design in ("leverage", "uniform"):
        entry = read_entry((entries / f"{design}.json").read_bytes(), design)
        assert entry.level == "recomputed"
    one_entry = given(*verify, "--entry", entries / "uniform.json")
    assert isinstance(one_entry.exception, InvalidParameter)
    # One that is not what it claims to be makes the command fail, whatever the others are.

    def spoil(content: dict[str, Any]) -> None:
        content["cells"][0]["rounds"][0]["score"]["gap"] *= 2

    bundle = unpack_bundle(bundles[0].read_bytes(), "uniform")[0]
    (entries / "uniform.json").unlink()
    bundles[0].write_bytes(repacked(bundle, spoil).data)
    assert given(*verify, "--jobs", "1").exit_code == 1


def test_a_board_is_run_in_part_and_with_changes(tmp_path: Path) -> None:
    board = ("synthetic-v1", "--testing", "--design", "first-two", "--jobs", "1")
    done = given("run", *board, "--change", "ridge=0.5", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stdout
    assert "ridge=0.5" in done.stdout
    assert "12 cells" in done.stdout
    for wrong in (("--change", "dim=3"), ("--change", "ridge")):
        assert given("run", *board, *wrong, "--out", tmp_path / "other").exit_code != 0
    alone = given("run", "--env", "PowerLaw-v1", "--testing", "--out", tmp_path / "other")
    assert "need a board" in str(alone.exception)
