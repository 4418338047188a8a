"""Summaries of annotation rounds: selected pairs, generated pools, exports and imports."""

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from pairbench.cli.show.terminal import say

if TYPE_CHECKING:
    from pairbench.annotation.agreement import Agreement
    from pairbench.annotation.answers import AnnotatorAnswers
    from pairbench.annotation.exchange import Export, ImportSummary
    from pairbench.annotation.round import AnnotationRound
    from pairbench.language.generation import GenerationSettings, GenerationSummary


_CERTAIN = 0.99  # probability of the likeliest completion above which to warn
_N_UNCLEAR = 5  # unclear answers that are named; the others are counted


def print_round(planned: "AnnotationRound", out: Path, figures: Sequence[Path]) -> None:
    """Print the pool, the selected pairs with their predicted worth, and the next step.

    Args:
        planned: the round.
        out: pairs file.
        figures: files of the figure.
    """
    _print_pool(planned)
    _print_selection(planned)
    say(f"\npairs in {escape(str(out))}, best first: any first part of them is a good choice, too")
    if figures:
        say(f"figure: {' and '.join(escape(str(path)) for path in figures)}")
    file = escape(shlex.quote(str(out)))
    say(f"next: pairbench export {file} --to label-studio (or argilla, csv)")


def _print_pool(planned: "AnnotationRound") -> None:
    """Print the size of the pool, what was omitted from it, its features and its labels."""
    corpus, pool = planned.corpus, planned.pool
    say(
        f"[bold]{escape(str(corpus.path))}[/]: {pool.n_prompts:,} prompts, "
        f"{int(pool.valid.sum()):,} completions, {pool.n_pairs:,} pairs"
    )
    for count, singular, plural in (
        (corpus.n_duplicates, "duplicate is never compared", "duplicates are never compared"),
        (
            corpus.n_single_completion,
            "prompt with one completion is left out",
            "prompts with one completion are left out",
        ),
        (corpus.n_empty, "completion is empty", "completions are empty"),
        (corpus.n_without_text, "prompt has an id and no text", "prompts have ids and no text"),
        (
            corpus.n_identical,
            "comparison of a completion with itself is left out",
            "comparisons of completions with themselves are left out",
        ),
    ):
        if count:
            say(f"  {count:,} {singular if count == 1 else plural}")
    if corpus.unused:
        fields = ", ".join(
            f"{name} ({count:,} {'row' if count == 1 else 'rows'})"
            for name, count in corpus.unused.items()
        )
        say(f"  fields not used: {escape(fields)}")
    if planned.certainty > _CERTAIN:
        say(
            f"  [yellow]the reference log-probabilities put {planned.certainty:.1%} on one "
            "completion of each prompt, which leaves a policy nothing to choose. Leave them out if "
            "the completions were drawn from the policy (--ignore-log-ref).[/]"
        )
    say(f"features  {pool.dim}: {escape(planned.features)}")
    say(f"labels    {_labels_so_far(planned)}")


def _print_selection(planned: "AnnotationRound") -> None:
    """Print the number of selected pairs, their efficiency, predicted gaps and worth."""
    selection = planned.selection
    n = len(selection.pairs)
    pairs = f"{n:,} pair{'s' * (n > 1)}"
    asks = "asks" if selection.repeated == 1 else "ask"
    again = f", {selection.repeated:,} of which {asks} a pair again" if selection.repeated else ""
    say(f"chosen    {pairs} by {escape(planned.design)}{again}")
    percent = math.floor(100 * selection.efficiency)
    say(f"certified at least {percent} % as informative as the best {pairs}")
    say(
        f"gap       {_gap(selection.gaps[0])} before, {_gap(selection.gap)} after; "
        f"after {n:,} random {_gap(selection.random.gap(n))} (predicted, reward units)"
    )
    say(f"[bold]{worth_text(n, selection.gaps[0], selection.worth)}[/]")


def print_generation(
    summary: "GenerationSummary", settings: "GenerationSettings", out: Path
) -> None:
    """Print the content of a generated pool, the speed, and the next step.

    Args:
        summary: counts and times of the generation.
        settings: settings of the generation.
        out: folder of the pool.
    """
    new = f", {summary.made:,} made now" * (summary.made < summary.shards)
    say(
        f"{summary.prompts:,} prompts, {summary.completions:,} completions in "
        f"{escape(str(out))} ({summary.shards:,} shard{'s' * (summary.shards > 1)}{new})"
    )
    for count, note in (
        (summary.repeated, "prompts left out: they came before"),
        (summary.empty, "completions left out: they have no text"),
        (summary.unfit, "completions left out: their texts do not fit into the context"),
        (summary.cut, f"completions cut at {settings.sampling.max_tokens:,} tokens"),
        (summary.duplicates, "completions repeat another of their prompt"),
    ):
        if count:
            say(f"  {count:,} {note}")
    if summary.tokens:
        speed = summary.tokens / max(summary.seconds, 1e-9)
        say(
            f"{summary.tokens:,} tokens in {summary.seconds:,.1f} s, {speed:,.0f} a second, "
            "log-probabilities and features included"
        )
    # The policy sampled the completions, so their frequencies already follow its probabilities.
    folder = escape(shlex.quote(str(out)))
    say(f"next: pairbench select {folder} --budget 100 --ignore-log-ref")


