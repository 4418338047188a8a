"""What people see: tables, progress and messages on a terminal, plain lines elsewhere."""

import json
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pairbench.catalogue import FAMILIES, KEYS, OTHER, by_family, family_note, short_source

if TYPE_CHECKING:
    from pairbench.annotation.exchange import BroughtIn, Exported
    from pairbench.annotation.round import Round
    from pairbench.catalogue import Entry
    from pairbench.conformance import Result
    from pairbench.harness.store import Failure, Record
    from pairbench.language.generation import Generated, Generation
    from pairbench.oracles.judge import Judged
    from pairbench.report import Report, Section


class OnProgress(Protocol):
    """What is told of progress."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """So much is done out of so much, and a word on it."""


_CERTAIN = 0.99  # of one completion, from which on a reference policy deserves a word


def console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now; a pipe gets lines of 120 columns."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, highlight=False, emoji=False, width=None if stream.isatty() else 120
    )


def say(text: str, *, stderr: bool = False) -> None:
    """Print a line of markup, wrapped by the terminal only, so that paths can be copied."""
    console(stderr=stderr).print(text, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print JSON, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def listing(what: str, entries: Iterable[dict[str, Any]]) -> Table:
    """A table of designs, environments or boards."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(what, style="bold", no_wrap=True)
    table.add_column("what it is", ratio=3)
    table.add_column("parameters and defaults", ratio=2)
    for entry in entries:
        shown = entry.get("differs", entry["parameters"])
        parameters = ", ".join(f"{k}={_short(v)}" for k, v in shown.items())
        if base := entry.get("preset_of"):
            parameters = f"{base} with {parameters or 'its defaults'}"
        table.add_row(escape(entry["name"]), escape(entry["summary"]), escape(parameters))
    return table


def print_judged(found: "Mapping[str, Judged]") -> None:
    """What each model was asked as a judge."""
    if not found:
        say("no replies of judges are kept from that time on")
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", style="bold", overflow="fold")
    for heading in ("replies", "no verdict", "tokens read", "tokens written"):
        table.add_column(heading, justify="right")
    for model, took in found.items():
        counts = (took.replies, took.no_verdict, took.tokens_read, took.tokens_written)
        table.add_row(escape(model), *(f"{count:,}" for count in counts))
    console().print(table)


def family_listing(
    entries: Iterable["Entry"], families: Mapping[str, str] = FAMILIES, *, parameters: bool = False
) -> Iterator[Table]:
    """The designs of one family after the other: what each is, whose it is, and its cost.

    Args:
        entries: the designs, or whatever they are.
        families: what each family goes by, in the order of the list.
        parameters: whether to show the parameters with their defaults, too.
    """
    found = by_family(entries, families)
    width = max(len(entry["name"]) for designs in found.values() for entry in designs)
    for family, designs in found.items():
        table = Table.grid(padding=(0, 2))
        note = family_note(family, families).replace("`", "")
        table.title = f"\n[bold cyan]{family}[/]  [dim]{note}[/]"
        table.title_justify, table.title_style = "left", ""
        table.add_column(style="bold", no_wrap=True, min_width=width)
        table.add_column(ratio=1)
        for entry in designs:
            table.add_row(escape(entry["name"]), escape(entry["summary"]))
            shown = entry["parameters"] if parameters else {}
            aside = [", ".join(f"{name}={_short(value)}" for name, value in shown.items())]
            aside += [short_source(entry["source"] or ""), entry["cost"] or ""]
            if said := " · ".join(filter(None, aside)).replace("``", ""):
                table.add_row("", f"[dim]{escape(said)}[/]")
        yield table


def print_design(entry: "Entry") -> None:
    """One design in full."""
    say(f"[bold]{escape(entry['name'])}[/]   [cyan]{escape(entry['family'] or OTHER)}[/]\n")
    say(f"{escape(entry['text'])}\n")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, default in entry["parameters"].items():
        about = entry["about"].get(name, "").replace("``", "")
        table.add_row(escape(f"{name}={_short(default)}"), escape(about))
    for key in KEYS[1:]:
        if entry[key]:
            table.add_row(key, escape(entry[key]))
    console().print(table)
    if entry["file"]:
        say(f"[bold]code[/]  {escape(entry['file'])}")


