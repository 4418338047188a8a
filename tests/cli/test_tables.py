"""The commands of tables: what goes to the terminal, and what into files."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from pairbench.boards.diff import diff, diff_json, diff_markdown
from pairbench.boards.export import export
from pairbench.cli.tables import diff_command, export_board_command, query_command
from tests.tiny_board import NAME, played


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return played(tmp_path_factory.getbasetemp())


def given(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command("query")(query_command)
    app.command("diff")(diff_command)
    app.command("export")(export_board_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_query_is_shown_or_written(places: tuple[Path, Path], tmp_path: Path) -> None:
    root, runs = places
    arguments = (
        "query",
        "select seed, gap from rounds order by all",
        "--runs",
        runs,
        "--boards",
        root,
    )
    n = 2 * 4 * (3 * 2 + 5)
    assert f"{n} rows, the first 40 shown; --rows 0 shows all" in given(*arguments).stdout
    assert f"\n{n} rows\n" in given(*arguments, "--rows", "0").stdout
    rows = json.loads(given(*arguments, "--json").stdout)
    assert len(rows) == n
    assert given(*arguments, "--csv").stdout.splitlines()[0] == "seed,gap"
    for how in (("--out", tmp_path / "a.parquet"), ("--parquet", "--out", tmp_path / "b")):
        assert given(*arguments, *how).stdout == ""
        assert pq.read_table(how[-1]).to_pylist() == rows
    assert pq.read_table(io.BytesIO(given(*arguments, "--parquet").stdout_bytes)).num_rows == n


def test_without_a_statement_relations_are_listed(tmp_path: Path) -> None:
    assert "entries:" in given("query", "--runs", tmp_path / "nowhere").stdout


def test_a_board_is_exported(places: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = places
    for form, ending in (("csv", "csv"), ("markdown", "md"), ("bibtex", "bib")):
        data = export(NAME, form, root)
        assert given("export", NAME, f"--{form}", "--boards", root).stdout_bytes == data
        file = tmp_path / f"board.{ending}"
        given("export", NAME, "--boards", root, "--out", file)
        assert file.read_bytes() == data
    cells = given("export", NAME, "--cells", "--csv", "--boards", root).stdout_bytes
    assert cells == export(NAME, "csv", root, cells=True)


def test_boards_are_compared(places: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = places
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "board.toml").write_text((root / NAME / "board.toml").read_text())
    result = diff(folder, root / NAME)
    arguments = ("diff", folder, root / NAME)
    assert json.loads(given(*arguments, "--json").stdout) == json.loads(
        json.dumps(diff_json(result))
    )
    assert given(*arguments, "--markdown").stdout == diff_markdown(result)
    output = given(*arguments)
    assert output.exit_code == 0
    assert f"{NAME}: 4 new" in output.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("query", "select 1", "--csv", "--json"), "--csv and --json exclude each other"),
        (("query", "select 1", "--out", "a.txt"), "cannot infer the format from the name a.txt"),
        (("query", "select 1", "--out", "a.bib"), "Give --csv, --json, --parquet with it"),
        (("export", NAME), "one of --csv, --json, --parquet, --markdown, --bibtex"),
        (("export", NAME, "--out", "a.txt"), "cannot infer the format from the name a.txt"),
    ],
)
def test_what_cannot_be_told_is_asked_for(arguments: tuple[str, ...], told: str) -> None:
    result = given(*arguments)
    assert result.exit_code == 1
    assert told in str(result.exception)
