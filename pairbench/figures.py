"""Figures on paper: SVG and PNG by matplotlib, the same bytes for the same numbers."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairbench.files import write_whole
from pairbench.report import Report, Row, Section
from pairbench.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pairbench.annotation.selection import Selection

# Okabe and Ito's palette, which people with colour-blindness can tell apart, in two line styles.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F2F")
_STYLES = ("-", "--", ":")
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # names are shown as they are
    "svg.hashsalt": "pairbench",
    "svg.fonttype": "none",
}
_REFERENCE: dict[str, Any] = {"color": "#222222", "linestyle": (0, (4, 2)), "linewidth": 1.6}
Styles = dict[str, dict[str, Any]]
"""How each design's line looks."""

_TITLE_WIDTH = 48  # characters of a panel's title that fit on a line


def learning_curves(report: Report, folder: Path) -> list[Path]:
    """Draw the mean gap against labels, a panel for each environment.

    Args:
        report: what to draw.
        folder: where ``learning-curves.svg`` and ``.png`` go.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    return _panels(report, report.sections, _panel, folder / "learning-curves")


def frontier(report: Report, folder: Path) -> list[Path]:
    """Draw reward against divergence from π_ref, for policies that are scored by draws.

    A design's line goes from few labels to many; of two policies at one divergence, the one of more
    reward is better.

    Args:
        report: what to draw.
        folder: where ``frontier.svg`` and ``.png`` go.

    Returns:
        The files; none where all scores are exact.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    sections = [s for s in report.sections if any(p.kl for row in s.rows for p in row.curve)]
    return _panels(report, sections, _frontier_panel, folder / "frontier")


