"""Figures of reports, as SVG and PNG by matplotlib; equal numbers give equal bytes."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairbench._util.drawing import (
    COLOURS,
    LINE_STYLES,
    REFERENCE_STYLE,
    new_figure,
    save_figure,
    sparse_log_formatter,
)
from pairbench.reports.report import Report, Row, Section
from pairbench.stats.bootstrap import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Styles = dict[str, dict[str, Any]]
"""Line style of each design, as keyword arguments of ``Axes.plot``."""

_TITLE_WIDTH = 48  # characters per line of a panel's title


def learning_curves(report: Report, folder: Path) -> list[Path]:
    """Draw the mean gap against the budget spent, a panel for each environment.

    Args:
        report: the report.
        folder: folder for ``learning-curves.svg`` and ``.png``.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    return _panels(report, report.sections, _draw_learning_curves, folder / "learning-curves")


def frontier(report: Report, folder: Path) -> list[Path]:
    """Draw reward against KL divergence from π_ref, for policies that are scored by draws.

    A design's line runs from few labels to many. Of two policies of equal divergence, the one of
    higher reward is better.

    Args:
        report: the report.
        folder: folder for ``frontier.svg`` and ``.png``.

    Returns:
        The files; none if all scores are exact.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    sections = [s for s in report.sections if any(p.kl for row in s.rows for p in row.curve)]
    return _panels(report, sections, _draw_frontier, folder / "frontier")


def savings_chart(report: Report, families: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw each design's label savings with their interval, a column for each environment.

    Args:
        report: the report.
        families: the family of each design.
        folder: folder for ``label-savings.svg`` and ``.png``.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    sections = report.sections
    if not sections:
        return []
    colours = _family_colours(families)
    savings = {
        (section.environment, row.design): row.savings
        for section in sections
        for row in section.rows
        if row.savings is not None
    }
    order = _savings_order(report, families, savings)
    size = (2.6 + 1.45 * len(sections), 1.2 + 0.165 * len(order))
    with new_figure(size) as figure:
        axes = figure.subplots(1, len(sections), sharey=True, squeeze=False).ravel()
        for axis, section in zip(axes, sections, strict=True):
            axis.axvline(1, color=REFERENCE_STYLE["color"], linewidth=0.8)
            for line, design in enumerate(order):
                if (estimate := savings.get((section.environment, design))) is not None:
                    _draw_savings(axis, line, estimate, colours[families[design]])
            _format_savings_axis(axis, section)
        axes[0].set_yticks(range(len(order)), order, fontsize=6.5)
        axes[0].set_ylim(len(order) - 0.4, -0.6)
        for label in axes[0].get_yticklabels():
            label.set_color(colours[families[label.get_text()]])
        figure.supxlabel(
            f"labels saved against {report.reference}, ×, with 95 % interval", fontsize=9
        )
        _family_legend(
            figure,
            colours,
            dict.fromkeys(families[design] for design in order),
            loc="outside upper center",
            ncols=5,
            fontsize=8,
        )
        return save_figure(figure, folder / "label-savings")


_LEAST_SAVINGS, _MOST_SAVINGS = 1 / 16, 8.0  # ends of the axis; values beyond are clipped


def _savings_order(
    report: Report, families: Mapping[str, str], savings: Mapping[tuple[str, str], Estimate]
) -> list[str]:
    """Sort designs by family, then by the geometric mean of their savings, largest first."""
    family_order = list(dict.fromkeys(families.values()))

    def key(design: str) -> tuple[int, float]:
        values = [s.value for (_, name), s in savings.items() if name == design and s.value > 0]
        mean = sum(math.log(value) for value in values) / len(values) if values else -math.inf
        return family_order.index(families[design]), -mean

    designs = {row.design for section in report.sections for row in section.rows}
    return sorted(designs - {report.reference}, key=key)


def _draw_savings(axis: "Axes", line: int, savings: Estimate, colour: str) -> None:
    """Draw an estimate with its interval on one line of the chart."""
    low, value, high = (
        min(max(x, _LEAST_SAVINGS), _MOST_SAVINGS)
        for x in (savings.low, savings.value, savings.high)
    )
    axis.plot([low, high], [line, line], color=colour, linewidth=1.1)
    marker = "o" if _LEAST_SAVINGS < value < _MOST_SAVINGS else "<"
    axis.plot(value, line, marker, color=colour, ms=3)


def _format_savings_axis(axis: "Axes", section: Section) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xlim(_LEAST_SAVINGS / 1.15, _MOST_SAVINGS * 1.15)
    axis.set_xticks([1 / 8, 1 / 2, 2, 8], ["⅛", "½", "2", "8"])
    axis.set_xticks([], minor=True)
    name = section.environment.removeprefix("pairbench/").replace("(", "\n(")
    axis.set_title(name, fontsize=7, fontweight="bold")
    axis.grid(axis="both", color="#EEEEEE", linewidth=0.6)
    axis.set_axisbelow(True)


def family_map(report: Report, families: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw which family's best design has the least gap, by environment and labels.

    Args:
        report: the report; controls are left out.
        families: the family of each design.
        folder: folder for ``families.svg`` and ``.png``.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    if not report.sections:
        return []
    colours = _family_colours(families)
    winners = [family_winners(section, families) for section in report.sections]
    budgets = sorted({budget for winner in winners for budget in winner})
    names = [section.environment.removeprefix("pairbench/") for section in report.sections]
    size = (1 + 0.08 * max(map(len, names)) + 1.6 * len(budgets), 1.6 + 0.5 * len(winners))
    with new_figure(size) as figure:
        axis = figure.subplots()
        for line, winner in enumerate(winners):
            for budget, cell in winner.items():
                _draw_winner(axis, budgets.index(budget), line, cell, families, colours)
        axis.set_xlim(0, len(budgets))
        axis.set_ylim(len(winners), 0)
        axis.set_xticks([x + 0.5 for x in range(len(budgets))], [f"{b:,} labels" for b in budgets])
        axis.set_yticks([y + 0.5 for y in range(len(names))], names)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
        cells = [cell for winner in winners for cell in winner.values()]
        _family_legend(
            figure,
            colours,
            [f for f in colours if any(families[d] == f or f in tied for d, _, tied in cells)],
            alpha=0.6,
            loc="outside lower center",
            ncols=4,
            title=f"best design, its gap over {report.reference}'s; squares: families tied with it",
            title_fontsize=7,
            fontsize=7,
        )
        return save_figure(figure, folder / "families")


def _draw_winner(
    axis: "Axes",
    x: int,
    line: int,
    winner: tuple[str, float, list[str]],
    families: Mapping[str, str],
    colours: Mapping[str, str],
) -> None:
    """Fill a cell with the colour of the winner's family, and add a square for each tied family.

    Args:
        axis: where to draw.
        x: column of the cell.
        line: row of the cell.
        winner: design, gap over the reference's, and tied families, see :func:`family_winners`.
        families: the family of each design.
        colours: the colour of each family.
    """
    from matplotlib.patches import Rectangle

    design, ratio, tied = winner
    colour = colours[families[design]]
    axis.add_patch(Rectangle((x + 0.02, line + 0.04), 0.96, 0.92, color=colour, alpha=0.3))
    text = f"{design} {ratio:.2f}"
    axis.text(x + 0.5, line + 0.36, text, ha="center", va="center", fontsize=7)
    for k, family in enumerate(tied):
        position = x + 0.5 + 0.08 * (k - (len(tied) - 1) / 2)
        axis.plot(position, line + 0.74, "s", color=colours[family], markersize=4)


def family_winners(
    section: Section, families: Mapping[str, str]
) -> dict[int, tuple[str, float, list[str]]]:
    """Return, by budget, the design of least gap, its gap over the reference's, and tied families.

    A family is tied if the interval of its best design's ratio includes the winner's ratio.

    Args:
        section: results on an environment; controls are left out.
        families: the family of each design.
    """
    winners = {}
    for budget in section.rows[0].reported_budgets:
        points = [
            (point.ratio, row.design)
            for row in section.rows
            if row.rank is not None
            for point in row.curve
            if point.budget == budget and point.ratio is not None
        ]
        if not points:
            continue
        points.sort(key=lambda pair: pair[0].value)
        least, winner = points[0]
        best = {families[design]: ratio for ratio, design in reversed(points)}
        tied = [
            family
            for family, ratio in best.items()
            if family != families[winner] and ratio.low <= least.value
        ]
        winners[budget] = winner, least.value, sorted(tied)
    return winners


def size_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[int, Estimate]]]], size: str, stem: Path
) -> list[Path]:
    """Draw gaps against a size, a panel for each title, with a star at each curve's least gap.

    Args:
        panels: for each title, for each curve's name, its points (size, gap) in increasing size.
        size: label of the x axis.
        stem: path of the files without suffix.

    Returns:
        The files.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    style = _styles(names, names[0])
    with new_figure((1.2 + 3.4 * len(panels), 3.6)) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            for name, points in curves.items():
                _draw_size_curve(axis, name, points, style[name])
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            ticks = sorted({x for points in curves.values() for x, _ in points})
            axis.set_xticks(ticks, [str(x) for x in ticks])
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(sparse_log_formatter(axis))
            axis.set_title(title, loc="left", fontweight="bold")
            axis.set_xlabel(size)
            axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[0].set_ylabel("suboptimality gap")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
        return save_figure(figure, stem)


