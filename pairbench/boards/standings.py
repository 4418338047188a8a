"""Standings of designs on a board, computed from its entries alone.

Designs are ranked by their *label savings* over the reference: the geometric mean over the board's
environments of the labels that the reference needs for the gap that the design reaches, over those
that the design needs. The standings also contain the area under the learning curve, the worst
environment, time and memory.

Savings beyond the reference's curve are censored, and count as those at the end of the curve: a
factor of 8 if the reference has 8 times the labels there, and the labels of its first budget at the
other end. The estimand, and so the interval, is of the mean of savings that are censored in this
way. So a single censored environment bounds the mean, and does not take it to 0 or to infinity. If
environments are censored on one side only, the mean's ``censored`` is that side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pairbench.boards.board import Board
from pairbench.boards.entry import BoardEntry
from pairbench.errors import InvalidSubmission
from pairbench.spec.text import parse_spec
from pairbench.stats import bootstrap
from pairbench.stats.bootstrap import Censoring, Estimate
from pairbench.stats.savings import label_savings, log_savings
from pairbench.stats.stratified import StratifiedBootstrap, probability_of_improvement, signed_means

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnvironmentStanding:
    """Figures of a design in one environment of a board.

    Attributes:
        environment: label of the environment.
        unit: unit of the budgets, ``"labels"`` or ``"money"``.
        budgets: the board's cumulative budgets, ``(b,)``.
        gaps: mean gap at each budget, ``(b,)`` reward units.
        ratios: mean gap over the reference's at each budget, ``(b,)``, paired by seed.
        savings: label or money savings at the last budget.
        initial_gap: mean gap of π_ref, before the first label, reward units.
        floor: mean of the smallest gap in the policy class, reward units.
        efficiency: mean design efficiency at the last budget.
        win_rate: mean win rate against π_ref at the last budget.
    """

    environment: str
    unit: str
    budgets: tuple[int, ...]
    gaps: tuple[Estimate, ...]
    ratios: tuple[Estimate, ...]
    savings: Estimate
    initial_gap: float
    floor: float
    efficiency: float
    win_rate: float


@dataclass(frozen=True)
class Standing:
    """Figures and rank of a design on a board.

    Attributes:
        entry: the design's entry.
        rank: 1 + the number of designs in better tie groups; None if it is not ranked.
        tied: whether another design has the same rank.
        savings: label or money savings, geometric mean over environments.
        aulc: area under the learning curve: the mean over environments, and over log budget, of
            the log ratio of the gap to the reference's, as a ratio; below 1 is better than the
            reference.
        worst: figures in the environment of least savings.
        seconds: mean time of the design's computations per episode, seconds.
        memory: peak memory of the design's computations, bytes; None if it was not measured in
            every environment.
        environments: figures in each environment, in the board's order.
        rank_bounds: first and last rank that the design may have in a ranking without ties, see
            :meth:`pairbench.stats.stratified.StratifiedBootstrap.rank_bounds`; None if it is not
            ranked.
    """

    entry: BoardEntry
    rank: int | None
    tied: bool
    savings: Estimate
    aulc: Estimate
    worst: EnvironmentStanding
    seconds: float
    memory: int | None
    environments: tuple[EnvironmentStanding, ...]
    rank_bounds: tuple[int, int] | None = None


@dataclass(frozen=True)
class Standings:
    """Standings of all designs on a board.

    Attributes:
        board: the board.
        reference: entry that savings are measured against; None if the board has none yet, and
            then both divisions are empty.
        closed: designs of the closed division, best first, followed by those that are not ranked.
        open: designs of the open division in the same order, against the same reference.
    """

    board: Board
    reference: BoardEntry | None
    closed: tuple[Standing, ...]
    open: tuple[Standing, ...]


def standings(board: Board, entries: Sequence[BoardEntry]) -> Standings:
    """Compute the standings of a board.

    Args:
        board: the board.
        entries: entries of the board, including the reference's.

    Raises:
        InvalidSubmission: If an entry is incomplete, see :func:`check_complete`.
    """
    for entry in entries:
        check_complete(board, entry)
    reference = reference_of(board, entries)
    if reference is None:
        return Standings(board, None, (), ())
    indices = _index_curves(board, reference, entries)
    closed, open_ = (
        _division_standings(board, reference, indices, [e for e in entries if e.division == name])
        for name in ("closed", "open")
    )
    return Standings(board, reference, closed, open_)


def reference_of(board: Board, entries: Sequence[BoardEntry]) -> BoardEntry | None:
    """Return the entry that savings are measured against, None if the board has none yet."""
    for entry in entries:
        if entry.division == "closed" and entry.design.label == board.reference:
            return entry
    return None


def is_control(board: Board, entry: BoardEntry) -> bool:
    """Return whether an entry is never ranked: its design sees true rewards, or the board says so.

    Args:
        board: the board, whose controls are named by name, slug or label.
        entry: an entry.
    """
    design = entry.design
    return design.control or not {design.name, design.slug, design.label}.isdisjoint(board.controls)


def check_complete(board: Board, entry: BoardEntry) -> None:
    """Check that an entry has all environments of its board with all their seeds and budgets.

    Environments are matched by id and order, since an open entry changes their parameters.

    Args:
        board: the board.
        entry: an entry.

    Raises:
        InvalidSubmission: If environments, seeds or budgets are missing, or seeds are not the
            board's; the message names them.
    """
    subject = f"the entry of {entry.design.label!r} on {board.name!r}"
    board_ids = [parse_spec(environment.spec)[0] for environment in board.environments]
    entry_ids = [parse_spec(curve.environment)[0] for curve in entry.curves]
    if entry_ids != board_ids:
        raise InvalidSubmission(
            f"{subject} is of {', '.join(entry_ids)}, where the board is of "
            f"{', '.join(board_ids)}, in this order. Submit it again from a run of the board."
        )
    for environment, curve in zip(board.environments, entry.curves, strict=True):
        seeds, budgets = environment.seeds or board.seeds, environment.budgets or board.budgets
        for kind, required, present in (
            ("seeds", set(seeds), set(curve.seeds)),
            ("budgets", set(budgets or ()), set(curve.budgets)),
        ):
            if missing := sorted(required - present):
                raise InvalidSubmission(
                    f"{subject} lacks {len(missing)} of the board's {kind} in {curve.environment}, "
                    f"the first being {missing[0]}. Submit it again from a run of the board."
                )
        if unexpected := sorted(set(curve.seeds) - set(seeds)):
            raise InvalidSubmission(
                f"{subject} has seeds in {curve.environment} that are not the board's, the first "
                f"being {unexpected[0]}. Submit it again from a run of the board."
            )


@dataclass(frozen=True)
class EnvironmentComparison:
    """Comparison of two designs in one environment of a board.

    Attributes:
        environment: label of the environment.
        unit: unit of the budgets, ``"labels"`` or ``"money"``.
        budgets: the cumulative budgets that both designs have, ``(b,)``.
        differences: mean gap of the first design less that of the second at each budget, paired by
            seed, ``(b,)`` reward units; below 0 the first is better.
        ratios: mean gap of the first design over that of the second at each budget, paired by seed,
            ``(b,)``; below 1 the first is better.
        improvements: probability that a run of the first design has the smaller gap at each budget,
            ``(b,)``.
    """

    environment: str
    unit: str
    budgets: tuple[int, ...]
    differences: tuple[Estimate, ...]
    ratios: tuple[Estimate, ...]
    improvements: tuple[Estimate, ...]


@dataclass(frozen=True)
class Comparison:
    """Comparison of two designs on a board.

    Attributes:
        first: entry of the first design.
        second: entry of the second design.
        ratio: mean gap of the first design over that of the second at the last budget, geometric
            mean over environments, paired by seed.
        improvement: probability that a run of the first design has the smaller gap at the last
            budget, mean over environments, see
            :func:`pairbench.stats.stratified.probability_of_improvement`.
        environments: comparison in each environment, in the board's order.
    """

    first: BoardEntry
    second: BoardEntry
    ratio: Estimate
    improvement: Estimate
    environments: tuple[EnvironmentComparison, ...]


def compare_entries(board: Board, first: BoardEntry, second: BoardEntry) -> Comparison:
    """Compare two designs on a board and in each of its environments.

    Args:
        board: the board.
        first: entry of the first design, of either division.
        second: entry of the second design, of either division.

    Raises:
        InvalidSubmission: If an entry is incomplete, see :func:`check_complete`.
    """
    check_complete(board, first)
    check_complete(board, second)
    indices = _index_curves(board, second, [first, second])
    first_gaps, second_gaps = ([i.gaps(entry) for i in indices] for entry in (first, second))
    log_ratios = _bootstrap_log_ratios(
        [index.last_weights for index in indices], indices, [first], second
    )
    return Comparison(
        first=first,
        second=second,
        ratio=_exp_estimate(log_ratios.means()[0]),
        improvement=probability_of_improvement(
            [gaps[:, -1] for gaps in first_gaps], [gaps[:, -1] for gaps in second_gaps]
        ),
        environments=tuple(
            _compare_in_environment(index, first, gaps, rival_gaps)
            for index, gaps, rival_gaps in zip(indices, first_gaps, second_gaps, strict=True)
        ),
    )


def gap_ratios(board: Board, reference: BoardEntry, entry: BoardEntry) -> list[Array]:
    """Compute each run's gap over the reference's in the same world, at the board's last budget.

    :func:`pairbench.stats.stratified.interquartile_mean` and
    :func:`pairbench.stats.stratified.performance_profile` take these ratios.

    Args:
        board: the board.
        reference: entry of the reference.
        entry: entry of the design.

    Returns:
        ``(n_seeds,)`` for each environment; infinite where only the reference has a gap of 0.
    """
    indices = _index_curves(board, reference, [reference, entry])
    return [
        bootstrap.ratio(index.gaps(entry)[:, -1], index.gaps(reference)[:, -1]) for index in indices
    ]


@dataclass(frozen=True)
class _CurveIndex:
    """Seed and budget index of one environment's curves.

    Attributes:
        environment: position of the environment on the board.
        seeds: seeds of the worlds, ``(n_seeds,)``.
        budgets: cumulative budgets, ``(b,)``.
        gap_resolution: gaps below this are rounding errors, reward units.
    """

    environment: int
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    gap_resolution: float

    def gaps(self, entry: BoardEntry) -> Array:
        """Return the gaps of an entry, ``(n_seeds, b)`` reward units."""
        curve = entry.curves[self.environment]
        rows = [curve.seeds.index(seed) for seed in self.seeds]
        columns = [curve.budgets.index(budget) for budget in self.budgets]
        return np.array(curve.gaps, dtype=np.float64)[np.ix_(rows, columns)]

    def spent(self, entry: BoardEntry) -> float:
        """Return the mean spending by the last budget; the budget itself if nothing was bought."""
        curve = entry.curves[self.environment]
        return curve.spent[curve.budgets.index(self.budgets[-1])] or float(self.budgets[-1])

    def curve(self, reference: BoardEntry) -> tuple[Array, Array]:
        """Return the reference's gaps, ``(n_seeds, n)``, and its increasing spending, ``(n,)``.

        Unlike :meth:`gaps`, this includes budgets beyond the board's. Budgets at which nothing more
        was spent are left out.
        """
        spent = np.array(reference.curves[self.environment].spent)
        all_budgets = replace(self, budgets=reference.curves[self.environment].budgets)
        increases = np.diff(spent, prepend=0.0) > 0
        return all_budgets.gaps(reference)[:, increases], spent[increases]

    @property
    def last_weights(self) -> Array:
        """Weights of the budgets that select the last one, ``(b,)``."""
        weights: Array = np.eye(len(self.budgets))[-1]
        return weights

    @property
    def trapezoid_weights(self) -> Array:
        """Weights of the budgets for a mean over log budget by the trapezoidal rule, ``(b,)``."""
        steps = np.diff(np.log(self.budgets))
        if not len(steps):
            return self.last_weights
        weights: Array = (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())
        return weights


def _index_curves(
    board: Board, reference: BoardEntry, entries: Sequence[BoardEntry]
) -> list[_CurveIndex]:
    """Index each environment by the reference's seeds and the board's budgets.

    If the board names no budgets, the index has those that all entries have.
    """
    indices = []
    for k, (environment, curve) in enumerate(
        zip(board.environments, reference.curves, strict=True)
    ):
        shared = set.intersection(*(set(entry.curves[k].budgets) for entry in entries))
        budgets = environment.budgets or board.budgets or sorted(shared)
        # Gaps are differences of float64 that are as large as the gap of π_ref.
        gap_resolution = max(1e-12 * curve.start, 1e-300)
        indices.append(_CurveIndex(k, curve.seeds, tuple(budgets), gap_resolution))
    return indices


def _compare_in_environment(
    index: _CurveIndex, first: BoardEntry, gaps: Array, rival_gaps: Array
) -> EnvironmentComparison:
    """Compare two designs by their gaps in one environment, ``(n_seeds, b)`` reward units."""
    curve = first.curves[index.environment]
    return EnvironmentComparison(
        environment=curve.environment,
        unit=curve.unit,
        budgets=index.budgets,
        differences=signed_means(gaps - rival_gaps),
        ratios=bootstrap.ratios_of_means(gaps, rival_gaps),
        improvements=tuple(
            probability_of_improvement([gaps[:, j]], [rival_gaps[:, j]])
            for j in range(len(index.budgets))
        ),
    )


def _division_standings(
    board: Board,
    reference: BoardEntry,
    indices: Sequence[_CurveIndex],
    entries: Sequence[BoardEntry],
) -> tuple[Standing, ...]:
    """Compute the standings of one division, best first, followed by designs without rank."""
    if not entries:
        return ()
    savings_sample = _bootstrap_savings(indices, entries, reference)
    ratio_sample = _bootstrap_log_ratios(
        [index.trapezoid_weights for index in indices], indices, entries, reference
    )
    ranked = [i for i, entry in enumerate(entries) if not is_control(board, entry)]
    ranked_savings = savings_sample.subset(ranked)
    ranks = dict(zip(ranked, ranked_savings.ranks(), strict=True))
    rank_bounds = dict(zip(ranked, ranked_savings.rank_bounds(), strict=True))
    results = [
        _standing(
            entry,
            mean_log_savings=mean_log_savings,
            aulc=_exp_estimate(mean_log_ratio),
            rank=ranks.get(i),
            tied=i in ranks and list(ranks.values()).count(ranks[i]) > 1,
            rank_bounds=rank_bounds.get(i),
            environments=tuple(_environment_standing(index, entry, reference) for index in indices),
        )
        for i, (entry, mean_log_savings, mean_log_ratio) in enumerate(
            zip(entries, savings_sample.means(), ratio_sample.means(), strict=True)
        )
    ]
    return tuple(sorted(results, key=lambda s: (s.rank or np.inf, -s.savings.value)))


def _standing(
    entry: BoardEntry,
    *,
    mean_log_savings: Estimate,
    aulc: Estimate,
    rank: int | None,
    tied: bool,
    rank_bounds: tuple[int, int] | None,
    environments: tuple[EnvironmentStanding, ...],
) -> Standing:
    """Combine the figures of a design, summarizing those of its entry and its environments."""
    sides = {environment.savings.censored for environment in environments} - {None}
    memory = [curve.memory for curve in entry.curves if curve.memory is not None]
    return Standing(
        entry=entry,
        rank=rank,
        tied=tied,
        savings=_exp_estimate(mean_log_savings, sides.pop() if len(sides) == 1 else None),
        aulc=aulc,
        worst=min(environments, key=lambda environment: environment.savings.value),
        seconds=float(np.mean([curve.seconds for curve in entry.curves])),
        memory=max(memory) if len(memory) == len(entry.curves) else None,
        environments=environments,
        rank_bounds=rank_bounds,
    )


def _bootstrap_savings(
    indices: Sequence[_CurveIndex], entries: Sequence[BoardEntry], reference: BoardEntry
) -> StratifiedBootstrap:
    """Bootstrap the log label savings of entries at the last budget."""
    values, draws = [], []
    for index in indices:
        gaps = np.stack([index.gaps(entry)[:, -1] for entry in entries], axis=1)
        spent = np.array([index.spent(entry) for entry in entries])
        curve, labels = index.curve(reference)
        log_saved, resampled = log_savings(gaps, spent, curve, labels, stratum=index.environment)
        values.append(log_saved)
        draws.append(resampled)
    return StratifiedBootstrap(np.stack(values, axis=1), np.stack(draws, axis=2), _n_seeds(indices))


def _bootstrap_log_ratios(
    budget_weights: Sequence[Array],
    indices: Sequence[_CurveIndex],
    entries: Sequence[BoardEntry],
    reference: BoardEntry,
) -> StratifiedBootstrap:
    """Bootstrap the log ratio of entries' mean gaps to the reference's, averaged over budgets.

    Args:
        budget_weights: weights of the budgets in the average, ``(b,)`` for each environment.
        indices: index of each environment.
        entries: entries of m designs.
        reference: entry of the reference.
    """
    values, draws = [], []
    for weights, index in zip(budget_weights, indices, strict=True):
        seed_weights = bootstrap.bootstrap_weights(len(index.seeds), index.environment)
        gaps = [index.gaps(entry) for entry in (reference, *entries)]
        means = np.stack([g.mean(axis=0) for g in gaps])  # (1 + m, b)
        resampled_means = np.stack([seed_weights @ g for g in gaps])  # (1 + m, DRAWS, b)
        log_gaps, resampled_log_gaps = (
            np.log(np.maximum(mean_gaps, index.gap_resolution)) @ weights
            for mean_gaps in (means, resampled_means)
        )
        values.append(log_gaps[1:] - log_gaps[0])
        draws.append((resampled_log_gaps[1:] - resampled_log_gaps[0]).T)
    return StratifiedBootstrap(np.stack(values, axis=1), np.stack(draws, axis=2), _n_seeds(indices))


def _n_seeds(indices: Sequence[_CurveIndex]) -> NDArray[np.int64]:
    return np.array([len(index.seeds) for index in indices])


def _environment_standing(
    index: _CurveIndex, entry: BoardEntry, reference: BoardEntry
) -> EnvironmentStanding:
    """Compute the figures of an entry in one environment."""
    curve, gaps = entry.curves[index.environment], index.gaps(entry)
    savings = Estimate(1.0, 1.0, 1.0)
    if entry is not reference:
        savings = label_savings(gaps[:, -1], index.spent(entry), *index.curve(reference))
    return EnvironmentStanding(
        environment=curve.environment,
        unit=curve.unit,
        budgets=index.budgets,
        gaps=bootstrap.means(gaps),
        ratios=bootstrap.ratios_of_means(gaps, index.gaps(reference)),
        savings=savings,
        initial_gap=curve.start,
        floor=curve.floor,
        efficiency=curve.efficiency,
        win_rate=curve.win_rate,
    )


def _exp_estimate(log: Estimate, censored: Censoring | None = None) -> Estimate:
    """Convert a mean of logarithms to a geometric mean."""
    value, low, high = map(float, np.exp([log.value, log.low, log.high]))
    return Estimate(value, low, high, censored)