def savings_chart(report: Report, families: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw each design's label savings with their interval, a column for each environment.

    Args:
        report: what to draw.
        families: the family of each design.
        folder: where ``label-savings.svg`` and ``.png`` go.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.patches import Patch

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
    designs = {row.design for section in sections for row in section.rows} - {report.reference}

    def place(design: str) -> tuple[int, float]:
        found = [s.value for (_, name), s in savings.items() if name == design and s.value > 0]
        mean = sum(math.log(value) for value in found) / len(found) if found else -math.inf
        return list(colours).index(families[design]), -mean

    order = sorted(designs, key=place)
    least, most = 1 / 16, 8.0
    size = (2.6 + 1.45 * len(sections), 1.2 + 0.165 * len(order))
    with _drawing(size) as figure:
        axes = figure.subplots(1, len(sections), sharey=True, squeeze=False).ravel()
        for axis, section in zip(axes, sections, strict=True):
            axis.axvline(1, color=_REFERENCE["color"], linewidth=0.8)
            for line, design in enumerate(order):
                found = savings.get((section.environment, design))
                if found is None:
                    continue
                low, value, high = (
                    min(max(x, least), most) for x in (found.low, found.value, found.high)
                )
                colour = colours[families[design]]
                axis.plot([low, high], [line, line], color=colour, linewidth=1.1)
                axis.plot(value, line, "o" if least < value < most else "<", color=colour, ms=3)
            axis.set_xscale("log", base=2)
            axis.set_xlim(least / 1.15, most * 1.15)
            axis.set_xticks([1 / 8, 1 / 2, 2, 8], ["⅛", "½", "2", "8"])
            axis.set_xticks([], minor=True)
            name = section.environment.removeprefix("pairbench/").replace("(", "\n(")
            axis.set_title(name, fontsize=7, fontweight="bold")
            axis.grid(axis="both", color="#EEEEEE", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[0].set_yticks(range(len(order)), order, fontsize=6.5)
        axes[0].set_ylim(len(order) - 0.4, -0.6)
        for label in axes[0].get_yticklabels():
            label.set_color(colours[families[label.get_text()]])
        figure.supxlabel(
            f"labels saved against {report.reference}, ×, with 95 % interval", fontsize=9
        )
        shown = list(dict.fromkeys(families[design] for design in order))
        figure.legend(
            [Patch(color=colours[family]) for family in shown],
            shown,
            loc="outside upper center",
            ncols=5,
            frameon=False,
            fontsize=8,
        )
        return _saved(figure, folder / "label-savings")


def family_map(report: Report, families: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw which family's best design has the least gap, by environment and labels.

    Args:
        report: what to draw; controls take no part.
        families: the family of each design.
        folder: where ``families.svg`` and ``.png`` go.

    Returns:
        The files; none if there is nothing to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.patches import Patch, Rectangle

    if not report.sections:
        return []
    colours = _family_colours(families)
    winners = [family_winners(section, families) for section in report.sections]
    marks = sorted({mark for won in winners for mark in won})
    names = [section.environment.removeprefix("pairbench/") for section in report.sections]
    size = (1 + 0.08 * max(map(len, names)) + 1.6 * len(marks), 1.6 + 0.5 * len(winners))
    with _drawing(size) as figure:
        axis = figure.subplots()
        for line, won in enumerate(winners):
            for mark, (design, ratio, tied) in won.items():
                x, family = marks.index(mark), families[design]
                box = Rectangle(
                    (x + 0.02, line + 0.04), 0.96, 0.92, color=colours[family], alpha=0.3
                )
                axis.add_patch(box)
                text = f"{design} {ratio:.2f}"
                axis.text(x + 0.5, line + 0.36, text, ha="center", va="center", fontsize=7)
                for k, other in enumerate(tied):
                    axis.plot(x + 0.5 + 0.08 * (k - (len(tied) - 1) / 2), line + 0.74, "s",
                              color=colours[other], markersize=4)  # fmt: skip
        axis.set_xlim(0, len(marks))
        axis.set_ylim(len(winners), 0)
        axis.set_xticks([x + 0.5 for x in range(len(marks))], [f"{m:,} labels" for m in marks])
        axis.set_yticks([y + 0.5 for y in range(len(names))], names)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
        shown = [
            f
            for f in colours
            if any(families[d] == f or f in t for won in winners for d, _, t in won.values())
        ]
        figure.legend(
            [Patch(color=colours[family], alpha=0.6) for family in shown],
            shown,
            loc="outside lower center",
            ncols=4,
            frameon=False,
            title=f"best design, its gap over {report.reference}'s; squares: families tied with it",
            title_fontsize=7,
            fontsize=7,
        )
        return _saved(figure, folder / "families")


def family_winners(
    section: Section, families: Mapping[str, str]
) -> dict[int, tuple[str, float, list[str]]]:
    """The design of least gap at each budget, its gap over the reference's, and what ties with it.

    A family ties where the interval of its best design's ratio holds the winner's ratio.

    Args:
        section: an environment; controls take no part.
        families: the family of each design.
    """
    won = {}
    for mark in (p.budget for p in section.rows[0].curve if p.budget <= section.rows[0].budget):
        points = [
            (point.ratio, row.design)
            for row in section.rows
            if row.rank is not None
            for point in row.curve
            if point.budget == mark and point.ratio is not None
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
        won[mark] = winner, least.value, sorted(tied)
    return won


def size_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[int, Estimate]]]], size: str, stem: Path
) -> list[Path]:
    """Draw the gap against the size of something, a panel for each price, with the least marked.

    Args:
        panels: title to name to (size, gap), sizes growing.
        size: what the size is of, for the axis.
        stem: the files without their endings.

    Returns:
        The files.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    style = _styles(names, names[0])
    with _drawing((1.2 + 3.4 * len(panels), 3.6)) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            for name, points in curves.items():
                sizes, gaps = [x for x, _ in points], [gap for _, gap in points]
                axis.plot(
                    sizes, [g.value for g in gaps], marker="o", ms=3, label=name, **style[name]
                )
                axis.fill_between(
                    sizes,
                    [g.low for g in gaps],
                    [g.high for g in gaps],
                    color=style[name]["color"],
                    alpha=0.12,
                    linewidth=0,
                )
                least = min(points, key=lambda point: point[1].value)
                axis.plot(least[0], least[1].value, "*", color=style[name]["color"], ms=11)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            ticks = sorted({x for points in curves.values() for x, _ in points})
            axis.set_xticks(ticks, [str(x) for x in ticks])
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(_sparse(axis))
            axis.set_title(title, loc="left", fontweight="bold")
            axis.set_xlabel(size)
            axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[0].set_ylabel("suboptimality gap")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
        return _saved(figure, stem)


def gap_curve(selection: "Selection", past: int, stem: Path) -> list[Path]:
    """Draw the predicted gap against the labels of a round, chosen and random.

    Args:
        selection: the chosen pairs and what the model says of them.
        past: labels that were there before.
        stem: the files' path without its ending.

    Returns:
        The files, ``.svg`` and ``.png``.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import numpy as np

    n, worth = len(selection.pairs), selection.worth
    # Far enough to see random labels arrive, unless that is off any page.
    end = min(max(n * 1.05, worth * 1.1), n * 5.0)
    labels = np.linspace(0, end, 400)
    with _drawing((6.4, 4.0)) as figure:
        axis = figure.subplots()
        axis.plot(
            labels, [selection.random.gap(m) for m in labels], label="random pairs", **_REFERENCE
        )
        axis.plot(
            range(n + 1),
            selection.gaps,
            color=_COLOURS[0],
            linewidth=1.8,
            label="chosen pairs, in their order",
        )
        axis.plot(n, selection.gap, "o", color=_COLOURS[0], markersize=5)
        axis.plot(
            n,
            selection.gap * selection.efficiency,
            "_",
            color=_COLOURS[2],
            markersize=12,
            markeredgewidth=2,
            label=f"proven limit of any {n:,} pairs",
        )
        if n < worth <= end:
            axis.annotate(
                "",
                (worth, selection.gap),
                (n, selection.gap),
                arrowprops={"arrowstyle": "->", "color": _COLOURS[1], "shrinkA": 5, "shrinkB": 0},
            )
        if n < worth < math.inf:
            title = f"{n:,} chosen pairs do what {round_figure(worth)} random ones would"
            axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlim(0, end * 1.02)
        if selection.gap > 0:
            axis.set_yscale("log")
            axis.set_ylim(selection.gap * min(selection.efficiency, 0.75) / 1.1, None)
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(_sparse(axis))
        axis.set_xlabel(f"labels after the {past:,} there are" if past else "labels")
        axis.set_ylabel("predicted gap, reward units")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.legend(frameon=False, loc="upper right")
        return _saved(figure, stem)


