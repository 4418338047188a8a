"""Where designs stand on a board, from its entries alone.

The one figure is *label savings* over the reference: the geometric mean over the board's
environments of how many labels the reference needs for the gap that a design reaches. Beside it
stand the area under the learning curve, the worst environment, time and memory.

Savings beyond the reference's curve count as those at its end: 8 times the labels where it is
played 8 times as far, and what its first budget is worth on the other side. What is estimated, and
what the interval is of, is the mean of savings that are cut off so: a single environment that is
out of reach then bounds the figure and does not take it to 0 or to infinity. Where environments are
cut off on one side only, the figure says so by ``censored``.
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
class InEnvironment:
    """A design in one environment of a board.

    Attributes:
        environment: its label.
        unit: what budgets count, ``"labels"`` or ``"money"``.
        budgets: the board's, ``(b,)``.
        gaps: mean gap at each budget, reward units.
        ratios: mean gap over the reference's at each budget, paired by seed.
        savings: label savings at the last budget, or money's.
        start: mean gap of π_ref.
        floor: mean least gap of the policy class.
        efficiency: mean design efficiency at the last budget.
        win_rate: mean win rate against π_ref there.
    """

    environment: str
    unit: str
    budgets: tuple[int, ...]
    gaps: tuple[Estimate, ...]
    ratios: tuple[Estimate, ...]
    savings: Estimate
    start: float
    floor: float
    efficiency: float
    win_rate: float


@dataclass(frozen=True)
class Standing:
    """A design on a board.

    Attributes:
        entry: what it is made of.
        rank: 1 + the number of designs in better tie groups; None where it is not ranked.
        tied: whether another design has the same rank.
        savings: label savings, geometric mean over environments.
        aulc: area under the learning curve: the mean over environments, and over log budget, of
            log gap over the reference's, as a ratio; below 1 is better than the reference.
        worst: the environment of least savings.
        seconds: mean time of the design's own work, an episode.
        memory: the most that its work took, bytes; None where that is not known.
        environments: in the board's order.
        places: the first and the last place that it may have, without ties: see
            :meth:`pairbench.stats.stratified.StratifiedBootstrap.rank_bounds`; None where it is
            not ranked.
    """

    entry: BoardEntry
    rank: int | None
    tied: bool
    savings: Estimate
    aulc: Estimate
    worst: InEnvironment
    seconds: float
    memory: int | None
    environments: tuple[InEnvironment, ...]
    places: tuple[int, int] | None = None


@dataclass(frozen=True)
class Standings:
    """All designs on a board.

    Attributes:
        board: the board.
        reference: the entry that savings are measured against; None where there is none yet, and
            then there are no standings.
        closed: the designs of the closed division, best first, those that are not ranked last.
        open: likewise of the open division, against the same reference.
    """

    board: Board
    reference: BoardEntry | None
    closed: tuple[Standing, ...]
    open: tuple[Standing, ...]


def standings(board: Board, entries: Sequence[BoardEntry]) -> Standings:
    """Where the designs of a board stand.

    Args:
        board: the board.
        entries: its entries, the reference's among them.

    Raises:
        InvalidSubmission: If an entry lacks something, see :func:`check_complete`.
    """
    for entry in entries:
        check_complete(board, entry)
    reference = reference_of(board, entries)
    if reference is None:
        return Standings(board, None, (), ())
    worlds = _worlds(board, reference, entries)
    closed, open_ = (
        _division(board, reference, worlds, [e for e in entries if e.division == division])
        for division in ("closed", "open")
    )
    return Standings(board, reference, closed, open_)


def reference_of(board: Board, entries: Sequence[BoardEntry]) -> BoardEntry | None:
    """The entry that savings are measured against, None where there is none yet."""
    for entry in entries:
        if entry.division == "closed" and entry.design.label == board.reference:
            return entry
    return None


def is_control(board: Board, entry: BoardEntry) -> bool:
    """Whether an entry is shown and never ranked: it was told the truth, or the board says so."""
    design = entry.design
    return design.control or not {design.name, design.slug, design.label}.isdisjoint(board.controls)


def check_complete(board: Board, entry: BoardEntry) -> None:
    """See that an entry has every environment of its board, and there all seeds and budgets.

    Environments are told by their ids and their order, since an open entry changes parameters.

    Raises:
        InvalidSubmission: If it has not; says what is missing.
    """
    who = f"the entry of {entry.design.label!r} on {board.name!r}"
    ids = [parse_spec(environment.spec)[0] for environment in board.environments]
    if (found := [parse_spec(curve.environment)[0] for curve in entry.curves]) != ids:
        raise InvalidSubmission(
            f"{who} is of {', '.join(found)}, where the board is of {', '.join(ids)}, in this "
            "order. Submit it again from a run of the board."
        )
    for environment, curve in zip(board.environments, entry.curves, strict=True):
        seeds, budgets = environment.seeds or board.seeds, environment.budgets or board.budgets
        for kind, asked, given in (
            ("seeds", set(seeds), set(curve.seeds)),
            ("budgets", set(budgets or ()), set(curve.budgets)),
        ):
            if missing := sorted(asked - given):
                raise InvalidSubmission(
                    f"{who} lacks {len(missing)} of the board's {kind} in {curve.environment}, "
                    f"the first being {missing[0]}. Submit it again from a run of the board."
                )
        if further := sorted(set(curve.seeds) - set(seeds)):
            raise InvalidSubmission(
                f"{who} has seeds in {curve.environment} that are not the board's, the first "
                f"being {further[0]}. Submit it again from a run of the board."
            )


@dataclass(frozen=True)
class ComparedIn:
    """Two designs in one environment of a board.

    Attributes:
        environment: its label.
        unit: what budgets count, ``"labels"`` or ``"money"``.
        budgets: those that both have, ``(b,)``.
        differences: the one's mean gap less the other's at each budget, paired by seed, reward
            units; below 0 the one is better.
        ratios: the one's mean gap over the other's, likewise; below 1 the one is better.
        improvements: how probable it is that a run of the one has the smaller gap, likewise.
    """

    environment: str
    unit: str
    budgets: tuple[int, ...]
    differences: tuple[Estimate, ...]
    ratios: tuple[Estimate, ...]
    improvements: tuple[Estimate, ...]


@dataclass(frozen=True)
class Comparison:
    """Two designs on a board.

    Attributes:
        one: an entry.
        other: another one.
        ratio: the one's mean gap over the other's at the last budget, geometric mean over
            environments, paired by seed.
        improvement: how probable it is there that a run of the one has the smaller gap, mean over
            environments: see :func:`pairbench.stats.stratified.probability_of_improvement`.
        environments: in the board's order.
    """

    one: BoardEntry
    other: BoardEntry
    ratio: Estimate
    improvement: Estimate
    environments: tuple[ComparedIn, ...]


def comparison(board: Board, one: BoardEntry, other: BoardEntry) -> Comparison:
    """How one design compares with another, environment by environment.

    Args:
        board: the board.
        one: an entry, of either division.
        other: another one.

    Raises:
        InvalidSubmission: If an entry lacks something, see :func:`check_complete`.
    """
    check_complete(board, one)
    check_complete(board, other)
    worlds = _worlds(board, other, [one, other])
    own, rival = ([world.gaps(entry) for world in worlds] for entry in (one, other))
    environments = tuple(
        ComparedIn(
            environment=one.curves[world.place].environment,
            unit=one.curves[world.place].unit,
            budgets=world.budgets,
            differences=signed_means(gaps - base),
            ratios=bootstrap.ratios_of_means(gaps, base),
            improvements=tuple(
                probability_of_improvement([gaps[:, j]], [base[:, j]])
                for j in range(len(world.budgets))
            ),
        )
        for world, gaps, base in zip(worlds, own, rival, strict=True)
    )
    return Comparison(
        one=one,
        other=other,
        ratio=_exp(_against([world.last for world in worlds], worlds, [one], other).means()[0]),
        improvement=probability_of_improvement(
            [gaps[:, -1] for gaps in own], [gaps[:, -1] for gaps in rival]
        ),
        environments=environments,
    )


def run_ratios(board: Board, reference: BoardEntry, entry: BoardEntry) -> list[Array]:
    """Each run's gap over the reference's in the same world, at the board's last budget.

    What :func:`pairbench.stats.stratified.interquartile_mean` and
    :func:`pairbench.stats.stratified.performance_profile` are taken of.

    Returns:
        ``(n_seeds,)`` for each environment; infinite where only the reference has a gap of 0.
    """
    worlds = _worlds(board, reference, [reference, entry])
    return [
        bootstrap.ratio(world.gaps(entry)[:, -1], world.gaps(reference)[:, -1]) for world in worlds
    ]


@dataclass(frozen=True)
class _World:
    """An environment of a board: in what order its curves are read.

    Attributes:
        place: which one it is.
        seeds: ``(n_seeds,)``.
        budgets: ``(b,)``.
        least: gap that cannot be told from 0, reward units.
    """

    place: int
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    least: float

    def gaps(self, entry: BoardEntry) -> Array:
        """``(n_seeds, b)``."""
        curve = entry.curves[self.place]
        rows = [curve.seeds.index(seed) for seed in self.seeds]
        columns = [curve.budgets.index(budget) for budget in self.budgets]
        return np.array(curve.gaps, dtype=np.float64)[np.ix_(rows, columns)]

    def spent(self, entry: BoardEntry) -> float:
        """What went by the last budget; the budget itself where nothing was bought."""
        curve = entry.curves[self.place]
        return curve.spent[curve.budgets.index(self.budgets[-1])] or float(self.budgets[-1])

    def curve(self, reference: BoardEntry) -> tuple[Array, Array]:
        """Gaps ``(n_seeds, n)`` at all that the reference spent, ``(n,)``, where that grows."""
        spent = np.array(reference.curves[self.place].spent)
        whole = replace(self, budgets=reference.curves[self.place].budgets)
        grows = np.diff(spent, prepend=0.0) > 0
        return whole.gaps(reference)[:, grows], spent[grows]

    @property
    def last(self) -> Array:
        """Weights of the budgets, ``(b,)``: the last one only."""
        weights: Array = np.eye(len(self.budgets))[-1]
        return weights

    @property
    def trapezoid(self) -> Array:
        """Weights of the budgets for a mean over their logarithm, ``(b,)``."""
        steps = np.diff(np.log(self.budgets))
        if not len(steps):
            return self.last
        weights: Array = (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())
        return weights


def _worlds(board: Board, reference: BoardEntry, entries: Sequence[BoardEntry]) -> list[_World]:
    """The environments with the reference's seeds, and the board's budgets.

    Where the board names no budgets, they are those that all entries have.
    """
    found = []
    for place, (environment, curve) in enumerate(
        zip(board.environments, reference.curves, strict=True)
    ):
        shared = set.intersection(*(set(entry.curves[place].budgets) for entry in entries))
        budgets = environment.budgets or board.budgets or sorted(shared)
        # Gaps are differences of float64 that are as large as the gap of π_ref.
        least = max(1e-12 * curve.start, 1e-300)
        found.append(_World(place, curve.seeds, tuple(budgets), least))
    return found


def _division(
    board: Board, reference: BoardEntry, worlds: Sequence[_World], entries: Sequence[BoardEntry]
) -> tuple[Standing, ...]:
    """The designs of one division, best first, and then those that are not ranked."""
    if not entries:
        return ()
    savings = _savings(worlds, entries, reference)
    areas = _against([world.trapezoid for world in worlds], worlds, entries, reference)
    ranked = [i for i, entry in enumerate(entries) if not is_control(board, entry)]
    field = savings.of(ranked)
    ranks = dict(zip(ranked, field.ranks(), strict=True))
    places = dict(zip(ranked, field.rank_bounds(), strict=True))
    found = [
        _standing(
            entry,
            savings=saved,
            aulc=_exp(area),
            rank=ranks.get(i),
            tied=i in ranks and list(ranks.values()).count(ranks[i]) > 1,
            places=places.get(i),
            environments=tuple(_in_environment(world, entry, reference) for world in worlds),
        )
        for i, (entry, saved, area) in enumerate(
            zip(entries, savings.means(), areas.means(), strict=True)
        )
    ]
    return tuple(sorted(found, key=lambda s: (s.rank or np.inf, -s.savings.value)))


def _standing(
    entry: BoardEntry,
    *,
    savings: Estimate,
    aulc: Estimate,
    rank: int | None,
    tied: bool,
    places: tuple[int, int] | None,
    environments: tuple[InEnvironment, ...],
) -> Standing:
    beyond = {environment.savings.censored for environment in environments} - {None}
    memory = [curve.memory for curve in entry.curves if curve.memory is not None]
    return Standing(
        entry=entry,
        rank=rank,
        tied=tied,
        savings=_exp(savings, beyond.pop() if len(beyond) == 1 else None),
        aulc=aulc,
        worst=min(environments, key=lambda environment: environment.savings.value),
        seconds=float(np.mean([curve.seconds for curve in entry.curves])),
        memory=max(memory) if len(memory) == len(entry.curves) else None,
        environments=environments,
        places=places,
    )


def _savings(
    worlds: Sequence[_World], entries: Sequence[BoardEntry], reference: BoardEntry
) -> StratifiedBootstrap:
    """Log label savings at the last budget."""
    values, draws = [], []
    for world in worlds:
        gaps = np.stack([world.gaps(entry)[:, -1] for entry in entries], axis=1)
        spent = np.array([world.spent(entry) for entry in entries])
        curve, labels = world.curve(reference)
        value, drawn = log_savings(gaps, spent, curve, labels, stratum=world.place)
        values.append(value)
        draws.append(drawn)
    return StratifiedBootstrap(np.stack(values, axis=1), np.stack(draws, axis=2), _sizes(worlds))


def _against(
    weights: Sequence[Array],
    worlds: Sequence[_World],
    entries: Sequence[BoardEntry],
    reference: BoardEntry,
) -> StratifiedBootstrap:
    """Log gap less the reference's, averaged over budgets by weights, ``(b,)`` by environment."""
    values, draws = [], []
    for share, world in zip(weights, worlds, strict=True):
        seeds = bootstrap.bootstrap_weights(len(world.seeds), world.place)
        tables = [world.gaps(entry) for entry in (reference, *entries)]
        # (1 + m, b) and (1 + m, DRAWS, b)
        means = np.stack([table.mean(axis=0) for table in tables])
        drawn = np.stack([seeds @ table for table in tables])
        here, there = (np.log(np.maximum(gaps, world.least)) @ share for gaps in (means, drawn))
        values.append(here[1:] - here[0])
        draws.append((there[1:] - there[0]).T)
    return StratifiedBootstrap(np.stack(values, axis=1), np.stack(draws, axis=2), _sizes(worlds))


def _sizes(worlds: Sequence[_World]) -> NDArray[np.int64]:
    return np.array([len(world.seeds) for world in worlds])


def _in_environment(world: _World, entry: BoardEntry, reference: BoardEntry) -> InEnvironment:
    curve, gaps = entry.curves[world.place], world.gaps(entry)
    savings = Estimate(1.0, 1.0, 1.0)
    if entry is not reference:
        savings = label_savings(gaps[:, -1], world.spent(entry), *world.curve(reference))
    return InEnvironment(
        environment=curve.environment,
        unit=curve.unit,
        budgets=world.budgets,
        gaps=bootstrap.means(gaps),
        ratios=bootstrap.ratios_of_means(gaps, world.gaps(reference)),
        savings=savings,
        start=curve.start,
        floor=curve.floor,
        efficiency=curve.efficiency,
        win_rate=curve.win_rate,
    )


def _exp(log: Estimate, censored: Censoring | None = None) -> Estimate:
    """A geometric mean from the mean of logarithms."""
    value, low, high = map(float, np.exp([log.value, log.low, log.high]))
    return Estimate(value, low, high, censored)
