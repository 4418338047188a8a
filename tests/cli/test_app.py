"""The command line, as people and scripts meet it."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import pairbench
from tests.commands import commands

TINY = "pairbench/LogLinear-v1(prompts=6, held_out_prompts=6, completions=4, dim=3)"
QUICK = ["--env", TINY, "--seeds", "0:2", "--budgets", "5,10", "--jobs", "2"]
SELECT = """
import numpy as np
def select(view, n, step=1):
    return np.tile([0, 0, step], (n, 1))
"""
DESIGN = '''
"""Pairs that [i]nobody[/i] knows.

    z = [i]x[/i]

Family: uncertainty.
Source: Das et al. 2024, "Title", arXiv 2402.10500.
Assumes: nothing.
Cost: O(N) a round.
"""

from pairbench import uniform_pairs


def select(view, n, step=1):
    """Choose.

    Args:
        step: how far.
    """
    return uniform_pairs(view, n)
'''.lstrip()
ENVIRONMENT = '''
from dataclasses import dataclass
from pairbench import Environment, make_env

@dataclass(frozen=True)
class Mine(Environment):
    """A world of my own."""

    dim: int = 3
    budgets = (4, 8)

    def world(self, seed):
        small = dict(prompts=4, held_out_prompts=4, completions=3, dim=self.dim)
        return make_env("pairbench/LogLinear-v1", **small).world(seed)
'''
Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
HEAVY = {"numpy", "torch", "scipy", "sklearn", "gymnasium", "pydantic", "matplotlib", "pebble"}


@pytest.fixture(scope="session")
def environment_variables(root: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def command(environment_variables: dict[str, str]) -> Cli:
    def call(*arguments: str, cwd: Path, **variables: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "pairbench", *arguments],
            cwd=cwd,
            env=environment_variables | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.fixture
def cli(command: Cli, tmp_path: Path) -> Cli:
    """Give a command in a process of its own."""

    def call(*arguments: str, cwd: Path = tmp_path, **variables: str) -> Done:
        return command(*arguments, cwd=cwd, **variables)

    return call


def good(done: Done) -> Done:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def refused(done: Done, kind: str, *parts: str) -> None:
    """One message on standard error, nothing on standard output, exit code 1."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith(f"{kind}: ")
    assert all(part in done.stderr for part in parts), done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, command: Cli) -> tuple[Path, Done]:
    """A run of a good design and of one that raises."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "bad.py").write_text(
        "def select(view, n):\n    raise RuntimeError('[red]no[/red]')\n"
    )
    arguments = ["--design", "leverage", "--design", "bad.py"]
    return folder, command("run", *QUICK, *arguments, cwd=folder)


# -- help and listings ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["data", "--help"], []])
def test_help_imports_nothing_heavy(
    environment_variables: dict[str, str], arguments: list[str]
) -> None:
    code = (
        "import sys\n"
        "from pairbench.cli.app import main\n"
        f"sys.argv = ['pairbench', *{arguments}]\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('MODULES', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_variables,
        capture_output=True,
        text=True,
        check=True,
    )
    output, _, modules = done.stdout.rpartition("MODULES")
    assert "Usage:" in output
    assert "typer" in modules.split()
    # typer itself takes pydantic to read the options of a command.
    allowed = set() if arguments in ([], ["--help"]) else {"pydantic"}
    assert not (HEAVY - allowed) & set(modules.split())


def test_the_version_is_told(here: Cli) -> None:
    assert good(here("--version")).stdout == f"pairbench {pairbench.__version__}\n"


def test_every_command_is_in_the_help(here: Cli) -> None:
    output = good(here("--help")).stdout
    commands = ("envs", "designs", "annotators", "check", "boards", "run", "report", "show")
    for name in (*commands, "data", "judged", "pool", "quickstart"):
        assert name in output


@pytest.mark.parametrize("words", commands())
def test_help_shows_every_text_and_every_default(here: Cli, words: str) -> None:
    command = commands()[words]
    # Wide enough that no text is broken into lines.
    output = " ".join(good(here(*words.split(), "--help", COLUMNS="1000")).stdout.split())
    assert " ".join(command.help.split()) in output
    for parameter in command.params:
        if text := getattr(parameter, "help", None):
            assert " ".join(text.split()) in output, parameter.name
        # A text stands for a default that the command works out, in brackets as Click has it.
        if isinstance(parameter.show_default, str):
            assert f"[default: ({parameter.show_default})]" in output, parameter.name
        elif parameter.default is not None and parameter.default is not False:
            assert parameter.show_default is True, parameter.name
            assert f"[default: {parameter.default}]" in output, parameter.name


@pytest.mark.parametrize(
    ("words", "name", "default"),
    [
        ("run", "seeds", "0:10"),
        ("run", "reference", "uniform"),
        ("run", "out", "runs/BOARD or runs/custom"),
        ("select", "dtype", "bfloat16 on a GPU, else float32"),
        ("leaderboard export", "out", "standard output"),
        ("verify", "cells", "all"),
    ],
)
def test_defaults_that_a_command_works_out_are_declared(
    words: str, name: str, default: str
) -> None:
    (parameter,) = (p for p in commands()[words].params if p.name == name)
    assert parameter.show_default == default


@pytest.mark.parametrize("what", ["envs", "designs", "annotators", "boards", "data list"])
def test_listings_are_tables_and_json(here: Cli, what: str) -> None:
    entries = json.loads(good(here(*what.split(), "--json")).stdout)
    table = good(here(*what.split())).stdout
    assert entries
    for entry in entries:
        assert {"name", "summary", "parameters"} <= set(entry)
        assert entry["name"] in table
        assert entry["summary"]


def test_listings_show_parameters(here: Cli) -> None:
    designs = {entry["name"]: entry for entry in json.loads(here("designs", "--json").stdout)}
    assert designs["i-optimal-two-stage"]["parameters"] == {
        "pilot": 0.2,
        "tol": 0.05,
        "rounding": "systematic",
    }
    envs = {entry["name"]: entry for entry in json.loads(here("envs", "--json").stdout)}
    assert envs["pairbench/StrongReward-v1"]["differs"]["reward_scale"] == 6.0


def test_designs_are_listed_by_family_with_source_and_cost(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DESIGN)
    (tmp_path / "plugin-1.dist-info").mkdir()
    entries = "[pairbench.designs]\nmine-[b] = mine:select\nbroken = nothing:here\n"
    (tmp_path / "plugin-1.dist-info" / "entry_points.txt").write_text(entries)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    output = good(cli("designs", PYTHONPATH=path)).stdout
    # The heading of the family comes before the design of that name.
    uncertain, other = output.partition("\nuncertainty  ")[2].split("\nother  ")
    assert re.search(
        r"^mine-\[b\] +Pairs that \[i\]nobody\[/i\] knows\. *$", uncertain, re.MULTILINE
    )
    assert re.search(r"^ +Das et al\. 2024 · O\(N\) a round *$", uncertain, re.MULTILINE)
    assert re.search(r"^broken +does not load: .*nothing:here", other, re.MULTILINE)
    assert max(map(cell_len, output.splitlines())) <= 120


def test_one_design_is_shown_in_full(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DESIGN)
    output = good(here("designs", "mine.py(step=2)")).stdout
    for part in (
        "mine.py   uncertainty",
        "\n    z = [i]x[/i]\n",
        "\nstep=1   how far. ",
        "arXiv 2402",
    ):
        assert part in output
    assert f"code  {tmp_path}/mine.py" in output
    entry = json.loads(good(here("designs", "mine.py", "--json")).stdout)
    assert entry["family"] == "uncertainty"
    assert entry["assumes"] == "nothing"
    assert entry["about"] == {"step": "how far."}


def test_designs_are_listed_in_markdown(here: Cli) -> None:
    output = good(here("designs", "--markdown")).stdout
    assert output.startswith("| family | designs |\n|---|---|\n")
    assert "- `pilot=0.2`: rounds that begin before this share" in output
    one = good(here("designs", "uniform", "--markdown")).stdout
    assert one.count("\n### ") == 1


def test_annotators_are_listed_by_kind_with_parameters(here: Cli) -> None:
    output = good(here("annotators")).stdout
    places = [
        output.index(f"\n{kind}  ") for kind in ("perception", "choice", "reply", "ready-made")
    ]
    assert places == sorted(places)
    assert re.search(r"^ +rate=0\.1 · Lee et al\. 2021 *$", output[places[2] :], re.MULTILINE)
    assert "deterministic | skip(epsilon=0.1)" in output[places[3] :]
    one = good(here("annotators", "mistake(rate=0.3)")).stdout
    assert re.search(r"^rate=0\.1 +the probability of a mistake\.", one, re.MULTILINE)
    written = good(here("annotators", "--markdown")).stdout
    assert written.startswith("| family | annotators |\n|---|---|\n| [perception](#family-perc")
    assert "- `rate=0.1`: the probability of a mistake.\n" in written
    entry = json.loads(good(here("annotators", "skip", "--json")).stdout)
    assert entry["family"] == "reply"
    assert entry["parameters"] == {"epsilon": 0.1, "threshold": None}


# -- check ---------------------------------------------------------------------------------------


def test_a_good_design_passes_its_check(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DESIGN)
    done = good(cli("check", "mine.py(step=2)"))
    assert re.search(r"^ +rows .* pass +\d+\.\d s *$", done.stdout, re.MULTILINE)
    assert re.search(r"^note scale: it took \d+\.\d+ s", done.stdout, re.MULTILINE)
    assert re.search(r"^mine.py\(step=2\): 11 passed, in \d+\.\d s$", done.stdout, re.MULTILINE)
    assert done.stderr == ""


@pytest.mark.slow
def test_a_failed_check_says_what_to_fix(cli: Cli, tmp_path: Path) -> None:
    body = "return cycle_pairs(np.argwhere(view.pool.pair_mask), n)"
    (tmp_path / "[bad].py").write_text(
        f"import numpy as np\nfrom pairbench import cycle_pairs\ndef select(view, n):\n    {body}\n"
    )
    done = cli("check", "[bad].py")
    assert done.returncode == 1
    assert re.search(r"^ +prompt-order .* fail ", done.stdout, re.MULTILINE)
    match = re.search(r"^fix prompt-order: (.*)$", done.stdout, re.MULTILINE)
    assert match is not None
    assert "when the prompts were numbered otherwise" in match[1]
    assert re.search(r"^note docstring: there is no docstring", done.stdout, re.MULTILINE)
    assert re.search(r"^\[bad\].py: \d passed, \d failed, in", done.stdout, re.MULTILINE)


def test_a_check_is_json_too(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def select(view, n):\n    print(n)\n    return [[0, 0, 0]]\n")
    done = cli("check", "bad.py", "--json")
    assert done.returncode == 1
    read = json.loads(done.stdout)
    assert (read["design"], read["passed"]) == ("bad.py", False)
    by_check = {check["check"]: check for check in read["checks"]}
    assert (by_check["rows"]["status"], by_check["proper"]["status"]) == ("pass", "fail")
    assert "compares completion 0 with itself" in by_check["proper"]["message"]
    assert by_check["hard-cases"]["status"] == "skipped"
    assert set(by_check["rows"]) == {"check", "what", "status", "message", "seconds"}


# -- run, report, show ---------------------------------------------------------------------------


def test_a_run_prints_a_table_and_the_path_of_a_figure(cli: Cli, tmp_path: Path) -> None:
    done = good(cli("run", *QUICK, "--design", "leverage"))
    assert "4 cells in runs/custom: 4 played now." in done.stdout
    assert f"{TINY} after 10 labels" in done.stdout
    (figures,) = re.findall(r"^figure: (\S+\.svg) and (\S+\.png)$", done.stdout, re.MULTILINE)
    assert all((tmp_path / path).is_file() for path in figures)
    # A pipe gets plain lines.
    assert not {"\x1b", "\r"} & set(done.stdout + done.stderr)
    steps = re.findall(r"^(\d+) of 4 cells, \d+ s$", done.stdout, re.MULTILINE)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ("0", "4")
    again = good(cli("run", *QUICK, "--design", "leverage"))
    assert "4 cells in runs/custom: 0 played now, 4 already stored." in again.stdout


@pytest.mark.slow
def test_a_run_of_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SELECT)
    (tmp_path / "world.py").write_text(ENVIRONMENT)
    arguments = ["--env", "world.py:Mine(dim=2)", "--design", "mine.py(step=2)", "--seeds", "3"]
    done = good(cli("run", *arguments, "--jobs", "1", "--json"))
    (section,) = json.loads(done.stdout)["sections"]
    assert section["environment"] == "world.py:Mine(dim=2)"
    assert {row["design"] for row in section["rows"]} == {"uniform", "mine.py(step=2)"}
    assert {row["budget"] for row in section["rows"]} == {8}


@pytest.mark.slow
def test_a_run_with_an_annotator_chained_of_two(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    arguments = ["run", "--env", "env.py", "--env", TINY, "--seeds", "0", "--budgets", "5"]
    parts = ["--annotator", "deterministic", "--annotator", "mistake(rate=0.4)"]
    report = json.loads(good(cli(*arguments, *parts, "--jobs", "1", "--json")).stdout)
    expected = "annotator='deterministic | mistake(rate=0.4)'"
    assert [expected in section["environment"] for section in report["sections"]] == [True, True]
    # Other answers are other cells.
    again = good(cli(*arguments, "--jobs", "1"))
    assert "2 cells in runs/custom: 2 played now" in " ".join(again.stdout.split())


@pytest.mark.slow
def test_workers_are_told_of_device_and_dtype(cli: Cli, tmp_path: Path) -> None:
    assertions = "        import os\n        assert os.environ['PAIRBENCH_DEVICE'] == 'cpu'\n"
    assertions += "        assert os.environ['PAIRBENCH_DTYPE'] == 'float64'\n"
    (tmp_path / "env.py").write_text(
        ENVIRONMENT.replace("        small", assertions + "        small")
    )
    arguments = ["run", "--env", "env.py", "--seeds", "0:2", "--jobs", "2"]
    good(cli(*arguments, "--device", "cpu", "--dtype", "float64"))


@pytest.mark.slow
def test_files_in_a_folder_with_brackets_are_played(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my project (1)"
    folder.mkdir()
    (folder / "mine.py").write_text(SELECT)
    good(cli("run", *QUICK, "--design", "mine.py", cwd=folder))


def test_json_of_a_run_is_all_there_is_on_standard_output(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\n" + SELECT.replace("    return", "    print('hello', n)\n    return")
    )
    done = good(cli("run", *QUICK, "--design", "mine.py", "--json"))
    assert json.loads(done.stdout)["name"] == "custom"
    assert "4 cells in runs/custom: 4 played now." in done.stderr


def test_a_run_with_failures_reports_the_rest_and_exits_with_1(ran: tuple[Path, Done]) -> None:
    folder, done = ran
    assert done.returncode == 1
    assert "leverage" in done.stdout
    assert "2 cells failed:" in done.stderr
    assert "bad.py (2×" in done.stderr
    assert "RuntimeError: [red]no[/red] (in round 1)" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "runs" / "custom" / "run.json").is_file()


def test_a_run_of_failures_alone_says_why(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def select(view, n):\n    return [[0, 0, 0]]\n")
    arguments = ["--env", TINY, "--reference", "bad.py", "--seeds", "0", "--budgets", "5"]
    for _ in range(2):
        done = cli("run", *arguments)
        assert done.returncode == 1
        assert "compares completion 0 with itself" in done.stderr
        assert "Traceback" not in done.stderr
    output = cli("report", "runs/custom")
    assert "compares completion 0 with itself" in output.stderr
    assert "Traceback" not in output.stderr


def test_a_report_is_that_of_the_run(ran: tuple[Path, Done], command: Cli, tmp_path: Path) -> None:
    folder, done = ran
    again = good(command("report", "runs/custom", cwd=folder))
    table = done.stdout[done.stdout.index(TINY) :]
    assert again.stdout == table
    assert "2 cells failed:" in again.stderr
    as_json = good(
        command("report", "runs/custom", "--json", "--figures", str(tmp_path), cwd=folder)
    )
    read = json.loads(as_json.stdout)
    assert {row["design"] for row in read["sections"][0]["rows"]} == {"uniform", "leverage"}
    assert len(read["failures"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "learning-curves.png",
        "learning-curves.svg",
    }


def cells(folder: Path, status: str) -> list[Path]:
    files = sorted((folder / "runs" / "custom" / "cells").glob("*.json"))
    return [p for p in files if json.loads(p.read_bytes())["record"]["status"] == status]


def test_a_cell_is_shown_by_key_and_by_path(ran: tuple[Path, Done], command: Cli) -> None:
    folder, _ = ran
    path = cells(folder, "ok")[0]
    by_key = good(command("show", path.stem[:10], cwd=folder)).stdout
    by_path = good(command("show", str(path), cwd=folder)).stdout
    elsewhere = good(command("show", path.stem, "--runs", str(folder / "runs"), cwd=Path("/")))
    for output in (by_key, by_path, elsewhere.stdout):
        assert TINY in output.replace("\n", "")
        assert "first questions (prompt, first, second): (" in output
        assert "made with " in output
    as_json = good(command("show", path.stem[:10], "--json", cwd=folder)).stdout
    assert json.loads(as_json) == json.loads(path.read_bytes())["record"]


def test_a_failed_cell_is_shown_with_its_traceback(ran: tuple[Path, Done], command: Cli) -> None:
    folder, _ = ran
    output = good(command("show", cells(folder, "failed")[0].stem, cwd=folder)).stdout
    assert "failed: RuntimeError: [red]no[/red] (in round 1)" in output
    assert "raise RuntimeError('[red]no[/red]')" in output


def test_a_cut_cell_is_refused(ran: tuple[Path, Done], command: Cli, tmp_path: Path) -> None:
    folder, _ = ran
    cut = tmp_path / "cut.json"
    cut.write_bytes(cells(folder, "ok")[0].read_bytes()[:500])
    refused(
        command("show", str(cut), cwd=folder), "InvalidCell", "cut.json is cut off or was edited"
    )


# -- bad input -----------------------------------------------------------------------------------

REFUSED = [
    (["run", "quikstart"], "UnknownBoard", ["'quikstart'. Did you mean 'quickstart'?"]),
    (["run", *QUICK, "--design", "unifrm"], "UnknownDesign", ["Did you mean 'uniform'?"]),
    (["run", *QUICK, "--reference", "unifrm"], "UnknownDesign", ["Did you mean 'uniform'?"]),
    (
        ["run", "--env", "Isotropc-v1"],
        "UnknownEnvironment",
        ["Did you mean 'pairbench/Isotropic-v1'?"],
    ),
    (["run", *QUICK, "--design", "no.py"], "PluginError", ["cannot read no.py: No such file"]),
    (["run", *QUICK, "--design", "[/].py"], "PluginError", ["cannot read [/].py"]),
    (["run", *QUICK, "--design", "[red]x[/red]"], "UnknownDesign", ["no design '[red]x[/red]'"]),
    (["run", *QUICK, "--design", "uniform(x=1)"], "InvalidParameter", ["no parameter 'x'"]),
    (["run", *QUICK, "--design", "uniform(1)"], "InvalidParameter", ["cannot read the parameters"]),
    (
        ["run", "quickstart", "--env", TINY],
        "InvalidParameter",
        ["--env cannot be combined with one"],
    ),
    (["run", "quickstart", "--annotator", "mistake"], "InvalidParameter", ["--annotator cannot"]),
    (["run", *QUICK, "--annotator", "mistak"], "UnknownAnnotator", ["Did you mean 'mistake'?"]),
    (
        ["run", *QUICK, "--annotator", "mistake", "--annotator", "bradley-terry"],
        "InvalidParameter",
        ["Write 'bradley-terry | mistake'"],
    ),
    (["run", *QUICK, "--annotator", ""], "InvalidParameter", ["'' lacks a stage"]),
    (["run", "quickstart", "--seeds", "0"], "InvalidParameter", ["--seeds cannot be combined"]),
    (["run", "quickstart", "--budgets", "5"], "InvalidParameter", ["--budgets cannot be combined"]),
    (["run", "quickstart", "--reference", "uniform"], "InvalidParameter", ["--reference cannot"]),
    (["run"], "InvalidParameter", ["nothing to run", "pairbench run quickstart"]),
    (["run", "--design", "uniform"], "InvalidParameter", ["nothing to run"]),
    (["run", "--env", TINY, "--seeds", "a"], "InvalidParameter", ["cannot read the seeds 'a'"]),
    (["run", "--env", TINY, "--budgets", "9,5"], "InvalidParameter", ["that grow", "(9, 5)"]),
    (["run", "--env", TINY, "--budgets", ""], "InvalidParameter", ["budgets"]),
    (["run", *QUICK, "--jobs", "0"], "InvalidParameter", ["jobs must be 1 or more"]),
    (["run", *QUICK, "--time-limit", "0"], "InvalidParameter", ["time_limit must be a positive"]),
    (
        ["run", "--env", "AlpacaEval57-v1"],
        "MissingData",
        ["pairbench data import alpaca-eval PATH"],
    ),
    (["run", *QUICK, "--out", "/dev/null"], "RunError", ["/dev/null"]),
    (["run", *QUICK, "--device", "gpu"], "InvalidParameter", ["'cuda:1', got 'gpu'"]),
    (["run", *QUICK, "--dtype", "float23"], "InvalidParameter", ["Did you mean 'float32'?"]),
    (
        ["select", "pool.jsonl", "--budget", "1", "--device", "cuda:99"],
        "InvalidParameter",
        ["device 'cuda:99' is not there"],
    ),
    (["report", "nowhere"], "RunError", ["nowhere is no run folder"]),
    (["report", "[/]"], "RunError", ["[/] is no run folder"]),
    (["show", "abc"], "RunError", ["no cell begins with 'abc'"]),
    (["show", "[/]"], "RunError", ["no cell begins with '[/]'"]),
    (["check", "unifrm"], "UnknownDesign", ["Did you mean 'uniform'?"]),
    (["check", "no.py"], "PluginError", ["cannot read no.py: No such file"]),
    (["check", "uniform(x=1)"], "InvalidParameter", ["no parameter 'x'"]),
    (["check", "uniform", "--time-limit", "0"], "InvalidParameter", ["time_limit must be"]),
    (["designs", "unifrm"], "UnknownDesign", ["Did you mean 'uniform'?"]),
    (["annotators", "mistakes"], "UnknownAnnotator", ["Did you mean 'mistake'?"]),
    (["designs", "[/].py"], "PluginError", ["cannot read [/].py"]),
    (["data", "add", "no.npz"], "InvalidData", ["cannot read no.npz"]),
    (["data", "add", "[/].npz"], "InvalidData", ["cannot read [/].npz"]),
    (["data", "import", "alpaca-evil", "."], "UnknownDataset", ["Did you mean 'alpaca-eval'?"]),
]


@pytest.mark.parametrize(
    ("arguments", "kind", "parts"), REFUSED, ids=[" ".join(c[0]) for c in REFUSED]
)
def test_bad_input_is_one_clear_message(
    here: Cli, tmp_path: Path, arguments: list[str], kind: str, parts: list[str]
) -> None:
    done = here(*arguments)
    if arguments[:2] == ["data", "import"]:
        done.stdout = done.stdout.partition("reading")[0]  # said before the work begins
    refused(done, kind, *parts)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_an_import_from_a_folder_with_markup_in_its_name(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "[" / "]").mkdir(parents=True)
    done = here("data", "import", "alpaca-eval", "[/]")
    assert done.returncode == 1
    assert done.stderr.startswith("InvalidData: ")
    assert "reading [/]" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["rum"], ["run", "--sedes", "3"], ["show"], ["run", "--jobs", "x"]]
)
def test_a_mistyped_command_shows_usage(here: Cli, arguments: list[str]) -> None:
    done = here(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


# -- odd names -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_names_that_look_like_markup_are_shown_as_they_are(cli: Cli, tmp_path: Path) -> None:
    names = ["[red]x[_red].py", "[bold].py", "[_].py", "a b.py", "θ.py", ":x:.py"]
    designs: list[str] = []
    for name in names:
        (tmp_path / name).write_text(SELECT)
        designs += ["--design", name]
    done = good(cli("run", *QUICK, *designs))
    for name in names:
        assert re.search(rf"^ +\d=? +{re.escape(name)} ", done.stdout, re.MULTILINE), name


def test_an_error_that_looks_like_markup_is_shown_as_it_is(cli: Cli) -> None:
    refused(cli("run", *QUICK, "--design", "[/].py"), "PluginError", "cannot read [/].py")


@pytest.mark.slow
def test_a_reference_that_looks_like_markup_is_shown_as_it_is(cli: Cli, tmp_path: Path) -> None:
    name = "[red]x.py"
    (tmp_path / name).write_text(SELECT)
    done = good(cli("run", *QUICK, "--reference", name, "--out", "[bold]runs"))
    assert done.stdout.count(name) >= 3  # the row, the heading, and the explanation
    assert "2 cells in [bold]runs: 2 played now." in done.stdout
    assert "[bold]runs/figures/learning-curves.svg" in done.stdout


@pytest.mark.slow
def test_a_reference_that_closes_a_tag_is_no_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "[").mkdir()
    (tmp_path / "mine.py").write_text(SELECT.replace("step=1", "step='[/]'").replace("step]", "1]"))
    good(cli("run", *QUICK, "--reference", "mine.py(step='[/b]')"))


# -- data ----------------------------------------------------------------------------------------


def test_a_file_that_is_no_pool_is_refused(here: Cli, tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, logit=np.zeros((2, 2)))
    (tmp_path / "some.npz").write_bytes(content.getvalue())
    (tmp_path / "text.npz").write_text("hello")
    data = str(tmp_path / "data")
    refused(here("data", "add", "some.npz", PAIRBENCH_DATA=data), "InvalidData", "some.npz")
    refused(here("data", "add", "text.npz", PAIRBENCH_DATA=data), "InvalidData", "text.npz")
    assert not (tmp_path / "data").exists()


def test_the_data_list_says_what_is_missing(here: Cli, tmp_path: Path) -> None:
    listed: list[dict[str, Any]] = json.loads(
        good(here("data", "list", "--json", PAIRBENCH_DATA=str(tmp_path / "data"))).stdout
    )
    assert {entry["name"]: entry["parameters"] for entry in listed}["alpaca-eval"] == {
        "sha256": None
    }


def test_a_damaged_note_of_the_data_does_not_break_the_list(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "alpaca-eval.json").write_text("{")
    done = here("data", "list", PAIRBENCH_DATA=str(tmp_path))
    assert "Traceback" not in done.stderr
    assert "alpaca-eval" in done.stdout + done.stderr