def round_figure(count: float) -> str:
    """A count to two figures, three from a thousand on: as exact as a prediction deserves."""
    if count < 9.5:
        return f"{count:.1g}"
    digits = 3 if count >= 1000 else 2
    return f"{float(f'{count:.{digits}g}'):,.0f}"


def _saved(figure: "Figure", stem: Path) -> list[Path]:
    from io import BytesIO

    files = []
    # Without these the files would carry the date, and differ from one day to the next.
    for ending, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        buffer = BytesIO()
        figure.savefig(buffer, format=ending[1:], dpi=150, metadata=metadata)
        path = stem.with_name(stem.name + ending)
        write_whole(path, buffer.getvalue())
        files.append(path)
    return files


@contextmanager
def _drawing(size: tuple[float, float]) -> Iterator["Figure"]:
    """A figure of so many inches, in our settings, that needs no screen."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]  # its keys are an open list
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _panels(
    report: Report,
    sections: Sequence[Section],
    draw: "Callable[[Axes, Section, Styles], dict[str, Any]]",
    stem: Path,
) -> list[Path]:
    """A panel for each environment, and one legend; the files, none where there is no panel."""
    if not sections:
        return []
    columns = min(2, len(sections))
    lines = math.ceil(len(sections) / columns)
    designs = sorted({row.design for section in sections for row in section.rows})
    style = _styles(designs, report.reference)
    with _drawing((5.2 * columns, 3.4 * lines + 0.8)) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        lines_of: dict[str, Any] = {}
        for axis, section in zip(axes, sections, strict=False):
            lines_of |= draw(axis, section, style)
        for axis in axes[len(sections) :]:
            axis.set_axis_off()
        shown = [name for name in style if name in lines_of]
        figure.legend(
            [lines_of[name] for name in shown],
            # matplotlib leaves out names that begin with an underscore
            ["\u200b" + name if name.startswith("_") else name for name in shown],
            loc="outside lower center",
            ncols=2 * columns,
            frameon=False,
        )
        return _saved(figure, stem)


def _panel(axis: "Axes", section: Section, style: Styles) -> dict[str, Any]:
    """Draw one environment; the line of each design, for the legend."""
    lines_of = {}
    last = max(row.budget for row in section.rows)
    for row in section.rows:
        points = [p for p in row.curve if p.budget <= last and p.spent > 0 and p.gap.value > 0]
        labels = [point.spent for point in points]
        axis.fill_between(
            labels,
            [point.gap.low for point in points],
            [point.gap.high for point in points],
            where=[0 < point.gap.low <= point.gap.high < math.inf for point in points],
            color=style[row.design]["color"],
            alpha=0.12,
            linewidth=0,
        )
        (lines_of[row.design],) = axis.plot(
            labels,
            [point.gap.value for point in points],
            marker="o",
            markersize=2.5,
            **style[row.design],
        )
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
    marks = _marks(section.rows, last)
    axis.set_xticks(marks, [str(mark) for mark in marks])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(_sparse(axis))
    _titled(axis, section)
    axis.set_xlabel(section.unit)
    axis.set_ylabel("suboptimality gap")
    return lines_of


def _frontier_panel(axis: "Axes", section: Section, style: Styles) -> dict[str, Any]:
    """Draw one environment; the line of each design, for the legend."""
    lines_of = {}
    for row in section.rows:
        points = [(p.kl, p.reward) for p in row.curve if p.kl and p.reward]
        (lines_of[row.design],) = axis.plot(
            [kl.value for kl, _ in points],
            [reward.value for _, reward in points],
            marker="o",
            markersize=2.5,
            **style[row.design],
        )
    _titled(axis, section)
    axis.set_xlabel("KL from the reference, nats")
    axis.set_ylabel("reward")
    return lines_of


def _titled(axis: "Axes", section: Section) -> None:
    """Name the environment, and lay a grid."""
    name = section.environment.removeprefix("pairbench/")
    title = textwrap.fill(name, _TITLE_WIDTH, break_on_hyphens=False)
    axis.set_title(title, loc="left", fontweight="bold")
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axis.set_axisbelow(True)


def _family_colours(families: Mapping[str, str]) -> dict[str, str]:
    """A colour for each family, in the order in which families are named."""
    ordered = list(dict.fromkeys(families.values()))
    palette = [*_COLOURS, "#999999", "#444444", "#882255"]
    return {family: palette[i % len(palette)] for i, family in enumerate(ordered)}


def _sparse(axis: "Axes") -> Any:
    """Label minor ticks at 2 and 5 only where the axis spans less than a decade and a half."""
    from matplotlib.ticker import FuncFormatter

    def text(value: float, _position: int | None = None) -> str:
        low, high = axis.get_ylim()
        digit = round(value / 10 ** math.floor(math.log10(value)))
        wanted = (2, 3, 4, 6, 8) if high / low < 10 else (2, 5)
        return f"{value:g}" if high / low < 50 and digit in wanted else ""

    return FuncFormatter(text)


def _marks(rows: Sequence[Row], last: int) -> list[int]:
    return sorted({point.budget for row in rows for point in row.curve if point.budget <= last})


def _styles(designs: Sequence[str], reference: str) -> Styles:
    styles: Styles = {reference: dict(_REFERENCE)}
    for i, name in enumerate(design for design in designs if design != reference):
        styles[name] = {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": _STYLES[i // len(_COLOURS) % len(_STYLES)],
            "linewidth": 1.4,
        }
    return styles
