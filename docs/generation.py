"""Play pools of all sizes at three prices, and write the page: python docs/generation.py.

The page is docs/generate-then-label.md, its figure docs/figures/pool-size.svg and .png. Cells are
stored in runs/generate-then-label and not played again.
"""

from collections.abc import Mapping
from pathlib import Path

from pairbench import Report, load_board, load_report, make_design, make_env, run
from pairbench.reports.figures import size_curves
from pairbench.reports.report import Row
from pairbench.stats.bootstrap import Estimate
from pairbench.view.budget import make_prices

ROOT = Path(__file__).resolve().parent.parent
BOARD = "generate-then-label"

HEAD = """# A larger pool with fewer labels, or a smaller pool with more labels?

Made by `python docs/generation.py`, which runs the board `{board}`: {seeds} seeds of
`pairbench/GenerateThenLabel-v1`, 50 prompts that begin with two completions each, and {budget}
units of money for labels (1 each) and for further completions. Policies are scored on held-out
prompts, over all 64 completions of each, whichever pool they were trained on.

![Gap against the size of the pool](figures/pool-size.png)

`all-pairs` generates K completions and labels all K(K − 1)/2 pairs of as many prompts as the budget
allows, one at least. The other designs generate K completions of every prompt, and choose pairs
among all of them with the money that is left. A star in the figure and bold type in the tables mark
the best K of a design; "–" marks pools whose completions alone cost more than the budget.

{tables}

## What it says

{findings}
"""

Curves = Mapping[str, list[tuple[int, Row]]]


def main() -> None:
    """Play missing cells, and write the page and its figure."""
    folder = ROOT / "runs" / BOARD
    run(load_board(BOARD).run_spec(), folder)
    report = load_report(folder)
    sections = sorted(report.sections, key=lambda section: price(section.environment))
    panels = {price(section.environment): curves(section.rows) for section in sections}
    gaps: dict[str, dict[str, list[tuple[int, Estimate]]]] = {
        f"a completion costs {cost} labels": {
            name: [(size, row.gap) for size, row in points] for name, points in panel.items()
        }
        for cost, panel in panels.items()
    }
    size_curves(gaps, "completions of a prompt, K", ROOT / "docs" / "figures" / "pool-size")
    page = ROOT / "docs" / "generate-then-label.md"
    page.write_text(render(report, panels), encoding="utf-8")


def price(environment: str) -> str:
    """Return the price of a completion in an environment, in labels."""
    return f"{make_prices(make_env(environment).prices).completion:g}"


def curves(rows: list[Row]) -> Curves:
    """Group rows by design and sort them by completions per prompt, without rows of no labels."""
    groups: dict[str, list[tuple[int, Row]]] = {}
    for row in rows:
        design = make_design(row.design)
        size = getattr(design, "completions", 2)
        name = getattr(design, "design", row.design.split("(")[0])
        if row.labels >= 1:
            groups.setdefault(name, []).append((size, row))
    return {name: sorted(groups[name], key=lambda point: point[0]) for name in sorted(groups)}


def render(report: Report, panels: Mapping[str, Curves]) -> str:
    """Render the page."""
    row = report.sections[0].rows[0]
    return HEAD.format(
        board=BOARD,
        seeds=row.seeds,
        budget=row.budget,
        tables="\n\n".join(table(cost, panel) for cost, panel in panels.items()),
        findings="\n".join(findings(panels)),
    )


def table(cost: str, panel: Curves) -> str:
    """Render a table of gap and number of labels by design and completions per prompt."""
    sizes = sorted({size for points in panel.values() for size, _ in points})
    lines = [
        f"**A completion costs {cost} labels**; gap after all money is spent, with its 95 % "
        "interval and the number of labels bought:",
        "",
        f"| design | {' | '.join(f'K = {size}' for size in sizes)} |",
        "|---|" + "---|" * len(sizes),
    ]
    for name, points in panel.items():
        by_size = dict(points)
        best = min(points, key=lambda point: point[1].gap.value)[0]
        cells = [cell(by_size.get(size), size == best) for size in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(row: Row | None, best: bool) -> str:
    """Render a gap with its interval and number of labels."""
    if row is None:
        return "–"
    gap = f"{row.gap.value:.3f}"
    interval = f"{row.gap.low:.3f} to {row.gap.high:.3f}"
    return f"{f'**{gap}**' if best else gap} ({interval}; {row.labels:.0f})"


def findings(panels: Mapping[str, Curves]) -> list[str]:
    """Describe the best design and K at each price, and the best K of the other designs."""
    lines = []
    for cost, panel in panels.items():
        best = {name: min(points, key=lambda p: p[1].gap.value) for name, points in panel.items()}
        first, *rest = sorted(best.items(), key=lambda item: item[1][1].gap.value)
        runners_up = ", ".join(
            f"{name} {row.gap.value:.3f} at K = {size}" for name, (size, row) in rest
        )
        name, (size, row) = first
        lines.append(
            f"- At {cost} labels for a completion the best is {name} at K = {size}: "
            f"{row.gap.value:.3f}. The best of the others: {runners_up}."
        )
    return lines


if __name__ == "__main__":
    main()
