"""The figures of a run, from its cells alone."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench import stats
from pairbench.errors import RunError
from pairbench.harness.store import Failure, Record, Store, failed_cell
from pairbench.stats import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A point of a learning curve: mean gap over seeds.

    Attributes:
        budget: what could be spent, labels or units of money.
        spent: what was, on average, likewise.
        gap: reward units.
        ratio: mean gap over the reference's, paired by seed; None where there is none.
        kl: mean KL(π ‖ π_ref), nats, where policies are scored by draws.
        reward: mean reward of a draw from π, reward units, likewise.
    """

    budget: int
    spent: float
    gap: Estimate
    ratio: Estimate | None
    kl: Estimate | None = None
    reward: Estimate | None = None


@dataclass(frozen=True)
class Row:
    """One design on one environment.

    Attributes:
        design: name and parameters.
        rank: 1 + the number of designs in better tie groups; equal ranks are ties. None
            for a control, which is shown the truth.
        seeds: how many were played.
        budget: at which the figures stand, the largest that all designs share.
        labels: labels that were bought by then, on average.
        spent: labels or units of money that went by then, on average.
        gap: mean suboptimality on held-out prompts, reward units.
        ratio: mean gap over the reference's, paired by seed.
        savings: label savings against the reference, or money's; None without reference.
        efficiency: mean design efficiency.
        win_rate: mean win rate against π_ref.
        selection_seconds: mean time of the design's own work, an episode.
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


@dataclass(frozen=True)
class Section:
    """One environment.

    Attributes:
        environment: id and the parameters that are not defaults.
        floor: mean least gap of the policy class, reward units.
        start: mean gap of π_ref.
        rows: the designs, best first.
        unit: what budgets count, ``"labels"`` or ``"money"``.
    """

    environment: str
    floor: float
    start: float
    rows: list[Row]
    unit: str = "labels"


@dataclass(frozen=True)
class Report:
    """A run's figures.

    Attributes:
        name: of the board, or ``"custom"``.
        reference: the design that savings are measured against.
        sections: one for each environment.
        failures: cells that could not be played.
        invalid: number of the run's files that are no valid cells.
    """

    name: str
    reference: str
    sections: list[Section]
    failures: list[Failure]
    invalid: int

    def to_markdown(self) -> str:
        """A table for each environment: mean gap over the reference's at each budget, and savings.

        Ratios whose interval leaves out 1 are bold where lower is meant, and marked ▲ where higher.
        """
        blocks = []
        for section in self.sections:
            marks = [p.budget for p in section.rows[0].curve if p.budget <= section.rows[0].budget]
            heads = [f"gap at {marks[-1]}", *map(str, marks), f"{section.unit} saved"]
            lines = [
                f"**{section.environment}**, {section.rows[0].seeds} seeds, gap over "
                f"{self.reference}'s after so {much(section.unit)}:",
                "",
                "| design | " + " | ".join(heads) + " |",
                "|---|" + "---|" * len(heads),
            ]
            for row in section.rows:
                ratios = {point.budget: point.ratio for point in row.curve}
                cells = [f"{row.gap.value:.4f}", *(_ratio_text(ratios.get(m)) for m in marks)]
                name = row.design if row.rank else f"{row.design} (control)"
                lines.append(f"| {name} | {' | '.join(cells)} | {savings_text(row.savings)} |")
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks) + "\n"

    def to_json(self) -> str:
        """The report as JSON; infinite interval ends are null."""
        return json.dumps(finite(asdict(self)), indent=1, ensure_ascii=False)


def load_report(folder: str | Path) -> Report:
    """Read a run's cells and work out its figures.

    Args:
        folder: of the run; if it was used for several, those of the last one are reported.

    Raises:
        RunError: If it is no run folder, or no cell in it could be played.
    """
    folder = Path(folder)
    try:
        header = json.loads((folder / "run.json").read_text())
        name, reference, keys = (header[key] for key in ("name", "reference", "cells"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{folder} is no run folder: {error}. Give the folder that `pairbench run` named."
        ) from error
    store = Store(folder / "cells")
    records = list(store.records(keys))
    if not records:
        raise RunError(f"{folder} holds no cells yet. Give the command that made it once more.")
    return Report(
        name=name,
        reference=reference,
        sections=[
            _section(label, cells, reference)
            for label, cells in _grouped("environment", [r for _, r in records]).items()
        ],
        failures=[failed_cell(k, r) for k, r in records if r["status"] == "failed"],
        invalid=len(store.keys() & set(keys)) - len(records),
    )


def much(unit: str) -> str:
    """What stands behind "how" or "so": ``"many labels"``, ``"much money"``."""
    return "much money" if unit == "money" else f"many {unit}"


def _grouped(kind: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of successful cells by environment or design, under their labels.

    Where two share a label, one file having been edited between them, the source tells them apart.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record["status"] == "ok":
            groups.setdefault(json.dumps(record["cell"][kind], sort_keys=True), []).append(record)
    labels = [group[0]["labels"][kind] for group in groups.values()]
    named = {}
    for label, group in zip(labels, groups.values(), strict=True):
        source = group[0]["cell"][kind]["source"] or ""
        named[f"{label}@{source[:6]}" if labels.count(label) > 1 else label] = group
    return dict(sorted(named.items()))


def _section(label: str, cells: Sequence[Record], reference: str) -> Section:
    designs = {
        name: {record["cell"]["seed"]: record for record in _longest(group)}
        for name, group in _grouped("design", cells).items()
    }
    curves = {name: _Curve(by_seed) for name, by_seed in designs.items()}
    # The reference reaches further than the others; figures stand where all of them do.
    marks = set.intersection(*(set(curve.budgets) for curve in curves.values()))
    horizon = min(record["cell"]["horizon"] for record in cells)
    budget = max((mark for mark in marks if mark <= horizon), default=0)
    if not budget:
        raise RunError(f"the designs on {label} share no budget. Run them with the same --budgets.")
    shared = sorted(set.intersection(*(set(by_seed) for by_seed in designs.values())))
    ranked = [name for name, curve in curves.items() if not curve.control]
    rank = dict.fromkeys(ranked, 1)
    if shared and ranked:
        gaps = np.array([curves[name].gaps(shared, budget) for name in ranked])
        rank = dict(zip(ranked, stats.ranks(gaps), strict=True))
    rows = [
        _row(name, rank.get(name), curve, budget, curves.get(reference))
        for name, curve in curves.items()
    ]
    any_cell = [record["results"]["start"] for record in cells]
    return Section(
        environment=label,
        floor=float(np.mean([start["floor"] for start in any_cell])),
        start=float(np.mean([start["gap"] for start in any_cell])),
        rows=sorted(rows, key=lambda row: (row.rank or np.inf, row.gap.value)),
        unit=_unit(cells[0]),
    )


def _unit(record: Record) -> str:
    """What the budgets of a cell count."""
    unit: str = record["cell"]["environment"]["params"].get("unit", "labels")
    return unit


class _Curve:
    """The cells of one design on one environment, by seed."""

    def __init__(self, by_seed: dict[int, Record]) -> None:
        self.by_seed = by_seed
        self.seeds = sorted(by_seed)
        schedules = [record["cell"]["budgets"] for record in by_seed.values()]
        self.budgets: list[int] = sorted(set.intersection(*map(set, schedules)))
        self.control = any(record["control"] for record in by_seed.values())

    def figures(self, name: str, seeds: Sequence[int], budget: int) -> Array:
        """A figure of merit of each seed after ``budget`` labels."""
        rounds = [self._round(seed, budget) for seed in seeds]
        return np.array([round_["score"][name] for round_ in rounds], dtype=np.float64)

    def gaps(self, seeds: Sequence[int], budget: int) -> Array:
        return self.figures("gap", seeds, budget)

    def sampled(self, name: str, budget: int) -> Estimate | None:
        """The mean of a figure that was estimated by draws; None where scores are exact."""
        scores = [self._round(seed, budget)["score"].get("sampled") for seed in self.seeds]
        if None in scores:
            return None
        return stats.signed_mean(np.array([score[name]["value"] for score in scores]))

    def labels(self, budget: int) -> float:
        """How many labels were bought up to a budget, on average over seeds."""
        bought = [
            sum(len(r["pairs"]) // 3 for r in record["results"]["rounds"] if r["budget"] <= budget)
            for record in self.by_seed.values()
        ]
        return float(np.mean(bought))

    def spent(self, budget: int) -> float:
        """What had been spent by a budget, in its own unit, on average over seeds."""
        if _unit(next(iter(self.by_seed.values()))) == "labels":
            return self.labels(budget)
        return float(np.mean([self._round(seed, budget)["spent"] for seed in self.seeds]))

    def selection_seconds(self, budget: int) -> float:
        return float(
            np.mean(
                [
                    sum(
                        use["selection"]["seconds"]
                        for use, mark in zip(
                            record["usage"], record["cell"]["budgets"], strict=True
                        )
                        if mark <= budget
                    )
                    for record in self.by_seed.values()
                ]
            )
        )

    def _round(self, seed: int, budget: int) -> dict[str, Any]:
        record = self.by_seed[seed]
        found: dict[str, Any] = record["results"]["rounds"][record["cell"]["budgets"].index(budget)]
        return found


def _row(name: str, rank: int | None, curve: _Curve, budget: int, reference: _Curve | None) -> Row:
    savings = None
    paired = sorted(set(curve.seeds) & set(reference.seeds)) if reference else []
    if reference is not None and paired:
        gaps = curve.gaps(paired, budget)
        marks = reference.budgets
        table = np.stack([reference.gaps(paired, mark) for mark in marks], axis=1)
        if curve is reference:
            savings = Estimate(1.0, 1.0, 1.0)
        elif (spent := curve.spent(budget)) > 0:
            needed = np.array([reference.spent(mark) for mark in marks])
            savings = stats.label_savings(gaps, spent, table, needed)

    def ratio(mark: int) -> Estimate | None:
        if reference is None or not paired or mark not in reference.budgets:
            return None
        return stats.ratio_of_means(curve.gaps(paired, mark), reference.gaps(paired, mark))

    return Row(
        design=name,
        rank=rank,
        seeds=len(curve.seeds),
        budget=budget,
        labels=curve.labels(budget),
        spent=curve.spent(budget),
        gap=stats.mean(curve.gaps(curve.seeds, budget)),
        ratio=ratio(budget),
        savings=savings,
        efficiency=float(curve.figures("design_efficiency", curve.seeds, budget).mean()),
        win_rate=float(curve.figures("win_rate", curve.seeds, budget).mean()),
        selection_seconds=curve.selection_seconds(budget),
        curve=[
            Point(
                mark,
                curve.spent(mark),
                stats.mean(curve.gaps(curve.seeds, mark)),
                ratio(mark),
                curve.sampled("kl", mark),
                curve.sampled("reward", mark),
            )
            for mark in curve.budgets
        ],
    )


def savings_text(savings: Estimate | None) -> str:
    """Label savings with their interval: ``2.0× (1.6 to 2.4)``, ``> 8×`` where beyond reach."""
    if savings is None:
        return "–"
    sign = {"above": "> ", "below": "< ", None: ""}[savings.censored]
    text = f"{sign}{_times(savings.value)}×"
    return text if savings.low == savings.high else f"{text} ({_range(savings)})"


def _ratio_text(ratio: Estimate | None) -> str:
    if ratio is None:
        return "–"
    text = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"**{text}**" if ratio.high < 1 else f"{text} ▲" if ratio.low > 1 else text


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _range(estimate: Estimate) -> str:
    if estimate.low <= 0 and np.isinf(estimate.high):
        return "anything"
    if estimate.censored == "above":
        return f"at least {_times(estimate.low)}"
    if estimate.censored == "below":
        return f"at most {_times(estimate.high)}"
    if np.isinf(estimate.high):
        return f"{_times(estimate.low)} or more"
    return f"{_times(estimate.low)} to {_times(estimate.high)}"


def _longest(records: Sequence[Record]) -> list[Record]:
    """For each seed, the cell of the longest schedule: a design may have been run with several."""
    return sorted(records, key=lambda record: len(record["cell"]["budgets"]))


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
