"""Play the same designs with other annotators, and write the page: python docs/robustness.py.

The page is docs/robustness.md. Cells are stored in runs/robustness and not played again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pairbench import Report, load_board, load_report, make_env, run
from pairbench.reports.report import Row, Section
from pairbench.stats.text import savings_text

ROOT = Path(__file__).resolve().parent.parent
BOARD = "robustness"
COLUMNS = 4  # annotators per table

HEAD = """# Which designs stand which annotators

Made by `python docs/robustness.py`, which plays the board `{board}`: {designs} designs on
`{world}`, answered by {annotators} annotators, {seeds} seeds, {budget} labels. What the annotators
are is in [annotators.md](annotators.md); DPO takes all of them for Bradley and Terry's.

Labels saved are how many labels `{reference}` needs for the gap that the design reaches, over those
that it needs for its own, **with the same annotator**: 2× is half the price. Intervals are 95 %,
paired by seed. The second table has the price of the annotator itself: `{reference}`'s gap over the
one that it has with Bradley–Terry annotators.

`< 1.0×` and `> 1.0×` stand where labels carry the policy away from the best one: the gap of
`{reference}` then grows with labels, and their number only tells who is better, not by how much.
The ratios of gaps in the last list do.

## Labels saved

{tables}

## What an annotator costs

{costs}

## What breaks under what

**Annotators who are always right** (B-Pref's oracle, and those who besides only skip, tie or
forget) turn the order round. DPO takes their answers for noisy ones and concludes that rewards are
larger than they are, the more so the closer the pairs that were asked. So the designs that lead
elsewhere end up behind `{reference}`, and those of long differences, whose answers are foregone
anyway, before it. A tenth of mistakes undoes that.

**Wrong answers** (mistakes, adversaries, unreliable crowds, heavy tails, taste that drifts) break
the designs that take long differences (`best-versus-worst`, `max-distance`, `difference-variance`,
`eubo`): there a wrong answer contradicts the model most, and weighs most in the fit. Those that
follow the information (`bald`, `dts`, `greedy-d`, `greedy-i`, `greedy-i-robust`) lose little or
nothing of their lead. Designs that seek close pairs (`smallest-gap`, `uncertainty`) are the best of
all here, except with B-Pref's mistakes, where all else is always right.

**A position bias** decides close pairs and leaves long differences alone, so the designs that take
these gain. **Bias by length, sycophancy and circles** cost all designs alike, and leave their order
much as it is with Bradley–Terry annotators. **Several tastes** cost most of all: every design
learns their mean, and only those of close pairs are clearly better than `{reference}`.

For each design, beyond doubt at {budget} labels:

{breaks}

"""


def main() -> None:
    """Play missing cells, and write the page."""
    folder = ROOT / "runs" / BOARD
    board = load_board(BOARD)
    run(board.run_spec(), folder)
    report = load_report(folder)
    order = [annotator(e.spec) for e in board.environments]
    sections = sorted(report.sections, key=lambda s: order.index(annotator(s.environment)))
    page = ROOT / "docs" / f"{BOARD}.md"
    page.write_text(render(report, sections), encoding="utf-8")


def annotator(environment: str) -> str:
    """Return the annotator of an environment, by default Bradley–Terry."""
    return make_env(environment).annotator or "bradley-terry"


def render(report: Report, sections: Sequence[Section]) -> str:
    """Render the page."""
    row = sections[0].rows[0]
    chunks = [sections[k : k + COLUMNS] for k in range(0, len(sections), COLUMNS)]
    return (
        HEAD.format(
            board=BOARD,
            designs=len(sections[0].rows),
            world=sections[0].environment.split("(")[0],
            annotators=len(sections),
            seeds=row.seeds,
            budget=row.budget,
            reference=report.reference,
            tables="\n\n".join("\n".join(savings(report, chunk)) for chunk in chunks),
            costs="\n".join(costs(report, sections)),
            breaks="\n".join(breaks(report, sections)),
        ).rstrip()
        + "\n"
    )


def savings(report: Report, sections: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of a table of label savings by design and annotator."""
    yield f"| design | {' | '.join(code(s) for s in sections)} |"
    yield "|---|" + "---|" * len(sections)
    for design in sorted(row.design for row in sections[0].rows):
        if design != report.reference:
            cells = [savings_text(row_of(s, design).savings) for s in sections]
            yield f"| {design} | {' | '.join(cells)} |"


def costs(report: Report, sections: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of a table of the reference's and the best design's gap by annotator."""
    reference = report.reference
    plain = row_of(sections[0], reference).gap.value
    yield f"| annotator | `{reference}`'s gap | over Bradley–Terry's | best design | its gap |"
    yield "|---|---|---|---|---|"
    for section in sections:
        gap = row_of(section, reference).gap
        best = min(section.rows, key=lambda row: row.gap.value)
        yield (
            f"| {code(section)} | {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}) | "
            f"{gap.value / plain:.1f} | {best.design} | {best.gap.value:.3f} |"
        )


def breaks(report: Report, sections: Sequence[Section]) -> Iterator[str]:
    """Yield, for each design, the annotators with which it is significantly worse or better."""
    for design in sorted(row.design for row in sections[0].rows):
        if design == report.reference:
            continue
        ratios = [(row_of(s, design).ratio, code(s)) for s in sections]
        worse = sorted(((r.value, name) for r, name in ratios if r and r.low > 1), reverse=True)
        better = sum(1 for r, _ in ratios if r and r.high < 1)
        names = ", ".join(f"{name} ({value:.2f})" for value, name in worse)
        yield (
            f"- **{design}**: better than `{report.reference}` beyond doubt with {better} of "
            f"{len(sections)} annotators; "
            + (f"worse, by the ratio of gaps, with {names}." if worse else "worse with none.")
        )


def row_of(section: Section, design: str) -> Row:
    """Return the row of a design that has one.

    Raises:
        LookupError: If it has none.
    """
    row = section.find_row(design)
    if row is None:
        raise LookupError(f"{design} has no successful cell on {section.environment}.")
    return row


def code(section: Section) -> str:
    """Return the annotator as code in a table."""
    return f"`{annotator(section.environment)}`".replace("|", "\\|")


if __name__ == "__main__":
    main()
