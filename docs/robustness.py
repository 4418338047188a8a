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

HEAD = """# Robustness of designs to annotator noise and bias

Made by `python docs/robustness.py`, which runs the board `{board}`: {designs} designs, including
`{reference}`, on `{world}`, labelled by {annotators} annotators, with {seeds} seeds and {budget}
labels. The annotators are described in [annotators.md](annotators.md), the designs in
[designs.md](designs.md). DPO assumes Bradley–Terry labels in every case. `b-pref-stochastic` is not
listed, since it is `bradley-terry`.

**Label savings** are the number of labels that `{reference}` needs to reach the gap of a design,
divided by the number of labels of the design, **with the same annotator**: at 2× the design needs
half the labels ([theory.md](theory.md), section 4). Intervals are 95 %, paired by seed. The
reference is run with up to 8 times as many labels, so larger savings are not measured:

- `> 8.0× (at least 1.5)`: `{reference}` does not reach the design's gap with 8 times as many
  labels; the lower end of the interval is 1.5. If that end is below 1, the advantage is not
  significant.
- `7.7× (1.8 or more)`: the interval's upper end is beyond 8×.
- `< 0.12× (at most 0.12)`: `{reference}` has a smaller gap than the design already at its first
  budget, an eighth of the labels.
- `< 1.0×` and `> 1.0×`: more labels increase the gap of `{reference}`, and it and the design end
  with a larger gap than `{reference}` had at its first budget. No savings can then be computed, and
  only which of the two is better is given. The ratios of gaps at the end of the page say by how
  much.

The second table shows the cost of the annotator itself: the gap of `{reference}`, in reward units,
and its ratio to the gap with `bradley-terry`.

## Label savings

{tables}

## What an annotator costs

{costs}

## What breaks under what

The designs differ in which pairs they choose. Some choose pairs with a large difference in
predicted reward or in features (`best-versus-worst`, `eubo`, `max-distance`,
`difference-variance`), some pairs with a small difference in predicted reward (`smallest-gap`,
`uncertainty`), and some the most informative pairs (`bald`, `dts`, `greedy-d`, `greedy-i`,
`greedy-i-robust`).

**Noise-free annotators** (`b-pref-oracle`, `b-pref-skip`, `b-pref-equal`, and `b-pref-myopic`,
which discounts early steps) reverse the order of designs. DPO assumes noisy labels and concludes
that rewards are larger than they are, the more so the closer the labelled pairs are. So the
informative and the small-difference designs, which are better than `{reference}` with
`bradley-terry`, are worse than it, and the large-difference designs, whose answers are predictable
anyway, and `k-medoids` are better. With mistakes in 10 % of the answers (`b-pref-mistake`) that
changes only in part: the large-difference designs and `k-medoids` become worse than `{reference}`,
`bald` and `dts` better, the greedy designs are not significantly different from it, and the
small-difference designs remain worse.

**Wrong answers** (mistakes, adversaries, unreliable crowds, heavy-tailed noise, drifting
preferences) harm the large-difference designs most, which are then worse than `{reference}`, except
that the intervals of `eubo` with heavy-tailed noise reach 1: on such pairs a wrong answer has the
largest residual, and so the largest weight in the fit. The informative designs keep their advantage
with heavy-tailed noise, drift and unreliable crowds. With mistakes and adversaries `bald` and `dts`
keep it, while the intervals of the greedy designs include 1. The small-difference designs have the
smallest gaps, except with `b-pref-mistake`, whose other answers are free of noise.

**Position bias** decides pairs of nearly equal reward and reverses few answers on pairs of very
different reward. Of the large-difference designs all but `eubo` are significantly better than
`{reference}`. The savings of the small-difference designs are of a similar size, but their
intervals are wide, and no other design differs significantly from `{reference}`.

**Length bias, `sycophancy` (a bias towards completions that are likely under π_ref) and
intransitive preferences** raise the gap of `{reference}` about three- to fivefold. Most designs
keep about the savings that they have with `bradley-terry`, within wide intervals. With
intransitive preferences the small-difference designs save far more.

**Groups of annotators with different preferences** (`tastes=3`) cost most of all: every design
learns their mean, and only the small-difference designs are significantly better than
`{reference}`.

Significant differences from `{reference}` at {budget} labels, with the ratio of the design's gap to
that of `{reference}` (its 95 % interval excludes 1):

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
    yield f"| annotator | `{reference}`'s gap | ratio to `bradley-terry` | best design | its gap |"
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
            f"- **{design}**: better with {better} of {len(sections)} annotators; "
            + (f"worse with {names}." if worse else "worse with none.")
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