def worth_text(n: int, before: float, worth: float) -> str:
    """Describe the worth of labels as a number of labels of random pairs.

    Args:
        n: number of labels.
        before: predicted gap without them, reward units.
        worth: number of labels of random pairs that reduce the gap as far.
    """
    from pairbench.stats.text import round_figure

    these = f"These {n:,} labels are" if n > 1 else "This label is"
    if before == 0:
        value = "worth nothing, because there is nothing left to learn"
    elif math.isinf(worth):
        value = "worth more than any number of random ones"
    else:
        random = round_figure(worth)
        value = f"worth about {random} random one{'s' * (random != '1')}"
    return f"{these} {value} under the model's assumptions."


def print_export(export: "Export", files: Sequence[Path]) -> None:
    """Print what an export contains and omits, and the file that sets up the annotation project.

    Args:
        export: the export.
        files: written files: the data, then files that set up the project.
    """
    say(f"{export.rows:,} {export.unit} in {escape(str(files[0]))}")
    for reason, count in export.omitted.items():
        if count:
            say(f"  {count:,} {reason} left out")
    for path in files[1:]:
        say(f"set the project up with {escape(str(path))}")


def print_import(summary: "ImportSummary", labels: Path) -> None:
    """Print the counts of imported answers, and of labels in the labels file.

    Args:
        summary: the import.
        labels: labels file.
    """
    answers, merged = summary.answers, summary.merge
    counts = Counter(label.label for label in answers.labels)
    by_label = ", ".join(
        f"{counts[name]:,} {name}" for name in ("first", "second", "tie", "skip") if counts[name]
    )
    annotators = len({label.annotator for label in answers.labels if label.annotator})
    by = f" by {_count(annotators, 'annotator')}" if annotators else ""
    say(f"{_count(len(answers.labels), 'answer')}{by}{f': {by_label}' if by_label else ''}")
    _print_not_read(answers)
    file = escape(str(labels))
    if summary.written:
        notes = {
            "new": merged.new,
            "changed": merged.changed,
            "there already": merged.unchanged,
            "withdrawn": summary.n_withdrawn,
        }
        parts = ", ".join(f"{n:,} {note}" for note, n in notes.items() if n) or "none new"
        say(f"{_count(len(merged.labels), 'label')} in {file}: {parts}")
    else:
        say(f"{file} is a labels file already, and `pairbench select --labels {file}` reads it.")
    say(_agreement_text(summary.agreement))


def _print_not_read(answers: "AnnotatorAnswers") -> None:
    """Print what a file holds besides answers: unanswered and unclear items, drafts, warnings."""
    if n := answers.unanswered:
        say(f"  {n:,} {'row has' if n == 1 else 'rows have'} no answer yet")
    if answers.unclear:
        named = [f"{location} ({reason})" for location, reason in answers.unclear[:_N_UNCLEAR]]
        more = len(answers.unclear) - len(named)
        text = ", ".join(named) + (f" and {more:,} more" if more else "")
        say(escape(f"  annotated without a clear answer: {text}"))
    for kind, n in answers.omitted.items():
        say(f"  {n:,} {kind if n > 1 else kind.removesuffix('s')} left out")
    for text in answers.warnings:
        say(escape(f"warning: {text}"))


def _agreement_text(agreement: "Agreement") -> str:
    """Describe the annotators of a labels file and their agreement in a line."""
    who = _count(agreement.annotators, "annotator") if agreement.annotators else ""
    if agreement.anonymous:
        who += f"{' and ' * bool(who)}{_count(agreement.anonymous, 'label')} without annotator"
    text = f"in all: {who}, {_count(agreement.ties, 'tie')}, {_count(agreement.skips, 'skip')}"
    if not agreement.shared:
        return f"{text}; no pair was answered by two annotators"
    pairs = _count(agreement.shared, "pair")
    if math.isnan(agreement.alpha):
        return f"{text}; all answers to {pairs} of two or more annotators are alike"
    alpha = f"Krippendorff's α {agreement.alpha:.2f}"
    return f"{text}; agreement on {pairs} of two or more annotators: {alpha} (nominal)"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _labels_so_far(planned: "AnnotationRound") -> str:
    values = planned.past.values
    if not len(values):
        return "none yet"
    skipped = int(sum(math.isnan(value) for value in values))
    text = f"{len(values):,} so far"
    if skipped:
        text += f", {skipped:,} of them skipped"
    if from_pool := planned.n_pool_file_labels:
        text += f" ({from_pool:,} from the pool file itself; --ignore-answers leaves them out)"
    return text


def _gap(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
