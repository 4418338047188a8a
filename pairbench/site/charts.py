"""Data of the pages' charts, and SVG pictures for readers without JavaScript.

Scripts draw the charts with Vega-Lite from JSON in the page. The SVG is shown until they have, and
where they do not run.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pairbench.boards.board import Board
from pairbench.boards.entry import BoardEntry
from pairbench.boards.standings import Standing, Standings, gap_ratios
from pairbench.pool.pool import Pool
from pairbench.site.text import (
    abbreviate,
    chart_number,
    chart_triple,
    rank_text,
    savings_range,
    savings_value,
    shorten_all,
)

Array = NDArray[np.float64]

_CHART_TAUS = 2.0 ** np.linspace(-5, 5, 41)
_TABLE_TAUS = (0.25, 0.5, 1.0, 2.0)
_SAVINGS_RANGE = 1 / 16, 16.0  # ends of the savings axis; values beyond are clipped
_TICKS = (
    (1 / 8, "⅛×"),
    (1 / 4, "¼×"),
    (1 / 2, "½×"),
    (1, "1×"),
    (2, "2×"),
    (4, "4×"),
    (8, "8×"),
)
_LEFT, _WIDTH, _LINE, _TOP = 220, 500, 20, 8  # layout of the savings chart, CSS pixels
_N_PANELS = 6  # prompts in the picture of a pool
_PANEL_SIZE, _PANEL_GAP = 200, 14  # CSS pixels


def chart_data(
    board: Board,
    standings: Sequence[Standing],
    reference: BoardEntry,
    indices: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return the data of the charts of a board's designs, as JSON.

    Args:
        board: the board.
        standings: the designs, best rank first.
        reference: entry that savings are measured against.
        indices: indices of the board's environments; all if None.

    Returns:
        ``designs``, their names; ``unit``, the unit of savings; ``savings``, one triple (value,
        low, high) for each design; ``panels``, one for each environment with its ``gaps``, a
        triple in reward units for each design and budget; and ``profile``, the performance profile.
    """
    names = shorten_all([environment.spec for environment in board.environments])
    panels = []
    for k in range(len(board.environments)) if indices is None else indices:
        first = standings[0].environments[k]
        panels.append(
            {
                "environment": names[k],
                "unit": first.unit,
                "budgets": first.budgets,
                "floor": chart_number(first.floor),
                "gaps": [[chart_triple(gap) for gap in s.environments[k].gaps] for s in standings],
            }
        )
    return {
        "reference": reference.design.slug,
        "designs": [
            {
                "slug": s.entry.design.slug,
                "name": s.entry.design.label,
                "rank": rank_text(s),
                "control": s.rank is None,
            }
            for s in standings
        ],
        "unit": reference.unit,
        "savings": [
            {
                "at": chart_triple(s.savings),
                "text": f"{savings_value(s.savings)} {savings_range(s.savings)}".strip(),
            }
            for s in standings
        ],
        "panels": panels,
        "profile": {
            "taus": [chart_number(tau) for tau in _CHART_TAUS],
            "shares": [
                [chart_number(share) for share in profile(board, s.entry, reference, _CHART_TAUS)]
                for s in standings
            ],
        },
    }


def profile(board: Board, entry: BoardEntry, reference: BoardEntry, taus: Array) -> Array:
    """Compute the share of worlds in which the gap is at most τ times the reference's.

    A world is an environment with a seed. All environments have equal weight, whatever their
    number of seeds.

    Args:
        board: the board.
        entry: entry of the design.
        reference: entry of the reference.
        taus: τ, ``(n_taus,)``.

    Returns:
        The shares, ``(n_taus,)``.
    """
    ratios = gap_ratios(board, reference, entry)
    mean: Array = np.mean([(ratio <= taus[:, None]).mean(axis=1) for ratio in ratios], axis=0)
    return mean


def profile_rows(
    table: Standings, reference: BoardEntry
) -> tuple[tuple[float, ...], list[tuple[Standing, list[float]]]]:
    """Return the values τ of the table of profiles, and each design with its shares."""
    taus = np.array(_TABLE_TAUS)
    rows = [(s, profile(table.board, s.entry, reference, taus).tolist()) for s in table.closed]
    return _TABLE_TAUS, rows


def savings_svg(standings: Sequence[Standing]) -> Markup:
    """Draw savings with their intervals as SVG, a bar for each design."""
    bottom = _TOP + _LINE * len(standings)
    axis = [_savings_tick(tick, label, bottom) for tick, label in _TICKS]
    bars = [_savings_bar(line, standing) for line, standing in enumerate(standings)]
    return Markup(
        '<svg class="savings" viewBox="0 0 740 {}" role="img" aria-label="Savings of {} '
        'designs with 95 % intervals; the table above has the figures">{}</svg>'
    ).format(bottom + 22, len(standings), Markup("").join([*axis, *bars]))


