"""Summaries of submissions, verdicts, standings and web pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from pairbench.boards.entry import LEVELS
from pairbench.boards.tables import rank_bounds_text
from pairbench.cli.show.terminal import console, say
from pairbench.stats.text import savings_text

if TYPE_CHECKING:
    from pairbench.boards.standings import Standings
    from pairbench.site.build import SiteSummary
    from pairbench.submission.submit import Submission
    from pairbench.submission.verify import Verdict


def print_submission(submission: "Submission", files: Sequence[Path], dry_run: bool) -> None:
    """Print the figures of an entry, its files, and the next step.

    Args:
        submission: the entry and its bundle.
        files: paths of the entry, the bundle and its signature.
        dry_run: whether they were not written.
    """
    entry = submission.entry
    table = Table(box=box.SIMPLE_HEAD, title=escape(f"{entry.design.label} on {entry.board}"))
    table.title_justify = "left"
    table.add_column("environment", style="bold", overflow="fold")
    for heading in ("seeds", "after", "gap", "before", "efficiency", "select"):
        table.add_column(heading, justify="right")
    horizons = {cell.environment: cell.horizon for cell in submission.bundle.cells}
    for curve in entry.curves:
        horizon = horizons[curve.environment]
        final_gaps = [gaps[curve.budgets.index(horizon)] for gaps in curve.gaps]
        table.add_row(
            escape(curve.environment),
            str(len(curve.seeds)),
            f"{horizon:,} {curve.unit}",
            f"{sum(final_gaps) / len(final_gaps):.4g}",
            f"{curve.start:.4g}",
            f"{curve.efficiency:.2f}",
            f"{curve.seconds:.2f} s",
        )
    console().print(table)
    changes = ", ".join(f"{name}={value!r}" for name, value in entry.changes.items())
    say(f"division  {entry.division}{escape(f', with {changes}' if changes else '')}")
    say(f"author    {escape(entry.author)}, {escape(entry.link)}")
    cells, packed = len(submission.bundle.cells), submission.packed
    say(f"bundle    {cells} cells, {len(packed.data):,} bytes, {packed.digest[:16]}…")
    for remark in submission.remarks:
        say(f"[yellow]note:[/] {escape(remark)}")
    if dry_run:
        say("nothing was written (--dry-run). Files that would be written:")
    for file in files:
        say(f"  {escape(str(file))}")
    if not dry_run:
        bundle = next(file for file in files if file.suffix == ".bundle")
        say(f"next: pairbench verify {escape(str(bundle))} --record")


def print_verdict(verdict: "Verdict", key: str | None) -> None:
    """Print the level that a submission reached, the checks behind it, and any failure.

    Args:
        verdict: result of the verification.
        key: fingerprint of the key that signed the bundle, None if it is not signed.
    """
    say(f"{escape(verdict.design)} on {escape(verdict.board)}, bundle {verdict.digest[:16]}…")
    if key is not None:
        say(f"signed by {key}")
    if verdict.recomputed:
        of = f" of {verdict.cells:,}" if verdict.recomputed < verdict.cells else ""
        say(f"recomputed  {verdict.recomputed:,}{of} cells: labels, policies and scores as claimed")
    if verdict.announced:
        say(f"run again   {verdict.announced:,} announced cells, isolated: the same pairs")
    if verdict.intervals:
        seeds = ", ".join(map(str, verdict.fresh))
        say(f"fresh seeds {seeds}: log ratio of gaps to the reference's, with prediction interval")
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("environment", style="bold", overflow="fold")
        for heading in ("log ratio", "lower", "upper"):
            table.add_column(heading, justify="right")
        for interval in verdict.intervals:
            figures = (f"{value:+.3f}" for value in (interval.mean, interval.low, interval.high))
            table.add_row(
                escape(interval.environment), *figures, style=None if interval.holds else "red"
            )
        console().print(table)
    if verdict.failure is not None:
        say(f"[bold red]not {verdict.requested_level}:[/] {escape(verdict.failure)}")
    colour = "green" if verdict.passed else "yellow"
    say(
        f"level: [bold {colour}]{verdict.level}[/] ({LEVELS[verdict.level]}), "
        f"in {verdict.seconds:.0f} s"
    )


def print_site(site: "SiteSummary") -> None:
    """Print the number and size of the pages, and how to open them."""
    say(
        f"{len(site.pages):,} pages in {escape(str(site.folder))}, {site.bytes / 1e6:.1f} MB; "
        f"the heaviest, {escape(site.heaviest)}, loads {site.heaviest_bytes / 1e6:.2f} MB in all"
    )
    say(f"open {escape(str(site.folder / 'index.html'))}, or run `pairbench site serve`")


def print_standings(standings: "Standings") -> None:
    """Print a table for each division of a board."""
    board = standings.board
    if standings.reference is None:
        say(
            f"{board.name} has no entry of {board.reference!r} yet, the reference that all "
            "entries are measured against. docs/submit.md says how to submit one."
        )
        return
    versions = {
        row.entry.design.slug: row.entry.required_version
        for row in (*standings.closed, *standings.open)
        if row.entry.verification is not None and row.entry.required_version is not None
    }
    for division, rows in (("", standings.closed), (", open division", standings.open)):
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
                rank_bounds_text(row.rank_bounds),
                escape(row.entry.design.label),
                savings_text(row.savings),
                f"{row.aulc.value:.2f}",
                savings_text(row.worst.savings),
                f"{row.seconds:.2f} s",
                row.entry.level + "*" * (row.entry.design.slug in versions),
            )
        console().print(table)
    say(
        "saved: budget that the reference needs for the design's gap, over the design's own "
        "budget; geometric mean over environments. AULC: area under the learning curve of the gap "
        "over the reference's; lower is better. least saved: in its worst environment. place: "
        "best and worst place that the seeds do not rule out, by pairwise tests; – is a control, "
        "never ranked."
    )
    if versions:
        names = escape(" or ".join(sorted(set(versions.values()))))
        say(f"*: verified with {names}, under another protocol than this version's.")
