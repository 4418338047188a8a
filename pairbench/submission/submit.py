"""Submissions: the bundle of one design's cells from a run of a board, and its entry."""

import datetime
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairbench.boards.board import Board
from pairbench.boards.entry import BoardEntry, round_figure
from pairbench.boards.strict import validate_model
from pairbench.cells.plan import PROTOCOL, Cell
from pairbench.cells.store import CellRecord, Store
from pairbench.design.registry import (
    design_details,
    design_spec,
    make_design,
    third_party_parts,
)
from pairbench.errors import InvalidCell, InvalidSubmission
from pairbench.spec.loading import iter_modules, location
from pairbench.spec.record import Spec
from pairbench.spec.text import parse_spec
from pairbench.submission.bundle import Bundle, BundledCell, PackedBundle, pack_bundle
from pairbench.view.budget import budget_unit


@dataclass(frozen=True)
class BoardCell:
    """A cell that an entry of a board must have.

    Attributes:
        cell: the cell to play.
        label: label of its environment.
        unit: unit of its budgets, ``"labels"`` or ``"money"``.
        horizon: last budget of the board in this environment, in ``unit``.
    """

    cell: Cell
    label: str
    unit: str
    horizon: int


@dataclass(frozen=True)
class Submission:
    """A bundle and the entry that follows from it.

    Attributes:
        bundle: cells of the design, with all pairs.
        packed: file content and digest of the bundle.
        entry: figures of the design, for the board.
        remarks: notes for the author to read before sending the submission.
    """

    bundle: Bundle
    packed: PackedBundle
    entry: BoardEntry
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Provenance:
    """Software and machine that computed the cells.

    Attributes:
        versions: versions of Python, pairbench and the packages that it computes with.
        host: the machine, as :mod:`pairbench.cells` records it.
        git: fields of the manifest about the checkout: ``dirty``, and ``commit`` if it is unique.
    """

    versions: dict[str, str]
    host: dict[str, Any]
    git: dict[str, Any]


def board_cells(
    board: Board, design: Spec, changes: Mapping[str, Any] | None = None, *, testing: bool = False
) -> list[BoardCell]:
    """List the cells that an entry must have, in the board's order.

    Args:
        board: the board.
        design: design of the entry; the board's reference is also played beyond the last budget.
        changes: parameters that an open entry changes.
        testing: list only the small part of the board that is played in seconds.

    Raises:
        InvalidParameter: If the board does not leave the changes open.
        MissingData: If an environment lacks its data.
    """
    groups, _ = board.run_spec(testing=testing, changes=changes).resolve_environments()
    reference = design.identity() == design_spec(board.reference).identity()
    return [
        BoardCell(
            group.cell(design, seed, reference=reference),
            group.environment.label,
            budget_unit(group.environment.params),
            group.budgets[-1],
        )
        for group in groups
        for seed in group.seeds
    ]


def make_submission(
    board: Board,
    run_folder: Path,
    design: str,
    *,
    author: str,
    link: str,
    changes: Mapping[str, Any] | None = None,
    deterministic: bool = True,
    date: datetime.date | None = None,
) -> Submission:
    """Bundle a design's cells from a run, and compute the entry.

    Args:
        board: a published board.
        run_folder: folder that `pairbench run` wrote the cells into.
        design: spec of the design, as in the run.
        author: name of a person or a group.
        link: address of a page about the design.
        changes: parameters of the environments that an open entry changes.
        deterministic: whether the same seed gives the same pairs.
        date: date of the submission; today if None.

    Raises:
        InvalidSubmission: If the board takes no entries, a cell is missing, failed or invalid, the
            cells were computed by several versions, or a field of the manifest is invalid.
    """
    changes = dict(changes or {})
    if board.published is None:
        raise InvalidSubmission(
            f"board {board.name!r} is a study and takes no entries; `pairbench boards` lists those "
            "that do, whose names end in a version."
        )
    spec = design_spec(design)
    source = _source(design, spec)
    required = board_cells(board, spec, changes)
    records = _read_records(board, run_folder, design, required, changes)
    provenance = _provenance(records)
    manifest = {
        "protocol": PROTOCOL,
        "board": board.name,
        "board_digest": board.digest,
        "division": "open" if changes else "closed",
        "changes": changes,
        "design": _design_fields(design, spec, changes, deterministic),
        "author": author,
        "link": link,
        "date": (date or datetime.datetime.now(datetime.UTC).date()).isoformat(),
        "versions": provenance.versions,
        "machine": f"{provenance.host['platform']}, {provenance.host['cores']} cores",
        **provenance.git,
    }
    cells = [_cell_fields(cell, record) for cell, record in zip(required, records, strict=True)]
    content = {"format": 1, "manifest": manifest, "source": source, "cells": cells}
    bundle = validate_model(Bundle, content, "the submission")
    packed = pack_bundle(bundle)
    return Submission(bundle, packed, entry_from_bundle(bundle, packed.digest), _remarks(manifest))


