"""Commands that check and run designs, and report on runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairbench.cli.options import Device, Dtype, Jobs, Json, run_spec, set_device

if TYPE_CHECKING:
    from pairbench.reports.report import Report


Change = Annotated[
    list[str] | None,
    typer.Option(
        help="Parameter change of a board's open division, e.g. trainer=ipo. Repeat for several."
    ),
]


def check_command(
    design: Annotated[
        str,
        typer.Argument(metavar="DESIGN", help="NAME, 'NAME(pilot=0.3)', FILE.py or FILE.py:CLASS."),
    ],
    time_limit: Annotated[
        float, typer.Option(help="Time limit of each check, in seconds.")
    ] = 120.0,
    as_json: Json = False,
) -> None:
    """Check that a design meets the contract of all designs, and list what to fix."""
    from dataclasses import asdict

    from pairbench.checks.conformance import FAIL, run_checks
    from pairbench.cli.show.run import print_checks
    from pairbench.cli.show.terminal import console, say_json

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


def run_command(
    board: Annotated[
        str | None, typer.Argument(help="Name of a board; `pairbench boards` lists them.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="Environment, as ID, 'ID(dim=32)' or FILE.py. Repeat for several."),
    ] = None,
    design: Annotated[
        list[str] | None,
        typer.Option(
            help="Design, as NAME, 'NAME(pilot=0.3)', FILE.py or FILE.py:CLASS. Repeat for "
            "several. With a board: added to the board's own designs; `all` adds every one."
        ),
    ] = None,
    annotator: Annotated[
        list[str] | None,
        typer.Option(
            help="Annotator model, e.g. `mistake(rate=0.1)`. Repeat to chain stages; "
            "`pairbench annotators` lists them.",
            show_default="the environment's",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds of the worlds: 0:10 is 0 to 9.", show_default="0:10"),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Cumulative label budgets at which policies are scored, e.g. 50,100,200.",
            show_default="the environment's",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Reference design that label savings are measured against.",
            show_default="uniform",
        ),
    ] = None,
    testing: Annotated[
        bool, typer.Option("--testing", help="Run only the quick subset of a board.")
    ] = False,
    change: Change = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="runs/BOARD or runs/custom"),
    ] = None,
    jobs: Jobs = None,
    time_limit: Annotated[
        float, typer.Option(help="Time limit of a design in each round, in seconds.")
    ] = 300.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play failed cells again.")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Let designs play environments, and report. Running again completes what is missing."""
    from pairbench.cells.run import run
    from pairbench.cli.show.run import print_failures, print_run
    from pairbench.cli.show.terminal import console, progress, resumable

    set_device(device, dtype)
    spec = run_spec(
        board,
        env=env,
        design=design,
        annotator=annotator,
        seeds=seeds,
        budgets=budgets,
        reference=reference,
        testing=testing,
        change=change,
    )
    folder = out or Path("runs") / (f"{spec.name}-testing" if testing else spec.name)
    with resumable("Finished cells"), progress(console(stderr=as_json)) as on_progress:
        result = run(
            spec,
            folder,
            jobs=jobs,
            time_limit=time_limit,
            retry_failed=retry_failed,
            on_progress=on_progress,
        )
    print_run(result, folder, stderr=as_json)
    _report(folder, folder / "figures", as_json)
    if result.failed:
        print_failures(result.failed)
        raise typer.Exit(1)


def report_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures.", show_default="RUN/figures")
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print Markdown tables of gaps over the reference's."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the tables of a run and draw its learning curves."""
    from pairbench.cli.show.run import print_failures
    from pairbench.reports.report import load_report

    if markdown:
        sys.stdout.write(load_report(run_folder).to_markdown())
        return
    report = _report(run_folder, figures or run_folder / "figures", as_json)
    if report.failures:
        print_failures(report.failures)


def show_command(
    cell: Annotated[
        str, typer.Argument(help="Path of a cell's file, or the first characters of its key.")
    ],
    runs: Annotated[Path, typer.Option(help="Folder of runs to search for the key.")] = Path(
        "runs"
    ),
    as_json: Json = False,
) -> None:
    """Show one episode: its questions, its cost, and the policy's scores by round."""
    from pairbench.cells.store import find_cell
    from pairbench.cli.show.run import print_cell
    from pairbench.cli.show.terminal import say_json

    path, record = find_cell(cell, runs)
    if as_json:
        say_json(record)
    else:
        print_cell(record, path)


def _report(run_folder: Path, figures: Path, as_json: bool) -> "Report":
    """Print the report of a run and draw its figures."""
    from pairbench.cli.show.run import print_report
    from pairbench.cli.show.terminal import say
    from pairbench.reports.figures import frontier, learning_curves
    from pairbench.reports.report import load_report

    report, files = load_report(run_folder), list[Path]()
    try:
        files = learning_curves(report, figures) + frontier(report, figures)
    except ImportError:
        say("figures need matplotlib: pip install 'pairbench[plots]'", stderr=True)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        print_report(report, files)
    return report
