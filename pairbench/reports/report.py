"""Report of a run, computed from its cells."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench._util.files import replace_nonfinite
from pairbench.cells.plan import PROTOCOL, stated_protocol, version_for
from pairbench.cells.store import CellRecord, Failure, Store, failure_from_record
from pairbench.errors import RunError
from pairbench.stats import bootstrap
from pairbench.stats.bootstrap import Estimate
from pairbench.stats.savings import label_savings
from pairbench.stats.stratified import ranks, signed_mean
from pairbench.stats.text import ratio_text, savings_text
from pairbench.view.budget import budget_unit, quantity_noun

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """Point of a learning curve: means over seeds.

    Attributes:
        budget: labels or units of money that could be spent.
        spent: labels or units of money that were spent, on average.
        gap: mean suboptimality gap, reward units.
        ratio: mean gap over the reference's, paired by seed; None if the reference has no gap at
            this budget.
        kl: mean KL(π ‖ π_ref), nats; None unless policies are scored by draws.
        reward: mean reward of a draw from π, reward units; None unless policies are scored by
            draws.
    """

    budget: int
    spent: float
    gap: Estimate
    ratio: Estimate | None
    kl: Estimate | None = None
    reward: Estimate | None = None


@dataclass(frozen=True)
class Row:
    """Row of a table: one design on one environment.

    Attributes:
        design: name and parameters.
        rank: 1 + the number of designs in better tie groups; equal ranks are ties. None
            for a control, which is shown the truth.
        seeds: number of seeds played.
        budget: budget of the figures, the largest that all designs share.
        labels: mean number of labels bought within the budget.
        spent: mean number of labels or units of money spent within the budget.
        gap: mean suboptimality on held-out prompts, reward units.
        ratio: mean gap over the reference's, paired by seed.
        savings: savings of labels or money against the reference; None without reference.
        efficiency: mean design efficiency.
        win_rate: mean win rate against π_ref.
        selection_seconds: mean time that the design took in an episode, seconds.
        curve: the learning curve.
    """

    design: str
    rank: int | None
    seeds: int
    budget: int
    labels: float
    spent: float
    gap: Estimate
    ratio: Estimate | None
    savings: Estimate | None
    efficiency: float
    win_rate: float
    selection_seconds: float
    curve: list[Point]

    @property
    def reported_budgets(self) -> list[int]:
        """The budgets of the learning curve up to the budget of the figures."""
        return [point.budget for point in self.curve if point.budget <= self.budget]


@dataclass(frozen=True)
class Section:
    """Results on one environment.

    Attributes:
        environment: ID and the parameters that are not defaults.
        floor: mean least gap of the policy class, reward units.
        start: mean gap of π_ref, reward units.
        rows: the designs, best first.
        unit: unit of budgets, ``"labels"`` or ``"money"``.
    """

    environment: str
    floor: float
    start: float
    rows: list[Row]
    unit: str = "labels"

    def find_row(self, design: str) -> Row | None:
        """Return the row of a design, None if it has no successful cell."""
        return next((row for row in self.rows if row.design == design), None)


@dataclass(frozen=True)
class Report:
    """Results of a run.

    Attributes:
        name: name of the board, or ``"custom"``.
        reference: design that savings are measured against.
        sections: one for each environment.
        failures: the failed cells.
        invalid: number of the run's files that are no valid cells.
    """

    name: str
    reference: str
    sections: list[Section]
    failures: list[Failure]
    invalid: int

    def to_markdown(self) -> str:
        """Return a Markdown table for each environment: gaps over the reference's, and savings.

        A ratio whose interval excludes 1 is bold if it is lower, and marked ▲ if it is higher.
        """
        tables = []
        for section in self.sections:
            budgets = section.rows[0].reported_budgets
            heads = [f"gap at {budgets[-1]}", *map(str, budgets), f"{section.unit} saved"]
            lines = [
                f"**{section.environment}**, {section.rows[0].seeds} seeds, gap over "
                f"{self.reference}'s after so {quantity_noun(section.unit)}:",
                "",
                "| design | " + " | ".join(heads) + " |",
                "|---|" + "---|" * len(heads),
            ]
            for row in section.rows:
                ratios = {point.budget: point.ratio for point in row.curve}
                cells = [f"{row.gap.value:.4f}", *(ratio_text(ratios.get(b)) for b in budgets)]
                name = row.design if row.rank else f"{row.design} (control)"
                lines.append(f"| {name} | {' | '.join(cells)} | {savings_text(row.savings)} |")
            tables.append("\n".join(lines))
        return "\n\n".join(tables) + "\n"

    def to_json(self) -> str:
        """Return the report as JSON; infinite ends of intervals are null."""
        return json.dumps(replace_nonfinite(asdict(self)), indent=1, ensure_ascii=False)


def load_report(folder: str | Path) -> Report:
    """Read a run's cells and compute its report.

    Args:
        folder: folder of the run; if several runs used it, the last one is reported.

    Raises:
        RunError: If it is no run folder, or holds no cells.
    """
    folder = Path(folder)
    try:
        header = json.loads((folder / "run.json").read_text())
        name, reference, keys = (header[key] for key in ("name", "reference", "cells"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{folder} is no run folder: {error}. Give the folder that `pairbench run` printed."
        ) from error
    protocol = stated_protocol(header)
    if keys and protocol is not None and protocol != PROTOCOL:
        raise RunError(
            f"{folder} was played under protocol {protocol}, where {PROTOCOL} is known. Give the "
            "command that made it once more to play it again, or report it with "
            f"{version_for(protocol)}"
        )
    store = Store(folder / "cells")
    records = list(store.records(keys))
    if not records:
        raise RunError(f"{folder} holds no cells yet. Run the command that created it again.")
    return Report(
        name=name,
        reference=reference,
        sections=[
            _section(label, cells, reference)
            for label, cells in _group_by("environment", [r for _, r in records]).items()
        ],
        failures=[failure_from_record(k, r) for k, r in records if r["status"] == "failed"],
        invalid=len(store.keys() & set(keys)) - len(records),
    )


def _group_by(kind: str, records: Sequence[CellRecord]) -> dict[str, list[CellRecord]]:
    """Group records of successful cells by the label of their environment or design.

    If two groups share a label, because a file was edited between them, a digest of the source is
    added to both.

    Args:
        kind: ``"environment"`` or ``"design"``.
        records: the records.
    """
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        if record["status"] == "ok":
            groups.setdefault(json.dumps(record["cell"][kind], sort_keys=True), []).append(record)
    labels = [group[0]["labels"][kind] for group in groups.values()]
    by_label = {}
    for label, group in zip(labels, groups.values(), strict=True):
        source = group[0]["cell"][kind]["source"] or ""
        by_label[f"{label}@{source[:6]}" if labels.count(label) > 1 else label] = group
    return dict(sorted(by_label.items()))


def _section(label: str, cells: Sequence[CellRecord], reference: str) -> Section:
    """Compute the results on one environment.

    Args:
        label: label of the environment.
        cells: records of its successful cells.
        reference: label of the reference design.

    Raises:
        RunError: If the designs share no budget.
    """
    curves = {
        name: _Curve({record["cell"]["seed"]: record for record in _by_schedule_length(group)})
        for name, group in _group_by("design", cells).items()
    }
    budget = _shared_budget(label, cells, curves.values())
    rank = _ranks(curves, budget)
    rows = [
        _row(name, rank.get(name), curve, budget, curves.get(reference))
        for name, curve in curves.items()
    ]
    starts = [record["results"]["start"] for record in cells]
    return Section(
        environment=label,
        floor=float(np.mean([start["floor"] for start in starts])),
        start=float(np.mean([start["gap"] for start in starts])),
        rows=sorted(rows, key=lambda row: (row.rank or np.inf, row.gap.value)),
        unit=budget_unit(cells[0]["cell"]["environment"]["params"]),
    )


def _shared_budget(label: str, cells: Sequence[CellRecord], curves: Iterable["_Curve"]) -> int:
    """Return the largest budget within the horizon that all designs share.

    The reference is played beyond the horizon.

    Raises:
        RunError: If there is none.
    """
    shared = set.intersection(*(set(curve.budgets) for curve in curves))
    horizon = min(record["cell"]["horizon"] for record in cells)
    budget = max((budget for budget in shared if budget <= horizon), default=0)
    if not budget:
        raise RunError(f"the designs on {label} share no budget. Run them with the same --budgets.")
    return budget


def _ranks(curves: "Mapping[str, _Curve]", budget: int) -> dict[str, int]:
    """Rank the designs that are no controls by their gaps on the seeds that all designs share."""
    seeds = sorted(set.intersection(*(set(curve.seeds) for curve in curves.values())))
    ranked = [name for name, curve in curves.items() if not curve.control]
    if not seeds or not ranked:
        return dict.fromkeys(ranked, 1)
    gaps = np.array([curves[name].gaps(seeds, budget) for name in ranked])
    return dict(zip(ranked, ranks(gaps), strict=True))


class _Curve:
    """Learning curves of one design on one environment, one for each seed.

    Attributes:
        by_seed: records of the cells.
        seeds: the seeds, in order.
        budgets: the budgets that all seeds share.
        control: whether the design is a control.
    """

    def __init__(self, by_seed: dict[int, CellRecord]) -> None:
        self.by_seed = by_seed
        self.seeds = sorted(by_seed)
        schedules = [record["cell"]["budgets"] for record in by_seed.values()]
        self.budgets: list[int] = sorted(set.intersection(*map(set, schedules)))
        self.control = any(record["control"] for record in by_seed.values())

    def figures(self, name: str, seeds: Sequence[int], budget: int) -> Array:
        """Return a score of each seed at a budget, ``(n_seeds,)``."""
        rounds = [self._round(seed, budget) for seed in seeds]
        return np.array([round_["score"][name] for round_ in rounds], dtype=np.float64)

    def gaps(self, seeds: Sequence[int], budget: int) -> Array:
        """Return the gap of each seed at a budget, ``(n_seeds,)``, reward units."""
        return self.figures("gap", seeds, budget)

    def sampled(self, name: str, budget: int) -> Estimate | None:
        """Return the mean over seeds of a score estimated by draws; None if scores are exact."""
        scores = [self._round(seed, budget)["score"].get("sampled") for seed in self.seeds]
        if None in scores:
            return None
        return signed_mean(np.array([score[name]["value"] for score in scores]))

    def labels(self, budget: int) -> float:
        """Return the mean number of labels bought within a budget."""
        bought = [
            sum(len(r["pairs"]) // 3 for r in record["results"]["rounds"] if r["budget"] <= budget)
            for record in self.by_seed.values()
        ]
        return float(np.mean(bought))

    def spent(self, budget: int) -> float:
        """Return the mean amount spent within a budget, labels or units of money."""
        record = next(iter(self.by_seed.values()))
        if budget_unit(record["cell"]["environment"]["params"]) == "labels":
            return self.labels(budget)
        return float(np.mean([self._round(seed, budget)["spent"] for seed in self.seeds]))

    def selection_seconds(self, budget: int) -> float:
        """Return the mean time that the design took within a budget, seconds."""
        seconds = [
            sum(
                usage["selection"]["seconds"]
                for usage, mark in zip(record["usage"], record["cell"]["budgets"], strict=True)
                if mark <= budget
            )
            for record in self.by_seed.values()
        ]
        return float(np.mean(seconds))

    def _round(self, seed: int, budget: int) -> dict[str, Any]:
        record = self.by_seed[seed]
        number = record["cell"]["budgets"].index(budget)
        round_: dict[str, Any] = record["results"]["rounds"][number]
        return round_


def _row(name: str, rank: int | None, curve: _Curve, budget: int, reference: _Curve | None) -> Row:
    """Compute the figures of one design on one environment.

    Args:
        name: label of the design.
        rank: its rank, None for a control.
        curve: its learning curves.
        budget: budget of the figures.
        reference: learning curves of the reference, None if it has no cells.
    """
    paired = sorted(set(curve.seeds) & set(reference.seeds)) if reference else []

    def ratio(mark: int) -> Estimate | None:
        if reference is None or not paired or mark not in reference.budgets:
            return None
        return bootstrap.ratio_of_means(curve.gaps(paired, mark), reference.gaps(paired, mark))

    return Row(
        design=name,
        rank=rank,
        seeds=len(curve.seeds),
        budget=budget,
        labels=curve.labels(budget),
        spent=curve.spent(budget),
        gap=bootstrap.mean(curve.gaps(curve.seeds, budget)),
        ratio=ratio(budget),
        savings=_savings(curve, budget, reference, paired),
        efficiency=float(curve.figures("design_efficiency", curve.seeds, budget).mean()),
        win_rate=float(curve.figures("win_rate", curve.seeds, budget).mean()),
        selection_seconds=curve.selection_seconds(budget),
        curve=[
            Point(
                mark,
                curve.spent(mark),
                bootstrap.mean(curve.gaps(curve.seeds, mark)),
                ratio(mark),
                curve.sampled("kl", mark),
                curve.sampled("reward", mark),
            )
            for mark in curve.budgets
        ],
    )


def _savings(
    curve: _Curve, budget: int, reference: _Curve | None, paired: Sequence[int]
) -> Estimate | None:
    """Estimate the savings of a design against the reference on the seeds that both played."""
    if reference is None or not paired:
        return None
    if curve is reference:
        return Estimate(1.0, 1.0, 1.0)
    spent = curve.spent(budget)
    if spent <= 0:
        return None
    reference_gaps = np.stack([reference.gaps(paired, b) for b in reference.budgets], axis=1)
    reference_spent = np.array([reference.spent(b) for b in reference.budgets])
    return label_savings(curve.gaps(paired, budget), spent, reference_gaps, reference_spent)


def _by_schedule_length(records: Sequence[CellRecord]) -> list[CellRecord]:
    """Sort cells by the length of their schedules, so that the longest of a seed comes last."""
    return sorted(records, key=lambda record: len(record["cell"]["budgets"]))
