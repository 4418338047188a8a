"""Play designs on a transformer whose gap is exact, and write the page: python docs/tiny_lm.py.

The page is docs/tiny-lm.md. Cells go to runs/tiny-lm; those that are there are not played again.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pairbench import Report, load_board, load_report, make_env, run
from pairbench.report import Row, Section, savings_text

ROOT = Path(__file__).resolve().parent.parent
BOARD = "tiny-lm"

HEAD = """# Does it hold for a transformer?

Made by `python docs/tiny_lm.py`, which plays the board `{board}`: {designs} designs, {seeds} seeds
of `pairbench/TinyLM-v1`, a GPT-2 of a hundred thousand weights that is trained by DPO and scored
exactly, by enumerating all 4,096 completions of each held-out prompt. Designs see one of two kinds
of features:

{features}

The transformer, its worlds and its training are the same with both.

Gaps are means over seeds, reward units, with 95 % intervals; labels saved are how many labels
`{reference}` needs for the gap that the design reaches after {budget}, over those that it needs
for its own, paired by seed.

{sections}

## What it says

**The theory carries over, and the features decide.** With score vectors the order of designs is
that of the log-linear worlds: from 100 labels on an optimal design has the least gap, beyond doubt
at some budgets; long differences, and the best against the worst, lose where there are many
labels. The advantage is smaller than in most of those worlds, because completions drawn from a
flat reference are about as different from one another as they can be, and ten seeds leave room for
none at the largest budget.

With hidden states the same designs lose to `{reference}`. They spread labels over directions in
which a transformer that is trained in all of its weights does not move, and the more they trust
their features, the more they lose: `greedy-d` and `i-optimal` most, `greedy-i-robust`, which asks
some pairs at random, least of the three. [projection.md](projection.md) says the same without any
training. Whoever has no gradients of the policy at hand had better take pairs at random, or
spread them (`k-medoids`).

Beyond doubt, by the ratio of gaps at a number of labels:

{findings}
"""

FEATURES = {
    "scores": "**score vectors**, the projected ∇_θ log π_θ at the reference, the theory's own;",
    "mean": "**hidden states**, the mean of the last layer's over a completion.",
}

TITLES = {"scores": "Score vectors", "mean": "Hidden states"}


def main() -> None:
    """Play what is missing, and write the page."""
    folder = ROOT / "runs" / BOARD
    run(load_board(BOARD).run_spec(), folder, time_limit=600, on_progress=progress)
    page = ROOT / "docs" / "tiny-lm.md"
    page.write_text(written(load_report(folder)), encoding="utf-8")


def progress(done: int, total: int) -> None:
    """Say how far a run is."""
    sys.stderr.write(f"{done:,} of {total:,} cells\n")


def features(section: Section) -> str:
    """What designs see in an environment."""
    return str(getattr(make_env(section.environment), "features"))  # noqa: B009 - not of all


def written(report: Report) -> str:
    """The page."""
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
    """The designs' gaps at each budget, best last gap first."""
    budget = section.rows[0].budget
    marks = [point.budget for point in section.rows[0].curve if point.budget <= budget]
    yield f"## {TITLES[features(section)]}"
    yield ""
    yield (
        f"Before any label the gap is {section.start:.3f}; with labels of all of the pool's pairs, "
        f"without noise, training reaches {section.floor:.3f}, the floor."
    )
    yield ""
    yield f"| design | {' | '.join(f'{mark} labels' for mark in marks)} | labels saved |"
    yield "|---|" + "---|" * (len(marks) + 1)
    for row in section.rows:
        gaps = {point.budget: point.gap for point in row.curve}
        cells = [f"{gaps[m].value:.3f} ({gaps[m].low:.3f} to {gaps[m].high:.3f})" for m in marks]
        yield f"| {row.design} | {' | '.join(cells)} | {savings_text(row.savings)} |"


def findings(report: Report, sections: list[Section]) -> Iterator[str]:
    """Which designs are better or worse than the reference beyond doubt, at which budgets."""
    for section in sections:
        for better, word in ((True, "better"), (False, "worse")):
            told = [t for row in section.rows if (t := beyond_doubt(row, better))]
            which = "; ".join(told) if told else "none, at any budget"
            yield f"- {TITLES[features(section)]}, {word} than `{report.reference}`: {which}."


def beyond_doubt(row: Row, better: bool) -> str:
    """The budgets at which the interval of the ratio of gaps leaves out 1, with the ratios."""
    found = [
        f"{point.ratio.value:.2f} at {point.budget}"
        for point in row.curve
        if point.ratio is not None
        and point.budget <= row.budget
        and (point.ratio.high < 1 if better else point.ratio.low > 1)
    ]
    return f"`{row.design}` ({', '.join(found)})" if found else ""


if __name__ == "__main__":
    main()