def entry_from_bundle(bundle: Bundle, digest: str) -> BoardEntry:
    """Compute the entry of a bundle, at level ``"claimed"``.

    Args:
        bundle: the bundle.
        digest: SHA-256 of the bundle.

    Raises:
        InvalidSubmission: If the cells of an environment have different budgets, or a score is
            missing or not a number.
    """
    groups: dict[str, list[BundledCell]] = {}
    for cell in bundle.cells:
        groups.setdefault(cell.environment, []).append(cell)
    content = {
        **bundle.manifest.model_dump(mode="json"),
        "bundle": digest,
        "curves": [_curve(label, cells) for label, cells in groups.items()],
    }
    return validate_model(BoardEntry, content, "the entry")


def make_slug(label: str, changes: Mapping[str, Any] | None = None) -> str:
    """Turn a design's label into a part of a file name.

    For example, ``"my_design.py(a=2)"`` becomes ``"my-design-a-2"``.

    Args:
        label: label of the design.
        changes: parameters that an open entry changes, which the slug names, too.
    """
    plain_label = label.replace(".py", "", 1)
    suffix = "".join(f" {name} {value}" for name, value in sorted((changes or {}).items()))
    text = unicodedata.normalize("NFKD", f"{plain_label}{' open' if suffix else ''}{suffix}")
    text = "".join(c for c in text.lower() if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:64].strip("-") or "design"


def _design_fields(
    design: str, spec: Spec, changes: Mapping[str, Any], deterministic: bool
) -> dict[str, Any]:
    """Describe a design for the manifest, as JSON; see ``SubmittedDesign``."""
    details = design_details(parse_spec(design)[0])
    return {
        "name": spec.name,
        "params": spec.params,
        "source": spec.source,
        "label": _single_line(spec.label),
        "slug": make_slug(spec.label, changes),
        "control": spec.control,
        "deterministic": deterministic,
        "family": details["family"],
        "summary": _single_line(details["summary"])[:2000],
        "citation": details["source"] and _single_line(details["source"])[:2000],
    }


def _cell_fields(cell: BoardCell, record: CellRecord) -> dict[str, Any]:
    """Convert a cell's record to the JSON of bundles; see :class:`BundledCell`."""
    return {
        "key": cell.cell.key,
        "environment": cell.label,
        "unit": cell.unit,
        "seed": cell.cell.seed,
        "horizon": cell.horizon,
        "start": record["results"]["start"],
        "rounds": record["results"]["rounds"],
        "selection": [usage["selection"] for usage in record["usage"]],
    }


def _curve(label: str, cells: Sequence[BundledCell]) -> dict[str, Any]:
    """Summarize the cells of one environment, as JSON; see :class:`pairbench.boards.entry.Curve`.

    Raises:
        InvalidSubmission: If the cells have different budgets, or a score is not a number.
    """
    budgets = _common_budgets(label, cells)
    horizon, unit = cells[0].horizon, cells[0].unit
    try:
        end = budgets.index(horizon)
        gaps = [[float(r.score["gap"]) for r in cell.rounds] for cell in cells]
        first_scores = [cell.start for cell in cells]
        final_scores = [cell.rounds[end].score for cell in cells]
        efficiency = _mean_score(final_scores, "design_efficiency")
        win_rate = _mean_score(final_scores, "win_rate")
        first_gap, floor = _mean_score(first_scores, "gap"), _mean_score(first_scores, "floor")
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidSubmission(f"{label}: a score is not what it must be: {error!r}.") from None
    seconds = [sum(usage.seconds for usage in cell.selection[: end + 1]) for cell in cells]
    peaks = [usage.peak_bytes for cell in cells for usage in cell.selection[: end + 1]]
    measured_peaks = [peak for peak in peaks if peak is not None]
    return {
        "environment": label,
        "unit": unit,
        "budgets": budgets,
        "seeds": [cell.seed for cell in cells],
        "gaps": [[round_figure(gap) for gap in row] for row in gaps],
        "spent": [round_figure(value) for value in _mean_spent(cells)],
        "start": round_figure(first_gap),
        "floor": round_figure(floor),
        "efficiency": round_figure(efficiency),
        "win_rate": round_figure(win_rate),
        "seconds": round_figure(float(np.mean(seconds))),
        "memory": max(measured_peaks) if measured_peaks else None,
    }


def _common_budgets(label: str, cells: Sequence[BundledCell]) -> list[int]:
    """Return the budgets of the cells of one environment, which must be the same in all of them."""
    first = cells[0]
    budgets = [r.budget for r in first.rounds]
    for cell in cells:
        same_unit = (cell.unit, cell.horizon) == (first.unit, first.horizon)
        if not same_unit or [r.budget for r in cell.rounds] != budgets:
            raise InvalidSubmission(
                f"{label}: the cells of seeds {first.seed} and {cell.seed} have other budgets."
            )
    return budgets


def _mean_score(scores: Sequence[Mapping[str, Any]], name: str) -> float:
    """Average one figure of several scores."""
    return float(np.mean([float(score[name]) for score in scores]))


def _mean_spent(cells: Sequence[BundledCell]) -> list[float]:
    """Average over seeds the labels or money spent by each budget, ``(b,)``."""
    if cells[0].unit == "labels":
        counts = [[len(r.labels) for r in cell.rounds] for cell in cells]
        spent = np.array(counts).cumsum(axis=1)
    else:
        spent = np.array([[r.spent for r in cell.rounds] for cell in cells])
    means: list[float] = spent.mean(axis=0).tolist()
    return means


