"""The command line: every command reads its arguments, calls the library, and prints."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairbench import __version__, cli_annotation, cli_boards, cli_tables
from pairbench.cli_options import Device, Dtype, Json, use

if TYPE_CHECKING:
    from pairbench.report import Report

app = typer.Typer(
    help="Which pairs of completions should be compared, so that DPO makes the best of the labels?",
    epilog="Begin with: pairbench run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Bring in the data files that some environments are made of.")
app.add_typer(data_app, name="data", no_args_is_help=True)

pool_app = typer.Typer(help="Make pools of completions.")
app.add_typer(pool_app, name="pool", no_args_is_help=True)
pool_app.command("generate")(cli_annotation.generate_command)

leaderboard_app = typer.Typer(help="Look at boards, compare them, take them elsewhere.")
app.add_typer(leaderboard_app, name="leaderboard", no_args_is_help=True)
leaderboard_app.command("show")(cli_boards.show_board_command)
leaderboard_app.command("diff")(cli_tables.diff_command)
leaderboard_app.command("export")(cli_tables.export_board_command)

site_app = typer.Typer(help="Make the pages of the boards.")
app.add_typer(site_app, name="site", no_args_is_help=True)
site_app.command("build")(cli_boards.site_build_command)
site_app.command("serve")(cli_boards.site_serve_command)

Change = Annotated[
    list[str] | None,
    typer.Option(
        help="Of a board's open division: a parameter of its environments and its value, "
        "trainer=ipo; may be repeated."
    ),
]


def _say_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"pairbench {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """What goes for all commands."""


def main() -> None:
    """Run the command line; errors that pairbench foresees are one message, not a traceback."""
    from pairbench.errors import PairbenchError

    try:
        app()
    except PairbenchError as error:
        from rich.markup import escape

        from pairbench.console import say

        say(f"[bold red]{type(error).__name__}:[/] {escape(str(error))}", stderr=True)
        sys.exit(1)


@app.command("envs")
def envs_command(as_json: Json = False) -> None:
    """List the environments."""
    from pairbench.registry import describe_env, environment_ids

    _list("environment", describe_env, environment_ids(), as_json)


@app.command("designs")
def designs_command(
    name: Annotated[
        str | None, typer.Argument(help="One design, as NAME or FILE.py. [default: all]")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all that is known of them as Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the designs by family, or show one in full."""
    from pairbench.catalogue import FAMILIES
    from pairbench.registry import describe_design, design_details, design_names, parsed

    if name is not None:
        _print_one(design_details(parsed(name)[0]), FAMILIES, markdown, as_json)
    else:
        entries = [describe_design(known) for known in design_names()]
        _print_all("designs", entries, FAMILIES, markdown, as_json)


