"""What charts are drawn from, and pictures for readers without JavaScript.

The pages' scripts draw with Vega-Lite from JSON that stands in the page; the SVG made here is there
before they do, and stays where they do not run.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pairbench.boards import Board
from pairbench.pool import Pool
from pairbench.site.words import (
    abridged,
    number,
    place_text,
    savings_range,
    savings_value,
    told_apart,
    triple,
)
from pairbench.standings import Standing, Standings, run_ratios
from pairbench.submission.entry import BoardEntry

Array = NDArray[np.float64]

_TAUS = 2.0 ** np.linspace(-5, 5, 41)
_PROFILE_AT = (0.25, 0.5, 1.0, 2.0)
_LEAST, _MOST = 1 / 16, 16.0  # the savings axis; what lies beyond is cut, and said in the text
_PANELS, _SIDE, _GAP = 6, 200, 14  # of the picture of a pool, CSS pixels


def chart_data(
    board: Board,
    standings: Sequence[Standing],
    reference: BoardEntry,
    places: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What the charts of some designs on a board are drawn from, as JSON.

    Args:
        board: the board.
        standings: the designs, in the order in which they are shown.
        reference: what savings are measured against.
        places: which of the board's environments; all if None.

    Returns:
        ``designs``; ``unit``, what they save; ``savings``, one triple (value, low, high) for each
        design; ``panels``, one for each environment with its ``gaps``, a triple for each design and
        budget; and ``profile``.
    """
    chosen = range(len(board.environments)) if places is None else places
    names = told_apart([environment.spec for environment in board.environments])
    panels = []
    for k in chosen:
        first = standings[0].environments[k]
        panels.append(
            {
                "environment": names[k],
                "unit": first.unit,
                "budgets": first.budgets,
                "floor": number(first.floor),
                "gaps": [[triple(gap) for gap in s.environments[k].gaps] for s in standings],
            }
        )
    return {
        "reference": reference.design.slug,
        "designs": [
            {
                "slug": s.entry.design.slug,
                "name": s.entry.design.label,
                "rank": place_text(s),
                "control": s.rank is None,
            }
            for s in standings
        ],
        "unit": reference.unit,
        "savings": [
            {
                "at": triple(s.savings),
                "text": f"{savings_value(s.savings)} {savings_range(s.savings)}".strip(),
            }
            for s in standings
        ],
        "panels": panels,
        "profile": {
            "taus": [number(tau) for tau in _TAUS],
            "shares": [
                [number(share) for share in profile(board, s.entry, reference, _TAUS)]
                for s in standings
            ],
        },
    }


def profile(board: Board, entry: BoardEntry, reference: BoardEntry, taus: Array) -> Array:
    """Share of worlds in which the gap is at most τ times the reference's, ``(n_taus,)``.

    A world is an environment with a seed; all environments count alike, whatever their number of
    seeds.

    Args:
        board: the board.
        entry: of the design.
        reference: of the reference.
        taus: τ, ``(n_taus,)``.
    """
    ratios = run_ratios(board, reference, entry)
    mean: Array = np.mean([(own <= taus[:, None]).mean(axis=1) for own in ratios], axis=0)
    return mean


def profile_rows(
    table: Standings, reference: BoardEntry
) -> tuple[tuple[float, ...], list[tuple[Standing, list[float]]]]:
    """The profiles at a few τ, for a table: the τ, and each design with its shares."""
    taus = np.array(_PROFILE_AT)
    rows = [(s, profile(table.board, s.entry, reference, taus).tolist()) for s in table.closed]
    return _PROFILE_AT, rows


def savings_svg(standings: Sequence[Standing]) -> Markup:
    """Savings with their intervals, a bar for each design, as an SVG element."""
    left, right, row, top = 220, 500, 20, 8
    bottom = top + row * len(standings)

    def x(value: float) -> float:
        value = min(max(value, _LEAST), _MOST)
        return left + right * math.log(value / _LEAST) / math.log(_MOST / _LEAST)

    parts = []
    for tick, text in (
        (1 / 8, "⅛×"),
        (1 / 4, "¼×"),
        (1 / 2, "½×"),
        (1, "1×"),
        (2, "2×"),
        (4, "4×"),
        (8, "8×"),
    ):
        kind = "base" if tick == 1 else "grid"
        parts.append(
            Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                kind, x(tick), x(tick), top, bottom
            )
            + Markup('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(
                x(tick), bottom + 15, text
            )
        )
    for line, standing in enumerate(standings):
        middle, saved = top + row * line + row / 2, standing.savings
        start, end = sorted((x(1.0), x(saved.value)))
        name = abridged(standing.entry.design.label, 32)
        parts.append(
            Markup('<g class="{}"><text class="name" x="{}" y="{:.1f}">{}</text>').format(
                "control" if standing.rank is None else "ranked", left - 8, middle + 4, name
            )
            + Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="10"/>').format(
                start, middle - 5, max(end - start, 1)
            )
            + Markup(
                '<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/></g>'
            ).format(x(saved.low), x(saved.high), middle, middle)
        )
    return Markup(
        '<svg class="savings" viewBox="0 0 740 {}" role="img" aria-label="Savings of {} '
        'designs with 95 % intervals; the table above has the figures">{}</svg>'
    ).format(bottom + 22, len(standings), Markup("").join(parts))


def pool_svg(pool: Pool) -> Markup:
    """Completions of a few prompts on the pool's two leading principal components, as SVG.

    A circle is a completion, its area in proportion to π_ref.

    Args:
        pool: any pool.
    """
    shown = range(min(_PANELS, pool.n_prompts))
    flat = pool.phi[pool.valid]
    centre = flat.mean(axis=0)
    values, vectors = np.linalg.eigh((flat - centre).T @ (flat - centre))
    axes = vectors[:, :-3:-1]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    spread = [(pool.phi[prompt] - centre) @ axes for prompt in shown]
    if pool.dim == 1:
        spread = [np.column_stack([points, np.zeros(len(points))]) for points in spread]
    reach = max(
        np.abs(points[pool.valid[p]]).max() for p, points in zip(shown, spread, strict=True)
    )
    scale = (_SIDE / 2 - 16) / (reach or 1.0)
    panels = []
    for place, (prompt, points) in enumerate(zip(shown, spread, strict=True)):
        left, top = place % 3 * (_SIDE + _GAP), place // 3 * (_SIDE + _GAP)
        dots = [
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
                left + _SIDE / 2 + scale * points[k, 0],
                top + _SIDE / 2 - scale * points[k, 1],
                1.5 + 22 * math.sqrt(math.exp(pool.log_ref[prompt, k])),
            )
            for k in np.flatnonzero(pool.valid[prompt])
        ]
        panels.append(
            Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="4"/>{}').format(
                left, top, _SIDE, _SIDE, Markup("").join(dots)
            )
            + Markup('<text x="{}" y="{}">prompt {}</text>').format(left + 8, top + 16, prompt + 1)
        )
    width = min(3, len(shown)) * (_SIDE + _GAP) - _GAP
    height = math.ceil(len(shown) / 3) * (_SIDE + _GAP) - _GAP
    share = values[-2:].sum() / values.sum() if values.sum() > 0 else 1.0
    return Markup(
        '<svg class="pool" viewBox="0 0 {} {}" role="img" aria-label="Completions of {} prompts on '
        "the two leading principal components of the features, which hold {:.0f} % of their "
        'variance">{}</svg>'
    ).format(width, height, len(shown), 100 * share, Markup("").join(panels))
