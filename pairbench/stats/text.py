"""Formatting of rounded figures, ratios, and label savings with their intervals."""

import numpy as np

from pairbench.stats.bootstrap import Estimate


def savings_text(savings: Estimate | None) -> str:
    """Format label savings with their interval: ``2.0× (1.6 to 2.4)``, ``> 8×`` if censored."""
    if savings is None:
        return "–"
    sign = {"above": "> ", "below": "< ", None: ""}[savings.censored]
    text = f"{sign}{_factor_text(savings.value)}×"
    return text if savings.low == savings.high else f"{text} ({_interval_text(savings)})"


def ratio_text(ratio: Estimate | None) -> str:
    """Format a ratio with its interval: bold if below 1, with a triangle if above."""
    if ratio is None:
        return "–"
    text = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"**{text}**" if ratio.high < 1 else f"{text} ▲" if ratio.low > 1 else text


def _factor_text(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _interval_text(savings: Estimate) -> str:
    if savings.low <= 0 and np.isinf(savings.high):
        return "anything"
    if savings.censored == "above":
        return f"at least {_factor_text(savings.low)}"
    if savings.censored == "below":
        return f"at most {_factor_text(savings.high)}"
    if np.isinf(savings.high):
        return f"{_factor_text(savings.low)} or more"
    return f"{_factor_text(savings.low)} to {_factor_text(savings.high)}"


def round_figure(count: float) -> str:
    """Format a predicted count to two significant figures, three from a thousand on."""
    if count < 9.5:
        return f"{count:.1g}"
    digits = 3 if count >= 1000 else 2
    return f"{float(f'{count:.{digits}g}'):,.0f}"
