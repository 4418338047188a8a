"""The tree of commands, and the entry point of the program."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pairbench._version import __version__
from pairbench.cli import annotation, boards, listing, run, tables
from pairbench.cli.data import data_app

app = typer.Typer(
    help="Which pairs of completions should be compared, so that DPO makes the best of the labels?",
    epilog="Begin with: pairbench run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data", no_args_is_help=True)

pool_app = typer.Typer(help="Generate pools of completions.")
app.add_typer(pool_app, name="pool", no_args_is_help=True)
pool_app.command("generate")(annotation.generate_command)

leaderboard_app = typer.Typer(help="Show, diff or export a leaderboard.")
app.add_typer(leaderboard_app, name="leaderboard", no_args_is_help=True)
leaderboard_app.command("show")(boards.show_board_command)
leaderboard_app.command("diff")(tables.diff_command)
leaderboard_app.command("export")(tables.export_board_command)

site_app = typer.Typer(help="Build or serve the leaderboards' web pages.")
app.add_typer(site_app, name="site", no_args_is_help=True)
site_app.command("build")(boards.site_build_command)
site_app.command("serve")(boards.site_serve_command)


def _print_version(requested: bool) -> None:
    if requested:
        sys.stdout.write(f"pairbench {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Read the options that precede any command."""


_COMMANDS: dict[str, Callable[..., Any]] = {
    "envs": listing.envs_command,
    "designs": listing.designs_command,
    "annotators": listing.annotators_command,
    "judged": listing.judged_command,
    "check": run.check_command,
    "boards": listing.boards_command,
    "run": run.run_command,
    "report": run.report_command,
    "show": run.show_command,
    "submit": boards.submit_command,
    "verify": boards.verify_command,
    "query": tables.query_command,
    "select": annotation.select_command,
    "export": annotation.export_command,
    "import": annotation.import_command,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line; print a :class:`PairbenchError` as one message, without traceback."""
    from pairbench.errors import PairbenchError

    try:
        app()
    except PairbenchError as error:
        from rich.markup import escape

        from pairbench.cli.show.terminal import say

        say(f"[bold red]{type(error).__name__}:[/] {escape(str(error))}", stderr=True)
        sys.exit(1)