def print_checks(design: str, results: Sequence["Result"]) -> None:
    """What was checked, then what is to be mended, and what else was noticed."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("what a design does", ratio=1)
    table.add_column("result", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    styles = {"pass": "green", "fail": "bold red", "skipped": "yellow"}
    for result in results:
        style, took = styles[result.status], f"{result.seconds:.1f} s"
        table.add_row(result.check, result.what, f"[{style}]{result.status}[/]", took)
    console().print(table)
    for status, heading in (("fail", "mend"), ("skipped", "skipped"), ("pass", "note")):
        for result in results:
            if result.status == status:
                for line in result.message.splitlines():
                    say(f"[{styles[status]}]{heading}[/] [bold]{result.check}[/]: {escape(line)}")
    counts = Counter(result.status for result in results)
    told = {"passed": counts["pass"], "failed": counts["fail"], "skipped": counts["skipped"]}
    said = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    seconds = sum(result.seconds for result in results)
    say(f"[bold]{escape(design)}[/]: {said}, in {seconds:.1f} s")


def section_table(section: "Section", reference: str) -> Table:
    """The designs on one environment, best first."""
    from pairbench.report import savings_text  # loads numpy, which other screens do without

    budget = section.rows[0].budget
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"[bold]{escape(section.environment)}[/] after {budget} {_counted(section.unit)}",
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


def _counted(unit: str) -> str:
    """What stands behind the number of a budget."""
    return "units of money" if unit == "money" else unit


def print_report(report: "Report", figures: Sequence[Path]) -> None:
    """The tables of a run, what they mean, and where the figures are."""
    from pairbench.report import much  # loads numpy, which other screens do without

    if not report.sections:
        return
    screen = console()
    units = sorted({section.unit for section in report.sections})
    saved = " or ".join(units)
    what = " or ".join(f"how {much(unit)}" for unit in units)
    for section in report.sections:
        screen.print(section_table(section, report.reference))
    screen.print(
        "[dim]gap: how much worse the policy is than the best one, in reward units; lower is "
        f"better. {saved} saved: {what} {escape(report.reference)} needs for the same gap, over "
        f"the {saved} spent. Equal ranks (=) are ties: differences that these seeds do not "
        "make significant, and all that lies between. efficiency: information of the pairs "
        "chosen, over that of the best pairs.[/]"
    )
    if report.invalid:
        say(f"[yellow]{report.invalid} files are no valid cells and were left out.[/]")
    if figures:
        say(f"figure: {' and '.join(escape(str(path)) for path in figures)}")


def print_failures(failures: Sequence["Failure"]) -> None:
    """Which cells failed and why, each reason once."""
    say(f"[red]{len(failures)} cells failed:[/]", stderr=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        reasons.setdefault((failure.design, failure.error), []).append(failure.environment)
    for (design, error), where in reasons.items():
        places = ", ".join(sorted(set(where)))
        say(
            f"  [bold]{escape(design)}[/] ({len(where)}×, {escape(places)}): {escape(error)}",
            stderr=True,
        )
    say(
        "An edited design is played again by the same command; `pairbench run … --retry-failed` "
        "plays failed cells again as they are.",
        stderr=True,
    )


def print_cell(record: "Record", path: Path) -> None:
    """One episode."""
    labels, screen = record["labels"], console()
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
    start, rounds = record["results"]["start"], record["results"]["rounds"]
    table = Table(box=box.SIMPLE_HEAD)
    unit = record["cell"]["environment"]["params"].get("unit", "labels")
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
    screen.print(table)
    flat = rounds[0]["pairs"][:15]
    first = ", ".join(str(tuple(flat[i : i + 3])) for i in range(0, len(flat), 3))
    say(f"first questions (prompt, first, second): {first}, …")
    made = record["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    git = made["git"]
    state = f", commit {git['commit'][:10]}{' with changes' * git['dirty']}" if git else ""
    say(f"made with {versions}{state}, on {made['host']['platform']}")


def print_round(planned: "Round", out: Path, figures: Sequence[Path]) -> None:
    """What was chosen, how good it is, what it is worth, and what comes next."""
    corpus, pool, chosen = planned.corpus, planned.pool, planned.selection
    n = len(chosen.pairs)
    say(
        f"[bold]{escape(str(corpus.path))}[/]: {pool.n_prompts:,} prompts, "
        f"{int(pool.valid.sum()):,} completions, {pool.n_pairs:,} pairs"
    )
    for count, one, many in (
        (corpus.duplicates, "duplicate is never compared", "duplicates are never compared"),
        (
            corpus.lonely,
            "prompt with one completion is left out",
            "prompts with one completion are left out",
        ),
        (corpus.empty, "completion is empty", "completions are empty"),
        (corpus.nameless, "prompt has an id and no text", "prompts have ids and no text"),
    ):
        if count:
            say(f"  {count:,} {one if count == 1 else many}")
    if planned.certainty > _CERTAIN:
        say(
            f"  [yellow]the reference log-probabilities put {planned.certainty:.1%} on one "
            "completion of each prompt, which leaves a policy nothing to choose. Leave them out if "
            "the completions were drawn from the policy (--ignore-log-ref).[/]"
        )
    say(f"features  {pool.dim}: {escape(planned.features)}")
    say(f"labels    {_labels_so_far(planned)}")
    pairs = f"{n:,} pair{'s' * (n > 1)}"
    asks = "asks" if chosen.repeated == 1 else "ask"
    again = f", {chosen.repeated:,} of which {asks} a pair again" if chosen.repeated else ""
    say(f"chosen    {pairs} by {escape(planned.design)}{again}")
    share = math.floor(100 * chosen.efficiency)
    say(f"proof     at least {share} % as informative as the best {pairs}")
    say(
        f"gap       {_gap(chosen.gaps[0])} before, {_gap(chosen.gap)} after; "
        f"after {n:,} random {_gap(chosen.random.gap(n))} (predicted, reward units)"
    )
    say(f"[bold]{worth_text(n, chosen.gaps[0], chosen.worth)}[/]")
    say(f"\npairs in {escape(str(out))}, best first: any first part of them is a good choice, too")
    if figures:
        say(f"figure: {' and '.join(escape(str(path)) for path in figures)}")
    file = escape(shlex.quote(str(out)))
    say(f"next: pairbench export {file} --to label-studio (or argilla, csv)")


def print_generated(done: "Generated", what: "Generation", out: Path) -> None:
    """What a pool holds, what it took, and what comes next."""
    there = f", {done.made:,} made now" * (done.made < done.shards)
    say(
        f"{done.prompts:,} prompts, {done.completions:,} completions in {escape(str(out))} "
        f"({done.shards:,} shard{'s' * (done.shards > 1)}{there})"
    )
    for count, said in (
        (done.repeated, "prompts left out: they came before"),
        (done.empty, "completions left out: they have no text"),
        (done.unfit, "completions left out: their texts do not fit into the context"),
        (done.cut, f"completions cut at {what.sampling.max_tokens:,} tokens"),
        (done.duplicates, "completions repeat another of their prompt"),
    ):
        if count:
            say(f"  {count:,} {said}")
    if done.tokens:
        speed = done.tokens / max(done.seconds, 1e-9)
        say(
            f"{done.tokens:,} tokens in {done.seconds:,.1f} s, {speed:,.0f} a second, "
            "log-probabilities and features included"
        )
    # The policy wrote them, so that by count they are as likely as it has them.
    folder = escape(shlex.quote(str(out)))
    say(f"next: pairbench select {folder} --budget 100 --ignore-log-ref")


def worth_text(n: int, before: float, worth: float) -> str:
    """What labels are worth, in random ones.

    Args:
        n: how many labels.
        before: the predicted gap without them.
        worth: how many random labels lower it as far.
    """
    from pairbench.figures import round_figure

    these = f"These {n:,} labels are" if n > 1 else "This label is"
    if before == 0:
        what = "worth nothing, because there is nothing left to learn"
    elif math.isinf(worth):
        what = "worth more than any number of random ones"
    else:
        random = round_figure(worth)
        what = f"worth about {random} random one{'s' * (random != '1')}"
    return f"{these} {what} under the model's assumptions."


def print_exported(made: "Exported", files: Sequence[Path]) -> None:
    """What an export holds, what it leaves out, and what to do with it."""
    say(f"{made.rows:,} {made.unit} in {escape(str(files[0]))}")
    for what, count in made.left_out.items():
        if count:
            say(f"  {count:,} {what} left out")
    for path in files[1:]:
        say(f"set the project up with {escape(str(path))}")


def print_imported(done: "BroughtIn", labels: Path) -> None:
    """What came back, and what the labels file holds now."""
    found, merged = done.answers, done.merged
    counts = Counter(label.label for label in found.labels)
    shown = ", ".join(
        f"{counts[name]:,} {name}" for name in ("first", "second", "tie", "skip") if counts[name]
    )
    people = len({label.annotator for label in found.labels if label.annotator})
    by = f" by {people:,} annotator{'s' * (people > 1)}" if people else ""
    say(f"{len(found.labels):,} answers{by}{f': {shown}' if shown else ''}")
    if found.unanswered:
        say(f"  {found.unanswered:,} rows have no answer yet")
    where = escape(str(labels))
    if not done.written:
        say(f"{where} is a labels file already, and `pairbench select --labels {where}` reads it.")
        return
    notes = {"new": merged.new, "changed": merged.changed, "there already": merged.known}
    parts = ", ".join(f"{count:,} {what}" for what, count in notes.items() if count) or "none new"
    say(f"{len(merged.labels):,} labels in {where}: {parts}")


def _labels_so_far(planned: "Round") -> str:
    values = planned.past.values
    if not len(values):
        return "none yet"
    skipped = int(sum(math.isnan(value) for value in values))
    text = f"{len(values):,} so far"
    if skipped:
        text += f", {skipped:,} of them skipped"
    if own := planned.own_answers:
        text += f" ({own:,} from the pool file itself; --ignore-answers leaves them out)"
    return text


def _gap(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


@contextmanager
def progress(screen: Console, doing: str = "playing", what: str = "cells") -> Iterator[OnProgress]:
    """A bar on a terminal; elsewhere a line whenever another tenth is done."""
    if screen.is_terminal:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(what),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=screen, transient=True) as bar:
            task = bar.add_task("", total=None)

            def move(done: int, total: int, note: str = "") -> None:
                bar.update(task, completed=done, total=total, description=note)

            yield move
        return
    start, told = time.monotonic(), -1

    def line(done: int, total: int, note: str = "") -> None:
        nonlocal told
        if (tenth := done * 10 // max(total, 1)) > told:
            told = tenth
            passed = f"{time.monotonic() - start:.0f} s"
            screen.print(", ".join(filter(None, [f"{done} of {total} {what}", passed, note])))

    yield line


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