def _source(design: str, spec: Spec) -> str | None:
    """Read the source of a design's file; None if the design ships with pairbench."""
    name, params = parse_spec(design)
    if parts := third_party_parts(name, make_design(name, **params)):
        raise InvalidSubmission(
            f"design {spec.label!r} uses {', '.join(parts)}, which a verifier does not have: a "
            "bundle holds the design's own file and nothing else. Define it in that file, run it "
            "and submit that."
        )
    file_spec = location(name)
    if file_spec is None:
        installed = {module.name.replace("_", "-") for module in iter_modules("pairbench.designs")}
        if spec.name not in installed:
            raise InvalidSubmission(
                f"design {spec.name!r} is neither pairbench's own nor a file. Put it into a file, "
                "and run and submit that: --design my_design.py"
            )
        return None
    path = Path(file_spec.partition(".py:")[0].removesuffix(".py") + ".py")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSubmission(f"{path.name} is not UTF-8: {error}.") from error


def _read_records(
    board: Board,
    run_folder: Path,
    design: str,
    required: Sequence[BoardCell],
    changes: Mapping[str, Any],
) -> list[CellRecord]:
    """Read the record of each cell.

    Raises:
        InvalidSubmission: If a record is missing, invalid, or of a failed cell. The message counts
            all faults, and names the command that completes the run.
    """
    store = Store(run_folder / "cells")
    if not store.folder.is_dir():
        raise InvalidSubmission(
            f"{run_folder} is no run folder. `{_run_command(board, design, changes, run_folder)}` "
            "makes one."
        )
    records: list[CellRecord] = []
    faults: Counter[str] = Counter()
    for cell in required:
        try:
            record = store.read(cell.cell.key)
        except InvalidCell:
            faults["not valid"] += 1
            continue
        if record is None:
            faults["missing"] += 1
        elif record["status"] != "ok":
            faults["failed"] += 1
        else:
            records.append(record)
    if not faults:
        return records
    counts = ", ".join(f"{count} {fault}" for fault, count in faults.items())
    retry = " --retry-failed" * ("failed" in faults)
    raise InvalidSubmission(
        f"of the {len(required)} cells that {board.name!r} asks of {design!r}, {counts} in "
        f"{run_folder}.{_other_cells_hint(store, required, board)} This completes them: "
        f"{_run_command(board, design, changes, run_folder)}{retry}"
    )


def _other_cells_hint(store: Store, required: Sequence[BoardCell], board: Board) -> str:
    """Name the seeds of the design's other cells in the run, which may explain missing ones."""
    required_keys = {cell.cell.key for cell in required}
    design = required[0].cell.design.identity()
    seeds = {
        record["cell"]["seed"]
        for key, record in store.records()
        if key not in required_keys and record["cell"]["design"]["name"] == design["name"]
    }
    if not seeds:
        return ""
    return (
        f" It holds other cells of the design, of the seeds {_seed_range(seeds)}, the board's "
        f"being {_seed_range(set(board.seeds))}: played with other seeds, budgets, parameters, "
        "another board or another source."
    )


def _seed_range(seeds: set[int]) -> str:
    """Format the least and the greatest seed."""
    low, high = min(seeds), max(seeds)
    return str(low) if low == high else f"{low} to {high}"


def _run_command(board: Board, design: str, changes: Mapping[str, Any], folder: Path) -> str:
    """Format the command that runs a design on a board."""
    options = "".join(f" --change {name}={value}" for name, value in changes.items())
    return f"pairbench run {board.name} --design {design!r}{options} --out {folder}"


def _provenance(records: Sequence[CellRecord]) -> _Provenance:
    """Combine the provenance of all records.

    Raises:
        InvalidSubmission: If they were computed by different versions of packages.
    """
    first = records[0]["made"]
    versions = {name: first["versions"][name] for name in sorted(first["versions"])}
    for record in records:
        if record["made"]["versions"] != first["versions"]:
            raise InvalidSubmission(
                "the cells were made by different versions of Python or of packages. Run them "
                "again in a fresh folder with one of them."
            )
    states = [record["made"]["git"] or {"commit": None, "dirty": False} for record in records]
    commits = {state["commit"] for state in states}
    git = {"dirty": len(commits) > 1 or any(state["dirty"] for state in states)}
    if len(commits) == 1 and (commit := commits.pop()) is not None:
        git["commit"] = commit
    return _Provenance(versions, first["host"], git)


def _remarks(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """List what the author should know before sending the submission."""
    remarks = []
    if manifest["dirty"]:
        remarks.append(
            "the checkout that played the cells had changes that were not committed, or changed "
            "in between; the entry says so."
        )
    if manifest["design"]["control"]:
        remarks.append("the design is shown the truth: it is listed as a control, never ranked.")
    return tuple(remarks)


def _single_line(text: str) -> str:
    """Normalize text to NFC, replace unprintable characters, and collapse whitespace."""
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(printable.split())
