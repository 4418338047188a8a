"""A run of a board as a submission: the bundle of one design's cells, and its entry."""

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
from pairbench.design.registry import design_details, design_spec
from pairbench.errors import InvalidCell, InvalidSubmission
from pairbench.spec.loading import iter_modules, location
from pairbench.spec.record import Spec
from pairbench.spec.text import parse_spec
from pairbench.submission.bundle import Bundle, BundledCell, Packed, packed
from pairbench.view.budget import budget_unit


@dataclass(frozen=True)
class BoardCell:
    """A cell that an entry of a board must have.

    Attributes:
        cell: what is played.
        label: the environment's.
        unit: what its budgets count.
        horizon: the board's last budget there.
    """

    cell: Cell
    label: str
    unit: str
    horizon: int


@dataclass(frozen=True)
class Submission:
    """What is sent.

    Attributes:
        bundle: with all pairs.
        packed: its file and digest.
        entry: the figures, for the board.
        remarks: what the author should know before sending it.
    """

    bundle: Bundle
    packed: Packed
    entry: BoardEntry
    remarks: tuple[str, ...]


def board_cells(
    board: Board, design: Spec, changes: Mapping[str, Any] | None = None, *, testing: bool = False
) -> list[BoardCell]:
    """The cells that an entry must have, in the board's order.

    Args:
        board: the board.
        design: whose entry it is; the board's reference is played beyond the last budget.
        changes: parameters that an open entry changes.
        testing: only the part that is played in seconds.

    Raises:
        InvalidParameter: If the board does not leave the changes open.
        MissingData: If an environment lacks its data.
    """
    worlds, _ = board.run_spec(testing=testing, changes=changes).resolve_environments()
    reference = design.identity() == design_spec(board.reference).identity()
    return [
        BoardCell(
            group.cell(design, seed, reference=reference),
            group.environment.label,
            budget_unit(group.environment.params),
            group.budgets[-1],
        )
        for group in worlds
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
    """Gather a design's cells from a run, and say what they come to.

    Args:
        board: a published board.
        run_folder: where `pairbench run` put the cells.
        design: as it was run.
        author: a person or a group.
        link: where to read more.
        changes: parameters of the environments that an open entry changes.
        deterministic: whether the same seed gives the same pairs.
        date: of the submission; today if None.

    Raises:
        InvalidSubmission: If the board takes no entries, a cell is missing, failed or invalid, the
            cells were made by several versions, or what is said of them cannot be.
    """
    changes = dict(changes or {})
    if board.published is None:
        raise InvalidSubmission(
            f"board {board.name!r} is a study and takes no entries; `pairbench boards` lists those "
            "that do, whose names end in a version."
        )
    spec = design_spec(design)
    source = _source(design, spec)
    planned = board_cells(board, spec, changes)
    records = _records(board, run_folder, design, planned, changes)
    made = _made(records)
    details = design_details(parse_spec(design)[0])
    host = made["host"]
    manifest = {
        "protocol": PROTOCOL,
        "board": board.name,
        "board_digest": board.digest,
        "division": "open" if changes else "closed",
        "changes": changes,
        "design": {
            "name": spec.name,
            "params": spec.params,
            "source": spec.source,
            "label": _one_line(spec.label),
            "slug": slug(spec.label, changes),
            "control": spec.control,
            "deterministic": deterministic,
            "family": details["family"],
            "summary": _one_line(details["summary"])[:2000],
            "citation": details["source"] and _one_line(details["source"])[:2000],
        },
        "author": author,
        "link": link,
        "date": (date or datetime.datetime.now(datetime.UTC).date()).isoformat(),
        "versions": made["versions"],
        "machine": f"{host['platform']}, {host['cores']} cores",
        **made["git"],
    }
    cells = [bundled(one, record) for one, record in zip(planned, records, strict=True)]
    content = {"format": 1, "manifest": manifest, "source": source, "cells": cells}
    bundle = validate_model(Bundle, content, "the submission")
    found = packed(bundle)
    return Submission(bundle, found, entry_of(bundle, found.digest), _remarks(manifest))


def bundled(planned: BoardCell, record: CellRecord) -> dict[str, Any]:
    """A cell's record as bundles have it, as JSON; see :class:`BundledCell`."""
    return {
        "key": planned.cell.key,
        "environment": planned.label,
        "unit": planned.unit,
        "seed": planned.cell.seed,
        "horizon": planned.horizon,
        "start": record["results"]["start"],
        "rounds": record["results"]["rounds"],
        "selection": [use["selection"] for use in record["usage"]],
    }


def entry_of(bundle: Bundle, digest: str) -> BoardEntry:
    """The entry that a bundle comes to, claimed and not yet verified.

    Args:
        bundle: the cells.
        digest: the bundle's.

    Raises:
        InvalidSubmission: If cells of one environment do not go together.
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


def slug(label: str, changes: Mapping[str, Any] | None = None) -> str:
    """A design's label as part of a file's name: ``"my_design.py(a=2)"`` is ``my-design-a-2``."""
    plain = label.replace(".py", "", 1)
    told = "".join(f" {name} {value}" for name, value in sorted((changes or {}).items()))
    text = unicodedata.normalize("NFKD", f"{plain}{' open' if told else ''}{told}").lower()
    text = "".join(c for c in text if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:64].strip("-") or "design"


def _curve(label: str, cells: Sequence[BundledCell]) -> dict[str, Any]:
    """What cells of one environment come to, as JSON; see :class:`Curve`."""
    first = cells[0]
    budgets = [round_.budget for round_ in first.rounds]
    for cell in cells:
        same = (cell.unit, cell.horizon) == (first.unit, first.horizon)
        if not same or [round_.budget for round_ in cell.rounds] != budgets:
            raise InvalidSubmission(
                f"{label}: the cells of seeds {first.seed} and {cell.seed} have other budgets."
            )
    try:
        at = budgets.index(first.horizon)
        gaps = [[float(r.score["gap"]) for r in cell.rounds] for cell in cells]
        ends = [cell.rounds[at].score for cell in cells]
        efficiency, win_rate = (
            float(np.mean([float(end[name]) for end in ends]))
            for name in ("design_efficiency", "win_rate")
        )
        start, floor = (
            float(np.mean([float(cell.start[name]) for cell in cells])) for name in ("gap", "floor")
        )
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidSubmission(f"{label}: a score is not what it must be: {error!r}.") from None
    labels = np.array([[len(r.labels) for r in cell.rounds] for cell in cells]).cumsum(axis=1)
    money = np.array([[r.spent for r in cell.rounds] for cell in cells])
    spent = (labels if first.unit == "labels" else money).mean(axis=0)
    seconds = [sum(use.seconds for use in cell.selection[: at + 1]) for cell in cells]
    peaks = [use.peak_bytes for cell in cells for use in cell.selection[: at + 1]]
    known = [peak for peak in peaks if peak is not None]
    return {
        "environment": label,
        "unit": first.unit,
        "budgets": budgets,
        "seeds": [cell.seed for cell in cells],
        "gaps": [[round_figure(gap) for gap in row] for row in gaps],
        "spent": [round_figure(value) for value in spent.tolist()],
        "start": round_figure(start),
        "floor": round_figure(floor),
        "efficiency": round_figure(efficiency),
        "win_rate": round_figure(win_rate),
        "seconds": round_figure(float(np.mean(seconds))),
        "memory": max(known) if known else None,
    }


def _source(design: str, spec: Spec) -> str | None:
    """The text of a design's file; None where it ships with pairbench."""
    place = location(parse_spec(design)[0])
    if place is None:
        own = {module.name.replace("_", "-") for module in iter_modules("pairbench.designs")}
        if spec.name not in own:
            raise InvalidSubmission(
                f"design {spec.name!r} is neither pairbench's own nor a file. Put it into a file, "
                "and run and submit that: --design my_design.py"
            )
        return None
    path = Path(place.partition(".py:")[0].removesuffix(".py") + ".py")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSubmission(f"{path.name} is not UTF-8: {error}.") from error


def _records(
    board: Board,
    run_folder: Path,
    design: str,
    planned: Sequence[BoardCell],
    changes: Mapping[str, Any],
) -> list[CellRecord]:
    """The record of each cell, or all that is wrong at once, and what to do about it."""
    store = Store(run_folder / "cells")
    if not store.folder.is_dir():
        raise InvalidSubmission(
            f"{run_folder} is no run folder. `{_command(board, design, changes, run_folder)}` "
            "makes one."
        )
    found: list[CellRecord] = []
    faults: Counter[str] = Counter()
    for one in planned:
        try:
            record = store.read(one.cell.key)
        except InvalidCell:
            faults["not valid"] += 1
            continue
        if record is None:
            faults["missing"] += 1
        elif record["status"] != "ok":
            faults["failed"] += 1
        else:
            found.append(record)
    if not faults:
        return found
    counts = ", ".join(f"{count} {fault}" for fault, count in faults.items())
    retry = " --retry-failed" * ("failed" in faults)
    raise InvalidSubmission(
        f"of the {len(planned)} cells that {board.name!r} asks of {design!r}, {counts} in "
        f"{run_folder}.{_others(store, planned, board)} This completes them: "
        f"{_command(board, design, changes, run_folder)}{retry}"
    )


def _others(store: Store, planned: Sequence[BoardCell], board: Board) -> str:
    """What the folder holds of the design beside the board's cells, where that may be why."""
    wanted = {one.cell.key for one in planned}
    design = planned[0].cell.design.identity()
    seeds = {
        record["cell"]["seed"]
        for key, record in store.records()
        if key not in wanted and record["cell"]["design"]["name"] == design["name"]
    }
    if not seeds:
        return ""
    return (
        f" It holds other cells of the design, of the seeds {_spans(seeds)}, the board's being "
        f"{_spans(set(board.seeds))}: played with other seeds, budgets, parameters, another board "
        "or another source."
    )


def _spans(seeds: set[int]) -> str:
    low, high = min(seeds), max(seeds)
    return str(low) if low == high else f"{low} to {high}"


def _command(board: Board, design: str, changes: Mapping[str, Any], folder: Path) -> str:
    told = "".join(f" --change {name}={value}" for name, value in changes.items())
    return f"pairbench run {board.name} --design {design!r}{told} --out {folder}"


def _made(records: Sequence[CellRecord]) -> dict[str, Any]:
    """Where the records come from: one answer, or none where they do not agree."""
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
    return {"versions": versions, "host": first["host"], "git": git}


def _remarks(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    if manifest["dirty"]:
        found.append(
            "the checkout that played the cells had changes that were not committed, or changed "
            "in between; the entry says so."
        )
    if manifest["design"]["control"]:
        found.append("the design is shown the truth: it is listed as a control, never ranked.")
    return tuple(found)


def _one_line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(printable.split())
