"""Figure of the predicted suboptimality gap over the labels of an annotation round."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pairbench._util.drawing import (
    COLOURS,
    REFERENCE_STYLE,
    new_figure,
    save_figure,
    sparse_log_formatter,
)
from pairbench.stats.text import round_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pairbench.annotation.selection import Selection


def draw_gap_curve(selection: "Selection", past: int, stem: Path) -> list[Path]:
    """Draw the predicted gap against the labels of a round, chosen and random.

    Args:
        selection: the chosen pairs, with their predicted gaps.
        past: the number of labels before the round.
        stem: the files' path without its suffix.

    Returns:
        The files, ``.svg`` and ``.png``.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import numpy as np

    n, worth = len(selection.pairs), selection.worth
    # Far enough to show where random labels reach the gap, up to five times the chosen labels.
    end = min(max(n * 1.05, worth * 1.1), n * 5.0)
    labels = np.linspace(0, end, 400)
    with new_figure((6.4, 4.0)) as figure:
        axis = figure.subplots()
        axis.plot(
            labels,
            [selection.random.gap(m) for m in labels],
            label="random pairs",
            **REFERENCE_STYLE,
        )
        axis.plot(
            range(n + 1),
            selection.gaps,
            color=COLOURS[0],
            linewidth=1.8,
            label="chosen pairs, in their order",
        )
        axis.plot(n, selection.gap, "o", color=COLOURS[0], markersize=5)
        axis.plot(
            n,
            selection.gap * selection.efficiency,
            "_",
            color=COLOURS[2],
            markersize=12,
            markeredgewidth=2,
            label=f"proven limit of any {n:,} pairs",
        )
        if n < worth <= end:
            axis.annotate(
                "",
                (worth, selection.gap),
                (n, selection.gap),
                arrowprops={"arrowstyle": "->", "color": COLOURS[1], "shrinkA": 5, "shrinkB": 0},
            )
        if n < worth < math.inf:
            title = f"{n:,} chosen pairs do what {round_figure(worth)} random ones would"
            axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlim(0, end * 1.02)
        axis.set_xlabel(f"labels after the {past:,} there are" if past else "labels")
        _style_axis(axis, selection)
        return save_figure(figure, stem)


def _style_axis(axis: "Axes", selection: "Selection") -> None:
    """Set the gap's scale, limits and labels, the grid and the legend."""
    if selection.gap > 0:
        axis.set_yscale("log")
        axis.set_ylim(selection.gap * min(selection.efficiency, 0.75) / 1.1, None)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(sparse_log_formatter(axis))
    axis.set_ylabel("predicted gap, reward units")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="upper right")
