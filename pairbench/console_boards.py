"""What the commands of the boards print."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.console import console, say
from pairbench.report import savings_text
from pairbench.submission.entry import LEVELS
from pairbench.tables import places_text

if TYPE_CHECKING:
    from pairbench.site.build import Built
    from pairbench.standings import Standings
    from pairbench.submission.submit import Submission
    from pairbench.submission.verify import Verdict


def print_submission(made: "Submission", files: Sequence[Path], dry_run: bool) -> None:
    """What an entry says, where it lies, and what comes next."""
    entry = made.entry
    table = Table(box=box.SIMPLE_HEAD, title=escape(f"{entry.design.label} on {entry.board}"))
    table.title_justify = "left"
    table.add_column("environment", style="bold", overflow="fold")
    for heading in ("seeds", "after", "gap", "before", "efficiency", "select"):
        table.add_column(heading, justify="right")
    horizons = {cell.environment: cell.horizon for cell in made.bundle.cells}
    for curve in entry.curves:
        horizon = horizons[curve.environment]
        at = [gaps[curve.budgets.index(horizon)] for gaps in curve.gaps]
        table.add_row(
            escape(curve.environment),
            str(len(curve.seeds)),
            f"{horizon:,} {curve.unit}",
            f"{sum(at) / len(at):.4g}",
            f"{curve.start:.4g}",
            f"{curve.efficiency:.2f}",
            f"{curve.seconds:.2f} s",
        )
    console().print(table)
    changes = ", ".join(f"{name}={value!r}" for name, value in entry.changes.items())
    say(f"division  {entry.division}{escape(f', with {changes}' if changes else '')}")
    say(f"author    {escape(entry.author)}, {escape(entry.link)}")
    cells = len(made.bundle.cells)
    say(f"bundle    {cells} cells, {len(made.packed.data):,} bytes, {made.packed.digest[:16]}…")
    for remark in made.remarks:
        say(f"[yellow]note:[/] {escape(remark)}")
    if dry_run:
        say("nothing was written (--dry-run); it would be:")
    for file in files:
        say(f"  {escape(str(file))}")
    if not dry_run:
        bundle = next(file for file in files if file.suffix == ".bundle")
        say(f"next: pairbench verify {escape(str(bundle))} --record")


def print_verdict(verdict: "Verdict", key: str | None) -> None:
    """What was found of a bundle, and why it is no more than that."""
    say(f"{escape(verdict.design)} on {escape(verdict.board)}, bundle {verdict.digest[:16]}…")
    if key is not None:
        say(f"signed by {key}")
    if verdict.recomputed:
        of = f" of {verdict.cells:,}" if verdict.recomputed < verdict.cells else ""
        say(f"recomputed  {verdict.recomputed:,}{of} cells: labels, policies and scores as claimed")
    if verdict.announced:
        say(f"run again   {verdict.announced:,} announced cells, isolated: the same pairs")
    if verdict.ranges:
        seeds = ", ".join(map(str, verdict.fresh))
        say(f"fresh seeds {seeds}: log of the gap over the reference's, and what was predicted")
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("environment", style="bold", overflow="fold")
        for heading in ("found", "least", "most"):
            table.add_column(heading, justify="right")
        for one in verdict.ranges:
            figures = (f"{value:+.3f}" for value in (one.found, one.low, one.high))
            table.add_row(escape(one.environment), *figures, style=None if one.holds else "red")
        console().print(table)
    if verdict.failure is not None:
        say(f"[bold red]not {verdict.asked}:[/] {escape(verdict.failure)}")
    colour = "green" if verdict.passed else "yellow"
    say(
        f"level: [bold {colour}]{verdict.level}[/] ({LEVELS[verdict.level]}), "
        f"in {verdict.seconds:.0f} s"
    )


def print_built(built: "Built") -> None:
    """What pages there are, and how to look at them."""
    say(
        f"{len(built.pages):,} pages in {escape(str(built.folder))}, {built.bytes / 1e6:.1f} MB; "
        f"the heaviest, {escape(built.heaviest)}, takes {built.heaviest_bytes / 1e6:.2f} MB with "
        "all that it loads"
    )
    say(f"look at {escape(str(built.folder / 'index.html'))}, or pairbench site serve")


def print_standings(found: "Standings") -> None:
    """A table for each division of a board."""
    board = found.board
    if found.reference is None:
        say(
            f"{board.name} has no entry of {board.reference!r} yet, which all others are measured "
            "against. docs/submit.md says how an entry is made."
        )
        return
    for division, rows in (("", found.closed), (", open division", found.open)):
        if not rows:
            continue
        table = Table(box=box.SIMPLE_HEAD, title=escape(f"{board.title}{division}"))
        table.title_justify = "left"
        table.add_column("place", justify="right")
        table.add_column("design", style="bold", overflow="fold")
        for heading in (f"saved vs {board.reference}", "AULC", "least saved", "select"):
            table.add_column(heading, justify="right")
        table.add_column("level")
        for row in rows:
            table.add_row(
                places_text(row.places),
                escape(row.entry.design.label),
                savings_text(row.savings),
                f"{row.aulc.value:.2f}",
                savings_text(row.worst.savings),
                f"{row.seconds:.2f} s",
                row.entry.level,
            )
        console().print(table)
    say(
        "saved: how much the reference needs for the gap that a design reaches, over what it "
        "needs for its own, geometric mean over environments. AULC: area under the learning curve "
        "of the gap over the reference's; lower is better. least saved: in its worst environment. "
        "place: the first and the last that the seeds leave open, pair by pair; – is a control, "
        "never ranked."
    )
