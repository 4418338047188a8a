"""Tables of runs: progress, reports, checks, failures and single cells."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.cli.show.terminal import console, say
from pairbench.view.budget import quantity_noun

if TYPE_CHECKING:
    from pairbench.cells.run import RunResult
    from pairbench.cells.store import CellRecord, Failure
    from pairbench.checks.conformance import CheckResult
    from pairbench.reports.report import Report, Section


def print_checks(design: str, results: Sequence["CheckResult"]) -> None:
    """Print the result of each check, then what to fix and further notes.

    Args:
        design: spec of the design.
        results: results of the checks.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("what a design must do", ratio=1)
    table.add_column("result", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    styles = {"pass": "green", "fail": "bold red", "skipped": "yellow"}
    for result in results:
        status, time = f"[{styles[result.status]}]{result.status}[/]", f"{result.seconds:.1f} s"
        table.add_row(result.check, result.what, status, time)
    console().print(table)
    for status, heading in (("fail", "fix"), ("skipped", "skipped"), ("pass", "note")):
        for result in results:
            if result.status == status:
                for line in result.message.splitlines():
                    say(f"[{styles[status]}]{heading}[/] [bold]{result.check}[/]: {escape(line)}")
    counts = Counter(result.status for result in results)
    totals = {"passed": counts["pass"], "failed": counts["fail"], "skipped": counts["skipped"]}
    summary = ", ".join(f"{count} {status}" for status, count in totals.items() if count)
    seconds = sum(result.seconds for result in results)
    say(f"[bold]{escape(design)}[/]: {summary}, in {seconds:.1f} s")


def print_run(result: "RunResult", folder: Path, *, stderr: bool = False) -> None:
    """Print the notes of a run, and the number of cells played.

    Args:
        result: result of the run.
        folder: folder of the run.
        stderr: whether to print to standard error.
    """
    for note in result.notes:
        say(f"[yellow]note:[/] {escape(note)}", stderr=stderr)
    stored = result.planned - result.played
    text = f"{result.planned} cells in {escape(str(folder))}: {result.played} played now"
    say(f"{text}{f', {stored} already stored' * (stored > 0)}.", stderr=stderr)


def section_table(section: "Section", reference: str) -> Table:
    """Tabulate the designs on one environment, best first."""
    from pairbench.stats.text import savings_text  # loads numpy, which other screens do without

    budget = section.rows[0].budget
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"[bold]{escape(section.environment)}[/] after {budget} {_unit_noun(section.unit)}",
        title_justify="left",
        title_style="",
    )
    table.add_column("", justify="right")
    table.add_column("design", overflow="fold")
    saved = escape(f"{section.unit} saved vs {reference}")
    for heading in ("gap", "95 % interval", saved, "efficiency", "select"):
        table.add_column(heading, justify="right", no_wrap=heading != saved)
    ranks = [row.rank for row in section.rows]
    for row in section.rows:
        tie = "=" if ranks.count(row.rank) > 1 else ""
        table.add_row(
            f"{row.rank}{tie}" if row.rank else "control",
            escape(row.design),
            f"{row.gap.value:.4f}",
            f"{row.gap.low:.4f} to {row.gap.high:.4f}" if row.gap.high < math.inf else "–",
            savings_text(row.savings),
            f"{row.efficiency:.2f}",
            f"{row.selection_seconds:.2f} s",
            style="bold" if row.rank == 1 else "",
        )
    seeds = {row.seeds for row in section.rows}
    count = str(seeds.pop()) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    floor = f", {section.floor:.3f} for the best policy with these features" * (section.floor > 0)
    table.caption = f"{count} seeds; the gap is {section.start:.3f} before the first label{floor}"
    table.caption_justify = "left"
    return table


def _unit_noun(unit: str) -> str:
    """Return the noun that follows the number of a budget."""
    return "units of money" if unit == "money" else unit