@app.command("annotators")
def annotators_command(
    name: Annotated[
        str | None, typer.Argument(help="One stage or ready-made annotator. [default: all]")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all that is known of them as Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what annotators are made of, or show one stage in full."""
    from pairbench.catalogue import ANNOTATORS
    from pairbench.oracles.annotators import annotator_names, describe_annotator
    from pairbench.registry import parsed

    if name is not None:
        _print_one(describe_annotator(parsed(name)[0]), ANNOTATORS, markdown, as_json)
    else:
        entries = [describe_annotator(known) for known in annotator_names()]
        _print_all("annotators", entries, ANNOTATORS, markdown, as_json)


@app.command("judged")
def judged_command(
    since: Annotated[
        datetime | None,
        typer.Option(help="Leave out what came before; local time. [default: all that is kept]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what language models replied as judges, and how many tokens that took."""
    from dataclasses import asdict

    from pairbench.console import print_judged, say_json
    from pairbench.oracles.judge import judged

    found = judged(since)
    if as_json:
        say_json({model: asdict(took) for model, took in found.items()})
    else:
        print_judged(found)


@app.command("check")
def check_command(
    design: Annotated[
        str,
        typer.Argument(metavar="DESIGN", help="NAME, 'NAME(pilot=0.3)', FILE.py or FILE.py:CLASS."),
    ],
    time_limit: Annotated[float, typer.Option(help="Seconds that a check may take.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Check that a design keeps to the contract that all designs keep to, and say what to mend."""
    from dataclasses import asdict

    from pairbench.conformance import FAIL, run_checks
    from pairbench.console import console, print_checks, say_json

    with console(stderr=True).status("checking …"):
        results = list(run_checks(design, time_limit))
    passed = all(result.status != FAIL for result in results)
    if as_json:
        checks = [asdict(result) for result in results]
        say_json({"design": design, "passed": passed, "checks": checks})
    else:
        print_checks(design, results)
    if not passed:
        raise typer.Exit(1)


@app.command("boards")
def boards_command(as_json: Json = False) -> None:
    """List the boards."""
    from pairbench.boards import board_names, describe_board

    _list("board", describe_board, board_names(), as_json)


@app.command("run")
def run_command(
    board: Annotated[
        str | None, typer.Argument(help="A board; `pairbench boards` lists them.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="Environment, as ID, 'ID(dim=32)' or FILE.py; may be repeated."),
    ] = None,
    design: Annotated[
        list[str] | None,
        typer.Option(
            help="Design, as NAME, 'NAME(pilot=0.3)', FILE.py or FILE.py:CLASS; may be repeated. "
            "With a board: run besides the board's own, and `all` stands for every one."
        ),
    ] = None,
    annotator: Annotated[
        list[str] | None,
        typer.Option(
            help="Who answers, as 'mistake(rate=0.1)'; `pairbench annotators` lists the stages. "
            "May be repeated: one after the other. [default: the environment's]"
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Worlds: 0:10 is ten of them, 0 to 9. [default: 0:10]")
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Labels at which policies are scored: 50,100,200. [default: the environment's]"
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Design that label savings are measured against. [default: uniform]"),
    ] = None,
    testing: Annotated[
        bool, typer.Option("--testing", help="Of a board, only what is played in seconds.")
    ] = False,
    change: Change = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: runs/BOARD or runs/custom]")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes. [default: the cores]")] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds that a design may take for a round.")
    ] = 300.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play failed cells again.")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Let designs play environments, and report. Running again completes what is missing."""
    from rich.markup import escape

    from pairbench.boards import changed, load_board, parsed_budgets, parsed_seeds
    from pairbench.console import console, print_failures, progress, say
    from pairbench.errors import InvalidParameter
    from pairbench.harness.run import RunSpec, run
    from pairbench.oracles.annotators import chained
    from pairbench.report import load_report

    use(device, dtype)
    if board is not None:
        given = {
            "--env": env,
            "--annotator": annotator,
            "--seeds": seeds,
            "--budgets": budgets,
            "--reference": reference,
        }
        for name, value in given.items():
            if value is not None:
                raise InvalidParameter(
                    f"a board fixes what it runs, so {name} cannot be given with one. "
                    "Leave it out, or name environments with --env instead of a board."
                )
        changes = changed(change or ())
        spec = load_board(board).run_spec(*(design or ()), testing=testing, changes=changes)
    elif env and not (testing or change):
        spec = RunSpec(
            name="custom",
            environments=env,
            designs=design or (),
            seeds=parsed_seeds("0:10" if seeds is None else seeds),
            reference="uniform" if reference is None else reference,
            budgets=None if budgets is None else parsed_budgets(budgets),
            changes={"annotator": chained(annotator)} if annotator else {},
        )
    elif env:
        raise InvalidParameter(
            "--testing and --change are for boards. Write parameters behind the environment: "
            "--env \"ID(trainer='ipo')\"."
        )
    else:
        raise InvalidParameter(
            "nothing to run. Name a board (`pairbench run quickstart`) or an environment (--env)."
        )
    folder = out or Path("runs") / (f"{spec.name}-testing" if testing else spec.name)
    try:
        with progress(console(stderr=as_json)) as on_progress:
            result = run(
                spec,
                folder,
                jobs=jobs,
                time_limit=time_limit,
                retry_failed=retry_failed,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        say("Stopped. Finished cells are kept: the same command goes on from there.", stderr=True)
        raise typer.Exit(130) from None
    for note in result.notes:
        say(f"[yellow]note:[/] {escape(note)}", stderr=as_json)
    there = f", {result.planned - result.played} there already" * (result.planned > result.played)
    say(
        f"{result.planned} cells in {escape(str(folder))}: {result.played} played now{there}.",
        stderr=as_json,
    )
    _show(load_report(folder), folder / "figures", as_json)
    if result.failed:
        print_failures(result.failed)
        raise typer.Exit(1)


@app.command("report")
def report_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures. [default: RUN/figures]")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown: gaps over the reference's.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tables and learning curves of a run."""
    from pairbench.console import print_failures
    from pairbench.report import load_report

    found = load_report(run_folder)
    if markdown:
        sys.stdout.write(found.to_markdown())
        return
    _show(found, figures or run_folder / "figures", as_json)
    if found.failures:
        print_failures(found.failures)


@app.command("show")
def show_command(
    cell: Annotated[str, typer.Argument(help="A cell's file, or the first characters of its key.")],
    runs: Annotated[Path, typer.Option(help="Folder in which keys are looked up.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """One episode: what was asked, what it took, and how good the policy became."""
    from pairbench.console import print_cell, say_json
    from pairbench.harness.store import found_cell

    path, record = found_cell(cell, runs)
    if as_json:
        say_json(record)
    else:
        print_cell(record, path)


app.command("submit")(cli_boards.submit_command)
app.command("verify")(cli_boards.verify_command)
app.command("query")(cli_tables.query_command)
app.command("select")(cli_annotation.select_command)
app.command("export")(cli_annotation.export_command)
app.command("import")(cli_annotation.import_command)


@data_app.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="Kind of data, such as alpaca-eval.")],
    path: Annotated[Path, typer.Argument(help="Your own copy of its public source.")],
) -> None:
    """Build a data file from your own copy of its public source."""
    from rich.markup import escape

    from pairbench import data
    from pairbench.console import say

    say(f"reading {escape(str(path))} …")
    _say_kept(data.build(name, path))


@data_app.command("add")
def data_add(
    file: Annotated[Path, typer.Argument(help="A ready .npz file.")],
    name: Annotated[
        str | None, typer.Option(help="Kind of data. [default: told by its arrays]")
    ] = None,
) -> None:
    """Take a ready data file."""
    from pairbench import data

    _say_kept(data.add(file, name))


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the kinds of data, and which are here."""
    from pairbench import data
    from pairbench.errors import MissingData

    def describe(name: str) -> dict[str, Any]:
        try:
            here: dict[str, Any] = vars(data.entry(name))
        except MissingData:
            here = {"sha256": None}
        return {"name": name, "summary": data.datasets()[name].source, "parameters": here}

    _list("data", describe, list(data.datasets()), as_json)


def _say_kept(kept: Any) -> None:
    from rich.markup import escape

    from pairbench.console import say
    from pairbench.data import data_folder

    say(
        f"{kept.dataset}: {kept.size / 2**20:.1f} MiB, SHA-256 {kept.sha256[:12]}…, "
        f"now in {escape(str(data_folder()))}"
    )


def _print_one(
    entry: dict[str, Any], families: dict[str, str], markdown: bool, as_json: bool
) -> None:
    from pairbench import catalogue
    from pairbench.console import print_design, say_json

    if as_json:
        say_json(entry)
    elif markdown:
        sys.stdout.write(catalogue.markdown([entry], families))
    else:
        print_design(entry)


def _print_all(
    what: str,
    entries: list[dict[str, Any]],
    families: dict[str, str],
    markdown: bool,
    as_json: bool,
) -> None:
    from pairbench import catalogue
    from pairbench.console import console, family_listing, say, say_json

    if as_json:
        say_json(entries)
    elif markdown:
        sys.stdout.write(catalogue.markdown(entries, families, what))
    else:
        for table in family_listing(entries, families, parameters=what == "annotators"):
            console().print(table)
        say(f"\n[dim]`pairbench {what} NAME` shows one in full.[/]")


def _list(
    what: str, describe: Callable[[str], dict[str, Any]], names: list[str], as_json: bool
) -> None:
    from pairbench.console import console, listing, say_json

    entries = [describe(name) for name in names]
    if as_json:
        say_json(entries)
    else:
        console().print(listing(what, entries))


def _show(report: "Report", folder: Path, as_json: bool) -> None:
    from pairbench.console import print_report, say
    from pairbench.figures import frontier, learning_curves

    files: list[Path] = []
    try:
        files = learning_curves(report, folder) + frontier(report, folder)
    except ImportError:
        say("figures need matplotlib: pip install 'pairbench[plots]'", stderr=True)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        print_report(report, files)
