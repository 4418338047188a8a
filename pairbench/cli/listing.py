"""Commands that list environments, designs, annotators and boards."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from pairbench.cli.options import Json, Markdown

Describe = Callable[[str], dict[str, Any]]


def envs_command(as_json: Json = False) -> None:
    """List the environments."""
    from pairbench.worlds.registry import describe_env, environment_ids

    print_listing("environment", describe_env, environment_ids(), as_json)


def designs_command(
    name: Annotated[
        str | None, typer.Argument(help="One design, as NAME or FILE.py.", show_default="all")
    ] = None,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """List the designs by family, or show one in full."""
    from pairbench.design.registry import describe_design, design_details, design_names
    from pairbench.spec.catalogue import FAMILIES

    describe = describe_design if name is None else design_details
    _print_catalogue("designs", name, design_names, describe, FAMILIES, markdown, as_json)


def annotators_command(
    name: Annotated[
        str | None, typer.Argument(help="One stage or named annotator.", show_default="all")
    ] = None,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """List the stages of annotator models and the named annotators, or show one in full."""
    from pairbench.oracles.annotators import annotator_names, describe_annotator
    from pairbench.spec.catalogue import ANNOTATORS

    _print_catalogue(
        "annotators", name, annotator_names, describe_annotator, ANNOTATORS, markdown, as_json
    )


def judged_command(
    since: Annotated[
        datetime | None,
        typer.Option(help="Count replies from this local time on.", show_default="all replies"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show cached judge replies and token counts."""
    from dataclasses import asdict

    from pairbench.cli.show.listing import print_judge_usage
    from pairbench.cli.show.terminal import say_json
    from pairbench.oracles.judge import count_usage

    usage = count_usage(since)
    if as_json:
        say_json({model: asdict(counts) for model, counts in usage.items()})
    else:
        print_judge_usage(usage)


def boards_command(as_json: Json = False) -> None:
    """List the boards."""
    from pairbench.boards.board import board_names, describe_board

    print_listing("board", describe_board, board_names(), as_json)


def print_listing(what: str, describe: Describe, names: list[str], as_json: bool) -> None:
    """Print a table or JSON of named things.

    Args:
        what: kind of thing, the heading of the first column.
        describe: returns the description of a name.
        names: the names, in order.
        as_json: whether to print JSON.
    """
    from pairbench.cli.show.listing import listing_table
    from pairbench.cli.show.terminal import console, say_json

    entries = [describe(name) for name in names]
    if as_json:
        say_json(entries)
    else:
        console().print(listing_table(what, entries))


def _print_catalogue(
    what: str,
    spec: str | None,
    names: Callable[[], list[str]],
    describe: Describe,
    families: Mapping[str, str],
    markdown: bool,
    as_json: bool,
) -> None:
    """Print all designs or annotators by family, or the one that ``spec`` names in full."""
    from pairbench.cli.show.listing import family_tables, print_details
    from pairbench.cli.show.terminal import console, say, say_json
    from pairbench.spec import catalogue
    from pairbench.spec.text import parse_spec

    entries = [describe(name) for name in (names() if spec is None else [parse_spec(spec)[0]])]
    if as_json:
        say_json(entries if spec is None else entries[0])
    elif markdown:
        sys.stdout.write(catalogue.markdown(entries, families, what))
    elif spec is not None:
        print_details(entries[0])
    else:
        for table in family_tables(entries, families, parameters=what == "annotators"):
            console().print(table)
        say(f"\n[dim]`pairbench {what} NAME` shows one in full.[/]")