def _savings_x(value: float) -> float:
    """Return the position of savings on the logarithmic axis, clipped to its ends."""
    low, high = _SAVINGS_RANGE
    value = min(max(value, low), high)
    return _LEFT + _WIDTH * math.log(value / low) / math.log(high / low)


def _savings_tick(value: float, label: str, bottom: int) -> Markup:
    """Draw a grid line with its label."""
    kind, x = "base" if value == 1 else "grid", _savings_x(value)
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
        kind, x, x, _TOP, bottom
    ) + Markup('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(x, bottom + 15, label)


def _savings_bar(line: int, standing: Standing) -> Markup:
    """Draw the name, the bar from 1× and the interval of one design."""
    middle, savings = _TOP + _LINE * line + _LINE / 2, standing.savings
    start, end = sorted((_savings_x(1.0), _savings_x(savings.value)))
    return (
        Markup('<g class="{}"><text class="name" x="{}" y="{:.1f}">{}</text>').format(
            "control" if standing.rank is None else "ranked",
            _LEFT - 8,
            middle + 4,
            abbreviate(standing.entry.design.label, 32),
        )
        + Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="10"/>').format(
            start, middle - 5, max(end - start, 1)
        )
        + Markup(
            '<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/></g>'
        ).format(_savings_x(savings.low), _savings_x(savings.high), middle, middle)
    )


def pool_svg(pool: Pool) -> Markup:
    """Draw the first prompts' completions on the pool's two leading principal components, as SVG.

    A circle is a completion, its area in proportion to π_ref.
    """
    prompts = range(min(_N_PANELS, pool.n_prompts))
    points, share = _principal_components(pool, prompts)
    reach = max(
        np.abs(projected[pool.valid[prompt]]).max()
        for prompt, projected in zip(prompts, points, strict=True)
    )
    scale = (_PANEL_SIZE / 2 - 16) / (reach or 1.0)
    panels = [
        _pool_panel(pool, prompt, scale * projected)
        for prompt, projected in zip(prompts, points, strict=True)
    ]
    width = min(3, len(prompts)) * (_PANEL_SIZE + _PANEL_GAP) - _PANEL_GAP
    height = math.ceil(len(prompts) / 3) * (_PANEL_SIZE + _PANEL_GAP) - _PANEL_GAP
    return Markup(
        '<svg class="pool" viewBox="0 0 {} {}" role="img" aria-label="Completions of {} prompts on '
        "the two leading principal components of the features, which hold {:.0f} % of their "
        'variance">{}</svg>'
    ).format(width, height, len(prompts), 100 * share, Markup("").join(panels))


def _principal_components(pool: Pool, prompts: Sequence[int]) -> tuple[list[Array], float]:
    """Project completions on the pool's two leading principal components.

    Args:
        pool: the pool.
        prompts: the prompts whose completions are projected.

    Returns:
        The coordinates of each prompt's completions, ``(k, 2)``, and the components' share of the
        variance.
    """
    flat = pool.phi[pool.valid]
    centre = flat.mean(axis=0)
    values, vectors = np.linalg.eigh((flat - centre).T @ (flat - centre))
    axes = vectors[:, :-3:-1]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    points = [(pool.phi[prompt] - centre) @ axes for prompt in prompts]
    if pool.dim == 1:
        points = [np.column_stack([x, np.zeros(len(x))]) for x in points]
    share = values[-2:].sum() / values.sum() if values.sum() > 0 else 1.0
    return points, float(share)


def _pool_panel(pool: Pool, prompt: int, points: Array) -> Markup:
    """Draw the completions of one prompt.

    Args:
        pool: the pool.
        prompt: index of the prompt, which is also the index of the panel.
        points: coordinates of its completions from the panel's centre, ``(k, 2)`` CSS pixels.
    """
    left = prompt % 3 * (_PANEL_SIZE + _PANEL_GAP)
    top = prompt // 3 * (_PANEL_SIZE + _PANEL_GAP)
    dots = [
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
            left + _PANEL_SIZE / 2 + points[k, 0],
            top + _PANEL_SIZE / 2 - points[k, 1],
            1.5 + 22 * math.sqrt(math.exp(pool.log_ref[prompt, k])),
        )
        for k in np.flatnonzero(pool.valid[prompt])
    ]
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="4"/>{}').format(
        left, top, _PANEL_SIZE, _PANEL_SIZE, Markup("").join(dots)
    ) + Markup('<text x="{}" y="{}">prompt {}</text>').format(left + 8, top + 16, prompt + 1)