def _draw_size_curve(
    axis: "Axes", name: str, points: Sequence[tuple[int, Estimate]], style: Mapping[str, Any]
) -> None:
    """Draw gaps against sizes with their interval band, and a star at the least gap."""
    sizes, gaps = [x for x, _ in points], [gap for _, gap in points]
    axis.plot(sizes, [gap.value for gap in gaps], marker="o", ms=3, label=name, **style)
    axis.fill_between(
        sizes,
        [gap.low for gap in gaps],
        [gap.high for gap in gaps],
        color=style["color"],
        alpha=0.12,
        linewidth=0,
    )
    size, least = min(points, key=lambda point: point[1].value)
    axis.plot(size, least.value, "*", color=style["color"], ms=11)


def _panels(
    report: Report,
    sections: Sequence[Section],
    draw: "Callable[[Axes, Section, Styles], dict[str, Any]]",
    stem: Path,
) -> list[Path]:
    """Draw a panel for each section with one legend.

    Args:
        report: the report.
        sections: the environments to draw.
        draw: draws a section and returns the line of each design.
        stem: path of the files without suffix.

    Returns:
        The files; none if there are no sections.
    """
    if not sections:
        return []
    n_columns = min(2, len(sections))
    n_rows = math.ceil(len(sections) / n_columns)
    designs = sorted({row.design for section in sections for row in section.rows})
    style = _styles(designs, report.reference)
    with new_figure((5.2 * n_columns, 3.4 * n_rows + 0.8)) as figure:
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        lines: dict[str, Any] = {}
        for axis, section in zip(axes, sections, strict=False):
            lines |= draw(axis, section, style)
        for axis in axes[len(sections) :]:
            axis.set_axis_off()
        names = [name for name in style if name in lines]
        figure.legend(
            [lines[name] for name in names],
            # matplotlib omits labels that begin with an underscore from legends
            ["\u200b" + name if name.startswith("_") else name for name in names],
            loc="outside lower center",
            ncols=2 * n_columns,
            frameon=False,
        )
        return save_figure(figure, stem)


