"""Play designs on a transformer whose gap is exact, and write the page: python docs/tiny_lm.py.

The page is docs/tiny-lm.md. Cells are stored in runs/tiny-lm and not played again.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pairbench import Report, load_board, load_report, make_env, run
from pairbench.reports.report import Row, Section
from pairbench.stats.text import savings_text

ROOT = Path(__file__).resolve().parent.parent
BOARD = "tiny-lm"

HEAD = """# Do designs rank alike on a transformer?

Made by `python docs/tiny_lm.py`, which runs the board `{board}`: {designs} designs, {seeds} seeds
of `pairbench/TinyLM-v1`, a GPT-2 of a hundred thousand weights that is trained by DPO and scored
exactly, by enumerating all 4,096 completions of each held-out prompt. Designs see one of two kinds
of features:

{features}

The transformer, its worlds and its training are the same with both.

Gaps are means over seeds, reward units, with 95 % intervals. Labels saved are a ratio, paired by
seed: the labels that `{reference}` needs for the gap that the design reaches after {budget} labels,
over those that it needs for the gap that it reaches itself. Before the first label several designs
make the same choice, so that their first columns agree.

{sections}

## What it says

**The theory carries over where the features are the policy's own.** With score vectors an optimal
design has the smallest gap from 100 labels on, significantly below `{reference}` at 100 and 200.
Designs that choose long differences (`max-distance`, `leverage`) or the best against the worst
completion are worse than `{reference}` where there are many labels. The advantage is smaller than
in most log-linear worlds, because completions drawn from a flat reference are about as different
from one another as they can be; with ten seeds none is significant at the largest budget.

With hidden states the same designs lose to `{reference}` from 400 labels on. They spread labels
over directions in which full fine-tuning does not move the transformer, and the more they trust
their features, the more they lose: `greedy-d` and `i-optimal` most, `greedy-i-robust`, which asks
some pairs at random, least of the three. [projection.md](projection.md) finds the same without any
training. Where gradients of the policy are not available as features, pairs at random or
spread out (`k-medoids`) are the safer choice on this evidence.

Significant differences (the 95 % interval of the ratio of gaps excludes 1), by number of labels:

{findings}
"""

FEATURES = {
    "scores": "**score vectors**, ∇_θ log π_θ at the reference, randomly projected: those of the "
    "theory;",
    "mean": "**hidden states**, the mean of the last layer's over a completion.",
}

TITLES = {"scores": "Score vectors", "mean": "Hidden states"}


def main() -> None:
    """Play missing cells, and write the page."""
    folder = ROOT / "runs" / BOARD
    run(load_board(BOARD).run_spec(), folder, time_limit=600, on_progress=print_progress)
    page = ROOT / "docs" / "tiny-lm.md"
    page.write_text(render(load_report(folder)), encoding="utf-8")


def print_progress(done: int, total: int) -> None:
    """Print the progress of a run."""
    sys.stderr.write(f"{done:,} of {total:,} cells\n")


def features(section: Section) -> str:
    """Return the kind of features that designs see in an environment."""
    return str(getattr(make_env(section.environment), "features"))  # noqa: B009 - not of all


def render(report: Report) -> str:
    """Render the page."""
    sections = sorted(report.sections, key=lambda s: [*FEATURES].index(features(s)))
    row = sections[0].rows[0]
    return HEAD.format(
        board=BOARD,
        designs=len(sections[0].rows),
        seeds=row.seeds,
        features="\n".join(f"- {FEATURES[features(s)]}" for s in sections),
        reference=report.reference,
        budget=row.budget,
        sections="\n\n".join("\n".join(table(s)) for s in sections),
        findings="\n".join(findings(report, sections)),
    )


def table(section: Section) -> Iterator[str]:
    """Yield the lines of a table of gaps by design and budget, best final gap first."""
    budgets = section.rows[0].reported_budgets
    yield f"## {TITLES[features(section)]}"
    yield ""
    yield (
        f"Before any label the gap is {section.start:.3f}; trained on noiseless labels of all "
        f"pairs of the pool, the policy reaches {section.floor:.3f}, the floor of this world."
    )
    yield ""
    yield f"| design | {' | '.join(f'{budget} labels' for budget in budgets)} | labels saved |"
    yield "|---|" + "---|" * (len(budgets) + 1)
    for row in section.rows:
        gaps = {point.budget: point.gap for point in row.curve}
        cells = [f"{gaps[b].value:.3f} ({gaps[b].low:.3f} to {gaps[b].high:.3f})" for b in budgets]
        yield f"| {row.design} | {' | '.join(cells)} | {savings_text(row.savings)} |"


def findings(report: Report, sections: list[Section]) -> Iterator[str]:
    """Yield the designs that are significantly better or worse than the reference, by budget."""
    for section in sections:
        for better, word in ((True, "better"), (False, "worse")):
            texts = filter(None, (significant_ratios(row, better) for row in section.rows))
            designs = "; ".join(texts) or "none, at any budget"
            yield f"- {TITLES[features(section)]}, {word} than `{report.reference}`: {designs}."


def significant_ratios(row: Row, better: bool) -> str:
    """Format the ratios of gaps whose interval excludes 1, with their budgets."""
    ratios = [
        f"{point.ratio.value:.2f} at {point.budget}"
        for point in row.curve
        if point.ratio is not None
        and point.budget <= row.budget
        and (point.ratio.high < 1 if better else point.ratio.low > 1)
    ]
    return f"`{row.design}` ({', '.join(ratios)})" if ratios else ""


if __name__ == "__main__":
    main()
