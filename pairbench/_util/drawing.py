"""Matplotlib set-up that all figures share: colours, line styles, saving."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairbench._util.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's palette, which people with colour-blindness can tell apart, in two line styles.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F2F")


LINE_STYLES = ("-", "--", ":")


_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # names are shown as they are
    "svg.hashsalt": "pairbench",
    "svg.fonttype": "none",
}


REFERENCE_STYLE: dict[str, Any] = {"color": "#222222", "linestyle": (0, (4, 2)), "linewidth": 1.6}


def save_figure(figure: "Figure", stem: Path) -> list[Path]:
    from io import BytesIO

    files = []
    # Without these the files would carry the date, and differ from one day to the next.
    for ending, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        buffer = BytesIO()
        figure.savefig(buffer, format=ending[1:], dpi=150, metadata=metadata)
        path = stem.with_name(stem.name + ending)
        write_atomic(path, buffer.getvalue())
        files.append(path)
    return files


@contextmanager
def new_figure(size: tuple[float, float]) -> Iterator["Figure"]:
    """Open a figure of the given inches, in the common settings, that needs no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]  # its keys are an open list
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def sparse_log_formatter(axis: "Axes") -> Any:
    """Label minor ticks at 2 and 5 only where the axis spans less than a decade and a half."""
    from matplotlib.ticker import FuncFormatter

    def text(value: float, _position: int | None = None) -> str:
        low, high = axis.get_ylim()
        digit = round(value / 10 ** math.floor(math.log10(value)))
        wanted = (2, 3, 4, 6, 8) if high / low < 10 else (2, 5)
        return f"{value:g}" if high / low < 50 and digit in wanted else ""

    return FuncFormatter(text)