def _draw_learning_curves(axis: "Axes", section: Section, style: Styles) -> dict[str, Any]:
    """Draw the learning curves of one environment, and return the line of each design."""
    last = max(row.budget for row in section.rows)
    lines = {
        row.design: _draw_learning_curve(axis, row, last, style[row.design]) for row in section.rows
    }
    if section.floor > 0:
        axis.axhline(section.floor, color="#999999", linewidth=0.8, zorder=0)
        axis.annotate(
            "floor: the least gap that can be reached",
            (1, section.floor),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color="#777777",
            fontsize=7,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    budgets = _budgets(section.rows, last)
    axis.set_xticks(budgets, [str(budget) for budget in budgets])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(sparse_log_formatter(axis))
    _set_title_and_grid(axis, section)
    axis.set_xlabel(section.unit)
    axis.set_ylabel("suboptimality gap")
    return lines


def _draw_learning_curve(axis: "Axes", row: Row, last: int, style: Mapping[str, Any]) -> Any:
    """Draw one design's mean gap with its interval band up to a budget, and return its line."""
    points = [p for p in row.curve if p.budget <= last and p.spent > 0 and p.gap.value > 0]
    spent = [point.spent for point in points]
    axis.fill_between(
        spent,
        [point.gap.low for point in points],
        [point.gap.high for point in points],
        where=[0 < point.gap.low <= point.gap.high < math.inf for point in points],
        color=style["color"],
        alpha=0.12,
        linewidth=0,
    )
    gaps = [point.gap.value for point in points]
    (line,) = axis.plot(spent, gaps, marker="o", markersize=2.5, **style)
    return line


def _draw_frontier(axis: "Axes", section: Section, style: Styles) -> dict[str, Any]:
    """Draw reward against divergence in one environment, and return the line of each design."""
    lines = {}
    for row in section.rows:
        points = [(p.kl, p.reward) for p in row.curve if p.kl and p.reward]
        (lines[row.design],) = axis.plot(
            [kl.value for kl, _ in points],
            [reward.value for _, reward in points],
            marker="o",
            markersize=2.5,
            **style[row.design],
        )
    _set_title_and_grid(axis, section)
    axis.set_xlabel("KL from the reference, nats")
    axis.set_ylabel("reward")
    return lines


def _set_title_and_grid(axis: "Axes", section: Section) -> None:
    name = section.environment.removeprefix("pairbench/")
    title = textwrap.fill(name, _TITLE_WIDTH, break_on_hyphens=False)
    axis.set_title(title, loc="left", fontweight="bold")
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axis.set_axisbelow(True)


def _family_colours(families: Mapping[str, str]) -> dict[str, str]:
    """Assign a colour to each family, in the order of ``families``."""
    distinct = list(dict.fromkeys(families.values()))
    palette = [*COLOURS, "#999999", "#444444", "#882255"]
    return {family: palette[i % len(palette)] for i, family in enumerate(distinct)}


def _family_legend(
    figure: "Figure",
    colours: Mapping[str, str],
    families: Iterable[str],
    alpha: float | None = None,
    **options: Any,
) -> None:
    """Add a legend of the families' colours.

    Args:
        figure: the figure.
        colours: the colour of each family.
        families: the families to list.
        alpha: opacity of the colours.
        **options: further arguments of ``Figure.legend``.
    """
    from matplotlib.patches import Patch

    names = list(families)
    patches = [Patch(color=colours[family], alpha=alpha) for family in names]
    figure.legend(patches, names, frameon=False, **options)


def _budgets(rows: Sequence[Row], last: int) -> list[int]:
    """Return the budgets of all learning curves up to ``last``, in order."""
    return sorted({point.budget for row in rows for point in row.curve if point.budget <= last})


def _styles(designs: Sequence[str], reference: str) -> Styles:
    """Assign a line style to the reference, and to each design by its position."""
    styles: Styles = {reference: dict(REFERENCE_STYLE)}
    for i, name in enumerate(design for design in designs if design != reference):
        styles[name] = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": LINE_STYLES[i // len(COLOURS) % len(LINE_STYLES)],
            "linewidth": 1.4,
        }
    return styles
