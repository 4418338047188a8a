"""Tables of designs, environments, annotators and boards."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.cli.show.terminal import console, say
from pairbench.spec.catalogue import (
    CLOSING_KEYS,
    FAMILIES,
    OTHER,
    by_family,
    describe_family,
    short_source,
)

if TYPE_CHECKING:
    from pairbench.oracles.judge import JudgeUsage
    from pairbench.spec.catalogue import Description


def listing_table(what: str, entries: Iterable[dict[str, Any]]) -> Table:
    """Tabulate descriptions of environments, boards or data files.

    Args:
        what: kind of thing, the heading of the first column.
        entries: the descriptions.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(what, style="bold", no_wrap=True)
    table.add_column("what it is", ratio=3)
    table.add_column("parameters and defaults", ratio=2)
    for entry in entries:
        values = entry.get("differs", entry["parameters"])
        parameters = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
        if base := entry.get("preset_of"):
            parameters = f"{base} with {parameters or 'its defaults'}"
        table.add_row(escape(entry["name"]), escape(entry["summary"]), escape(parameters))
    return table


def print_judge_usage(usage: "Mapping[str, JudgeUsage]") -> None:
    """Print the number of cached judge replies and tokens of each model."""
    if not usage:
        say("no replies of judges in the cache from that time on")
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", style="bold", overflow="fold")
    for heading in ("replies", "no verdict", "tokens read", "tokens written"):
        table.add_column(heading, justify="right")
    for model, counts in usage.items():
        figures = (counts.replies, counts.no_verdict, counts.tokens_read, counts.tokens_written)
        table.add_row(escape(model), *(f"{figure:,}" for figure in figures))
    console().print(table)


def family_tables(
    entries: Iterable["Description"],
    families: Mapping[str, str] = FAMILIES,
    *,
    parameters: bool = False,
) -> Iterator[Table]:
    """Yield a table for each family: summary, source and cost of its designs or annotators.

    Args:
        entries: descriptions of designs or annotators.
        families: description of each family, in order.
        parameters: whether to include the parameters and their defaults.
    """
    members = by_family(entries, families)
    width = max(len(entry["name"]) for group in members.values() for entry in group)
    for family, group in members.items():
        table = Table.grid(padding=(0, 2))
        note = describe_family(family, families).replace("`", "")
        table.title = f"\n[bold cyan]{family}[/]  [dim]{note}[/]"
        table.title_justify, table.title_style = "left", ""
        table.add_column(style="bold", no_wrap=True, min_width=width)
        table.add_column(ratio=1)
        for entry in group:
            table.add_row(escape(entry["name"]), escape(entry["summary"]))
            defaults = entry["parameters"] if parameters else {}
            details = [", ".join(f"{name}={_short(value)}" for name, value in defaults.items())]
            details += [short_source(entry["source"] or ""), entry["cost"] or ""]
            if line := " · ".join(filter(None, details)).replace("``", ""):
                table.add_row("", f"[dim]{escape(line)}[/]")
        yield table


def print_details(entry: "Description") -> None:
    """Print the full description of one design or annotator."""
    say(f"[bold]{escape(entry['name'])}[/]   [cyan]{escape(entry['family'] or OTHER)}[/]\n")
    say(f"{escape(entry['text'])}\n")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, default in entry["parameters"].items():
        about = entry["about"].get(name, "").replace("``", "")
        table.add_row(escape(f"{name}={_short(default)}"), escape(about))
    for key in CLOSING_KEYS[1:]:
        if entry[key]:
            table.add_row(key, escape(entry[key]))
    console().print(table)
    if entry["file"]:
        say(f"[bold]code[/]  {escape(entry['file'])}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
