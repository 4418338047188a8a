"""Numbers, names and docstrings formatted for the pages."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from pairbench.boards.standings import Standing
from pairbench.boards.tables import rank_bounds_text
from pairbench.stats.bootstrap import Estimate
from pairbench.stats.text import savings_text

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_ITEM = re.compile(r"^- ", re.MULTILINE)
# Characters that could end a script element or a line, mapped to their JSON escapes.
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def script_json(value: Any) -> Markup:
    """Serialise a value as JSON that is safe within a script element.

    Args:
        value: a JSON value without infinite numbers or NaN, see :func:`chart_number`.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))


def chart_number(value: float) -> float | None:
    """Round to four significant digits, or return None for a number that is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def chart_triple(estimate: Estimate) -> list[float | None]:
    """Return the value and both ends of an estimate, rounded for a chart."""
    return [chart_number(x) for x in (estimate.value, estimate.low, estimate.high)]


def rank_text(standing: Standing) -> str:
    """Format the range of places of a design, or a dash if it is not ranked."""
    return rank_bounds_text(standing.rank_bounds)


def gap_text(value: float) -> str:
    """Format a gap with three significant digits."""
    return f"{value:#.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:.3g}"


def interval_text(estimate: Estimate) -> str:
    """Format an interval, such as ``"0.82 to 0.94"``, or a dash if an end is not finite."""
    if not math.isfinite(estimate.high) or not math.isfinite(estimate.low):
        return "–"
    return f"{gap_text(estimate.low)} to {gap_text(estimate.high)}"


def seconds_text(seconds: float) -> str:
    """Format a duration in milliseconds, seconds or minutes, such as ``"43 ms"``."""
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 1e-3 else "< 1 ms"


def bytes_text(count: int | None) -> str:
    """Format a number of bytes, such as ``"12 MiB"``, or a dash for None."""
    if count is None:
        return "–"
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def savings_value(savings: Estimate) -> str:
    """Format savings without their interval, see :func:`pairbench.stats.text.savings_text`."""
    return savings_text(savings).partition(" (")[0]


def savings_range(savings: Estimate) -> str:
    """Format the interval of savings, see :func:`pairbench.stats.text.savings_text`."""
    return savings_text(savings).partition(" (")[2].removesuffix(")")


def abbreviate(name: str, length: int) -> str:
    """Cut the middle of a longer name; its end holds the parameters that distinguish designs."""
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


def shorten(environment: str, environments: Sequence[str] = ()) -> str:
    """Remove the namespace ``pairbench/`` of an environment, and a name that all of a board share.

    Args:
        environment: its spec or label.
        environments: those of the board; if all have the same name, only the parameters are left.
    """
    name, _, params = environment.removeprefix("pairbench/").partition("(")
    names = {shorten(other).partition("(")[0] for other in environments}
    only_params = bool(params) and names == {name}
    return params.removesuffix(")") if only_params else environment.removeprefix("pairbench/")


def shorten_all(environments: Sequence[str]) -> list[str]:
    """Shorten the environments of a board, see :func:`shorten`."""
    return [shorten(environment, environments) for environment in environments]


def verdict(ratio: Estimate) -> str:
    """Classify a design by the interval of its gap over the reference's.

    Returns:
        ``"better"`` where the interval lies below 1, ``"worse"`` above 1, else ``"even"``.
    """
    return "better" if ratio.high < 1 else "worse" if ratio.low > 1 else "even"


def heatmap_level(savings: Estimate) -> int:
    """Return the colour level of savings in the heat map, from −3 (worst) to 3 (best)."""
    steps = sum(savings.value >= edge for edge in (1.25, 2, 4))
    return steps - sum(savings.value <= edge for edge in (0.8, 0.5, 0.25))


def web_link(address: str) -> str | None:
    """Return the address if it is http or https, else None."""
    return address if address.startswith(("https://", "http://")) else None


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean, 0 if one of the values is 0."""
    logs = [math.log(value) if value > 0 else -math.inf for value in values]
    return math.exp(sum(logs) / len(logs))


def prose(text: str) -> Markup:
    """Convert a docstring to HTML: paragraphs, lists, indented equations, code and bold.

    Args:
        text: text of a docstring, see :func:`pairbench.spec.catalogue.parse_docstring`; other
            markup is escaped.
    """
    return Markup("\n").join(_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")))


def _block(block: str) -> Markup:
    """Convert a block of a docstring: an equation, or a paragraph with or without a list."""
    if all(line.startswith("    ") for line in block.splitlines()):
        lines = "\n".join(line.removeprefix("    ") for line in block.splitlines())
        return Markup('<pre class="equation">{}</pre>').format(lines)
    first, *items = _ITEM.split(block)
    paragraph = Markup("<p>{}</p>").format(_inline(first)) if first.strip() else Markup("")
    if not items:
        return paragraph
    elements = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
    return paragraph + Markup("<ul>{}</ul>").format(elements)


def _inline(text: str) -> Markup:
    """Convert code and bold within a line."""
    parts = _CODE.split(" ".join(text.split()))
    converted = [
        Markup("<code>{}</code>").format(part.strip("`"))
        if i % 2
        else Markup(_BOLD.sub(r"<strong>\1</strong>", str(escape(part))))
        for i, part in enumerate(parts)
    ]
    return Markup("").join(converted)
