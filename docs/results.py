"""Play every design on every world, and write docs/results.md: python docs/results.py.

Cells are stored in runs/all-designs and not played again. AlpacaEval57 is left out unless its data
is installed, see `pairbench data`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pairbench import Report, load_board, load_report, run
from pairbench.design.registry import describe_design
from pairbench.reports.figures import family_map, savings_chart
from pairbench.reports.report import Section
from pairbench.spec.catalogue import FAMILIES
from pairbench.stats.text import savings_text

ROOT = Path(__file__).resolve().parent.parent
BOARD = "all-designs"

HEAD = """# Results: every design on every world

Made by `python docs/results.py`, which plays the board `{board}`: {designs} designs on {worlds}
worlds, {seeds} seeds that no design was tuned on. All share one contract, one budget, one training
and one score; parameters are the publications'. What the designs are is in
[designs.md](designs.md).

Labels saved are how many labels `{reference}` needs for the gap that the design reaches, over those
that it needs for its own: 2× is half the price, ½× twice the price. Intervals are 95 %, paired by
seed.

## Which family wins where

![The best design's family by world and labels](figures/families.png)

A family is as good here as its best design, so that one of many designs has more chances than one
of few; squares are families whose best design is not worse beyond doubt.

## What a design saves

![Label savings of all designs on all worlds](figures/label-savings.png)

## Reversals

No rule wins everywhere. These designs are better than `{reference}` beyond doubt on one world and
worse on another, after {budget} labels; ordered by how far apart the two are.

{reversals}

In {flips} of {pairs} combinations of a design and a world, the design is beyond doubt better than
`{reference}` after {first} labels and worse after {budget}, or the other way round.

{never}

## All figures

Labels saved after {budget} labels, and the seconds that choosing takes in an episode (one thread,
mean over all worlds).

{tables}
"""


def main() -> None:
    """Play missing cells, and write the page and its figures."""
    folder = ROOT / "runs" / BOARD
    run(load_board(BOARD).run_spec(), folder, on_progress=print_progress)
    report = load_report(folder)
    families = families_of(report)
    figures = ROOT / "docs" / "figures"
    savings_chart(report, families, figures)
    family_map(report, families, figures)
    page = ROOT / "docs" / "results.md"
    page.write_text(render(report, families), encoding="utf-8")


def print_progress(done: int, total: int) -> None:
    """Print the progress of a run."""
    sys.stderr.write(f"{done:,} of {total:,} cells\n")


def families_of(report: Report) -> dict[str, str]:
    """Return the family of each design, in the order of the families."""
    designs = {row.design for section in report.sections for row in section.rows}
    families = {design: describe_design(design)["family"] for design in sorted(designs)}
    return dict(sorted(families.items(), key=lambda item: list(FAMILIES).index(item[1])))


def render(report: Report, families: dict[str, str]) -> str:
    """Render the page."""
    rows = [(section, row) for section in report.sections for row in section.rows]
    curves = [[p for p in row.curve if p.budget <= row.budget and p.ratio] for _, row in rows]
    signs = [(sign(points[0].ratio), sign(points[-1].ratio)) for points in curves if points]
    reference = report.reference
    ranked = [name for name in families if families[name] != "control" and name != reference]
    worse = {row.design for _, row in rows if sign(row.ratio) > 0}
    safe = [f"`{name}`" for name in ranked if name not in worse]
    never = f"Worse than `{reference}` beyond doubt on no world, after {rows[0][1].budget} labels: "
    return HEAD.format(
        board=BOARD,
        designs=len(families),
        worlds=len(report.sections),
        seeds=rows[0][1].seeds,
        reference=reference,
        budget=rows[0][1].budget,
        first=rows[0][1].curve[0].budget,
        reversals="\n".join(reversals(report, ranked)),
        flips=sum(before * after < 0 for before, after in signs),
        pairs=len(rows) - len(report.sections),
        never=f"{never}{', '.join(safe) or 'none'}.",
        tables="\n\n".join("\n".join(lines) for lines in tables(report, families)),
    )


def sign(ratio: object) -> int:
    """Return −1 if a gap is significantly below the reference's, 1 if above, else 0."""
    low, high = getattr(ratio, "low", 0), getattr(ratio, "high", 2)
    return int(low > 1) - int(high < 1)


def reversals(report: Report, designs: list[str]) -> Iterator[str]:
    """Yield the lines of a table of designs that are better in one world and worse in another."""
    ratio = f"gap over {report.reference}'s"
    yield f"| design | best on | {ratio} | worst on | {ratio} |"
    yield "|---|---|---|---|---|"
    candidates = []
    for design in designs:
        ratios = [
            (row.ratio, short(section)) for section in report.sections
            for row in section.rows if row.design == design and row.ratio
        ]  # fmt: skip
        best = min(ratios, key=lambda pair: pair[0].value)
        worst = max(ratios, key=lambda pair: pair[0].value)
        if best[0].high < 1 and worst[0].low > 1:
            candidates.append((worst[0].value / best[0].value, design, best, worst))
    for _, design, (low, best_on), (high, worst_on) in sorted(candidates, reverse=True):
        yield f"| {design} | {best_on} | {low.value:.2f} | {worst_on} | {high.value:.2f} |"


def tables(report: Report, families: dict[str, str]) -> Iterator[list[str]]:
    """Yield the lines of a table of savings for each family."""
    heads = [short(section) for section in report.sections]
    for family in dict.fromkeys(families.values()):
        lines = [
            f"**{family}**",
            "",
            f"| design | {' | '.join(heads)} | seconds |",
            "|---|" + "---|" * (len(heads) + 1),
        ]
        for design in (name for name in families if families[name] == family):
            rows = [section.find_row(design) for section in report.sections]
            cells = [savings_text(row.savings) if row else "failed" for row in rows]
            seconds = [row.selection_seconds for row in rows if row]
            lines.append(
                f"| {design} | {' | '.join(cells)} | {sum(seconds) / max(1, len(seconds)):.2f} |"
            )
        yield lines


def short(section: Section) -> str:
    """Return the environment's name without namespace and version."""
    return section.environment.removeprefix("pairbench/").replace("-v1", "")


if __name__ == "__main__":
    main()