def print_report(report: "Report", figures: Sequence[Path]) -> None:
    """Print the tables of a run, a legend, and the paths of its figures."""
    if not report.sections:
        return
    screen = console()
    units = sorted({section.unit for section in report.sections})
    saved = " or ".join(units)
    quantity = " or ".join(f"how {quantity_noun(unit)}" for unit in units)
    for section in report.sections:
        screen.print(section_table(section, report.reference))
    screen.print(
        "[dim]gap: expected reward of the best policy minus that of the trained one, reward "
        f"units; lower is better. {saved} saved: {quantity} {escape(report.reference)} needs for "
        f"the same gap, over the {saved} spent. Equal ranks (=) are ties: designs whose "
        "differences are not significant with these seeds, and all between them. efficiency: "
        "information of the chosen pairs, over that of the best pairs.[/]"
    )
    if report.invalid:
        say(f"[yellow]{report.invalid} files are no valid cells and were left out.[/]")
    if figures:
        say(f"figure: {' and '.join(escape(str(path)) for path in figures)}")


def print_failures(failures: Sequence["Failure"]) -> None:
    """Print which cells failed and why, each reason once."""
    say(f"[red]{len(failures)} cells failed:[/]", stderr=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        reasons.setdefault((failure.design, failure.error), []).append(failure.environment)
    for (design, error), environments in reasons.items():
        names = ", ".join(sorted(set(environments)))
        say(
            f"  [bold]{escape(design)}[/] ({len(environments)}×, {escape(names)}): {escape(error)}",
            stderr=True,
        )
    say(
        "Once you have edited the design, the same command plays it again; `pairbench run … "
        "--retry-failed` plays failed cells again unchanged.",
        stderr=True,
    )


def print_cell(record: "CellRecord", path: Path) -> None:
    """Print one episode: scores, tokens and times by round, and the first questions.

    Args:
        record: record of the cell.
        path: file of the cell.
    """
    labels = record["labels"]
    say(
        f"[bold]{escape(labels['design'])}[/] on [bold]{escape(labels['environment'])}[/], "
        f"seed {record['cell']['seed']}"
    )
    say(escape(str(path)))
    if record["status"] == "failed":
        error = record["error"]
        say(f"[red]failed:[/] {error['type']}: {escape(error['message'])}")
        say(escape(error["traceback"]))
        return
    console().print(_rounds_table(record))
    flat = record["results"]["rounds"][0]["pairs"][:15]
    first = ", ".join(str(tuple(flat[i : i + 3])) for i in range(0, len(flat), 3))
    say(f"first questions (prompt, first, second): {first}, …")
    provenance = record["made"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    git = provenance["git"]
    state = f", commit {git['commit'][:10]}{' with changes' * git['dirty']}" if git else ""
    say(f"made with {versions}{state}, on {provenance['host']['platform']}")


def _rounds_table(record: "CellRecord") -> Table:
    """Tabulate the rounds of an episode, from before the first label on."""
    from pairbench.view.budget import budget_unit

    start, rounds = record["results"]["start"], record["results"]["rounds"]
    table = Table(box=box.SIMPLE_HEAD)
    unit = budget_unit(record["cell"]["environment"]["params"])
    headings = [unit, "gap", "above floor", "win rate", "efficiency", "tokens read"]
    headings += ["select", "train"]
    for heading in headings:
        table.add_column(heading, justify="right")
    blank = {"selection": {"seconds": 0.0}, "training": {"seconds": 0.0}}
    steps = [{"budget": 0, "score": start, "tokens_read": 0}, *rounds]
    for step, use in zip(steps, [blank, *record["usage"]], strict=True):
        score = step["score"]
        table.add_row(
            str(step["budget"]),
            f"{score['gap']:.4f}",
            f"{score['estimation']:.4f}",
            f"{score['win_rate']:.3f}",
            f"{score['design_efficiency']:.2f}",
            f"{step['tokens_read']:,}",
            f"{use['selection']['seconds']:.3f} s",
            f"{use['training']['seconds']:.3f} s",
        )
    return table
