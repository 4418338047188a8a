"""Figures and docstrings as the pages show them."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from pairbench.report import savings_text
from pairbench.standings import Standing
from pairbench.stats import Estimate
from pairbench.tables import places_text

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_ITEM = re.compile(r"^- ", re.MULTILINE)
# What could end the script element or the line that JSON stands in, as JSON writes it otherwise.
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def island(value: Any) -> Markup:
    """A value as JSON that can stand in a script element, whatever texts it holds.

    Args:
        value: what JSON can hold; numbers that it cannot are null, see :func:`number`.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))


def number(value: float) -> float | None:
    """Four significant digits for a chart; None where it is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def triple(estimate: Estimate) -> list[float | None]:
    """An estimate for a chart: value, lower and upper end."""
    return [number(x) for x in (estimate.value, estimate.low, estimate.high)]


def place_text(standing: Standing) -> str:
    """The places that it may have; a dash for what is not ranked."""
    return places_text(standing.places)


def gap_text(value: float) -> str:
    """Three significant digits."""
    return f"{value:#.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:.3g}"


def interval_text(estimate: Estimate) -> str:
    """The interval's ends: ``"0.82 to 0.94"``; a dash where it tells nothing."""
    if not math.isfinite(estimate.high) or not math.isfinite(estimate.low):
        return "–"
    return f"{gap_text(estimate.low)} to {gap_text(estimate.high)}"


def seconds_text(seconds: float) -> str:
    """Milliseconds, seconds or minutes: ``"43 ms"``."""
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 1e-3 else "< 1 ms"


def bytes_text(count: int | None) -> str:
    """``"12 MiB"``; a dash where it is not known."""
    if count is None:
        return "–"
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def savings_value(savings: Estimate) -> str:
    """The figure of :func:`pairbench.report.savings_text` without its interval."""
    return savings_text(savings).partition(" (")[0]


def savings_range(savings: Estimate) -> str:
    """The interval of :func:`pairbench.report.savings_text`."""
    return savings_text(savings).partition(" (")[2].removesuffix(")")


def abridged(name: str, length: int) -> str:
    """A name without its middle where it is longer: parameters, at the end, tell designs apart."""
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


def short(environment: str, among: Sequence[str] = ()) -> str:
    """An environment without the namespace that most share.

    Args:
        environment: its spec or label.
        among: the board's; where all are of one name, only its parameters are told.
    """
    name, _, params = environment.removeprefix("pairbench/").partition("(")
    same = bool(params) and {short(other).partition("(")[0] for other in among} == {name}
    return params.removesuffix(")") if same else environment.removeprefix("pairbench/")


def told_apart(environments: Sequence[str]) -> list[str]:
    """The environments of a board, each as short as the others allow."""
    return [short(one, environments) for one in environments]


def verdict(ratio: Estimate) -> str:
    """What the interval of a ratio of gaps says: ``"better"``, ``"worse"`` or ``"even"``."""
    return "better" if ratio.high < 1 else "worse" if ratio.low > 1 else "even"


def warmth(savings: Estimate) -> int:
    """Which of seven colours a figure has in the heat map: −3, far worse, to 3, far better."""
    steps = sum(savings.value >= edge for edge in (1.25, 2, 4))
    return steps - sum(savings.value <= edge for edge in (0.8, 0.5, 0.25))


def web_link(address: str) -> str | None:
    """The address if it is of the web, None where following it would do something else."""
    return address if address.startswith(("https://", "http://")) else None


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; 0 where one of the values is."""
    logs = [math.log(value) if value > 0 else -math.inf for value in values]
    return math.exp(sum(logs) / len(logs))


def prose(text: str) -> Markup:
    """A docstring as HTML: paragraphs, lists, indented equations, code and bold.

    Args:
        text: as :func:`pairbench.catalogue.notes` gives it; anything else in it is shown as it is.
    """
    return Markup("\n").join(_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")))


def _block(block: str) -> Markup:
    if all(line.startswith("    ") for line in block.splitlines()):
        lines = "\n".join(line.removeprefix("    ") for line in block.splitlines())
        return Markup('<pre class="equation">{}</pre>').format(lines)
    first, *items = _ITEM.split(block)
    before = Markup("<p>{}</p>").format(_inline(first)) if first.strip() else Markup("")
    if not items:
        return before
    listed = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
    return before + Markup("<ul>{}</ul>").format(listed)


def _inline(text: str) -> Markup:
    parts = _CODE.split(" ".join(text.split()))
    shown = [
        Markup("<code>{}</code>").format(part.strip("`"))
        if i % 2
        else Markup(_BOLD.sub(r"<strong>\1</strong>", str(escape(part))))
        for i, part in enumerate(parts)
    ]
    return Markup("").join(shown)
