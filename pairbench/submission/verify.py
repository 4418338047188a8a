"""Verification of bundles: whether their figures can be recomputed and reproduced.

A bundle is *recomputed* if it has exactly the cells that its board requires, and its pairs give the
labels, policies and scores that it claims. It is *reproduced* if, besides, the design chooses those
pairs again in the sandbox, and does as well as claimed on fresh seeds, which nobody knew before.

A bundle that cannot be an entry of its board raises an error on admission
(:mod:`pairbench.submission.admission`); one whose claims are false gets a :class:`Verdict`.
"""

import datetime
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from pairbench._version import __version__
from pairbench.boards.board import board_folder
from pairbench.boards.entry import Verification, read_entry
from pairbench.cells.executors import limit_child_threads
from pairbench.cells.plan import PROTOCOL, Cell
from pairbench.design.registry import design_spec
from pairbench.errors import InvalidParameter, RunError
from pairbench.spec.record import Spec
from pairbench.submission.admission import AdmittedBundle
from pairbench.submission.bundle import BundledCell
from pairbench.submission.recompute import Difference, recompute_cell
from pairbench.submission.reproduce import (
    IsolatedEpisode,
    PredictionInterval,
    derive_generator,
    draw_fresh_seeds,
    last_budget,
    log_gap_ratios,
    prediction_intervals,
    reproduce_cell,
    trusted_gap,
)
from pairbench.submission.sandbox import DEFAULT_LIMITS, Limits
from pairbench.submission.submit import make_slug

Level = Literal["claimed", "recomputed", "reproduced"]
Gaps = dict[str, list[float]]
"""Gaps at the board's last budget by environment, in reward units."""
Progress = Callable[[str, int, int], None]
"""Callback that receives the name of a stage, its finished tasks, and all of its tasks."""

DEFAULT_ANNOUNCED, DEFAULT_FRESH = 2, 5
"""Default numbers of announced and of fresh seeds of each environment to run a design on."""


@dataclass(frozen=True)
class Verdict:
    """Result of verifying a bundle.

    Attributes:
        digest: SHA-256 of the bundle.
        board: name of the board.
        design: label of the design.
        requested_level: level that was to be verified.
        level: level that the bundle reached.
        failure: why the bundle did not reach the requested level; None if it did.
        difference: first difference from the claims, if that is the reason.
        recomputed: number of cells that were recomputed with the claimed results.
        cells: number of cells of the bundle.
        announced: number of announced worlds on which the design chose the claimed pairs; 0 for a
            design that is not declared deterministic.
        fresh: fresh seeds that the design was run on.
        intervals: results on the fresh seeds, by environment.
        secret: SHA-256 of the secret that the fresh seeds were derived from.
        seconds: wall time, in seconds, of verifying this bundle and those verified with it.
    """

    digest: str
    board: str
    design: str
    requested_level: Level
    level: Level
    failure: str | None
    difference: Difference | None
    recomputed: int
    cells: int
    announced: int
    fresh: tuple[int, ...]
    intervals: tuple[PredictionInterval, ...]
    secret: str | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the bundle reached the requested level."""
        return self.failure is None

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as ``pairbench verify --json`` prints it."""
        return {
            "digest": self.digest,
            "board": self.board,
            "design": self.design,
            "asked": self.requested_level,
            "level": self.level,
            "failure": self.failure,
            "difference": None if self.difference is None else self.difference.as_json(),
            "recomputed": self.recomputed,
            "cells": self.cells,
            "announced": self.announced,
            "fresh": self.fresh,
            "ranges": [interval.as_json() for interval in self.intervals],
            "secret": self.secret,
            "seconds": self.seconds,
        }

    def verification(self, date: datetime.date | None = None) -> Verification | None:
        """Summarize the verdict for the entry, None if nothing was confirmed.

        Args:
            date: date of the verification; today if None.
        """
        if self.level == "claimed":
            return None
        return Verification(
            level=self.level,
            date=date or datetime.datetime.now(datetime.UTC).date(),
            pairbench=__version__,
            cells=self.recomputed,
            fresh=self.fresh if self.level == "reproduced" else (),
            secret=self.secret if self.level == "reproduced" else None,
        )


def verify_bundles(
    bundles: Sequence[AdmittedBundle],
    *,
    level: Literal["recomputed", "reproduced"] = "reproduced",
    secret: bytes | None = None,
    jobs: int | None = None,
    cells: int | None = None,
    announced: int | None = DEFAULT_ANNOUNCED,
    fresh: int = DEFAULT_FRESH,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Progress = lambda stage, finished, total: None,
) -> list[Verdict]:
    """Verify bundles: recompute their cells, and run their designs again in the sandbox.

    All bundles share the fresh seeds, so that each world is drawn once for all of them, and the
    reference is played on it once.

    Worker processes are spawned: in a script, call this under ``if __name__ == "__main__":``.

    Args:
        bundles: the bundles.
        level: level to verify.
        secret: bytes that determine which cells and seeds are drawn; random bytes if None. Nobody
            who makes a bundle may know them.
        jobs: number of processes; the number of processor cores if None.
        cells: number of cells of each bundle to recompute, at random; all if None.
        announced: number of announced seeds of each environment to run a design on, at random; all
            if None.
        fresh: number of fresh seeds of each environment to run a design on.
        limits: resource limits of a design.
        on_progress: callback for progress.

    Returns:
        One verdict for each bundle, in their order.

    Raises:
        InvalidParameter: If a number is less than 1.
        MissingData: If an environment lacks its data.
        NoSandbox: If this machine cannot isolate designs.
        RunError: If a worker process is killed.
    """
    start_time = time.perf_counter()
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    for name, number in (
        ("jobs", jobs),
        ("cells", cells),
        ("announced", announced),
        ("fresh", fresh),
    ):
        if number is not None and number < 1:
            raise InvalidParameter(f"{name} must be 1 or more, got {number}.")
    secret = secrets.token_bytes(32) if secret is None else secret
    with _process_pool(jobs) as pool:
        verifier = _Verifier(bundles, level, secret, pool, limits, on_progress)
        verifier.recompute(cells)
        if level == "reproduced":
            verifier.run_announced(announced)
            verifier.run_fresh(fresh)
    seconds = time.perf_counter() - start_time
    return [replace(verdict, seconds=seconds) for verdict in verifier.verdicts]


@dataclass(frozen=True)
class _Task:
    """A cell to compute for a bundle.

    Attributes:
        index: index of the bundle.
        cell: the cell.
        function: function to call with the cell and the arguments.
        arguments: further arguments of the function.
    """

    index: int
    cell: Cell
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    @property
    def world(self) -> tuple[str, int]:
        """Environment and seed, which determine the world."""
        return self.cell.environment.label, self.cell.seed


class _Verifier:
    """Verification of several bundles in progress.

    Attributes:
        bundles: the bundles.
        verdicts: the verdict on each bundle so far.
    """

    def __init__(
        self,
        bundles: Sequence[AdmittedBundle],
        level: Level,
        secret: bytes,
        pool: ProcessPoolExecutor | None,
        limits: Limits,
        on_progress: Progress,
    ) -> None:
        self.bundles, self.pool, self.limits, self.on_progress = bundles, pool, limits, on_progress
        self.secret = secret
        # The draws depend on all bundles: the author of one does not know the others.
        self.digests = " ".join(sorted({bundle.digest for bundle in bundles}))
        self.verdicts = [
            Verdict(
                bundle.digest,
                bundle.board.name,
                bundle.bundle.manifest.design.label,
                level,
                "claimed",
                failure=None,
                difference=None,
                recomputed=0,
                cells=len(bundle.board_cells),
                announced=0,
                fresh=(),
                intervals=(),
                secret=sha256(secret).hexdigest(),
                seconds=0.0,
            )
            for bundle in bundles
        ]

    def recompute(self, number: int | None) -> None:
        """Recompute cells of each bundle, and raise the level of bundles without a difference.

        Args:
            number: number of cells of each bundle, drawn at random; all if None.
        """
        tasks = []
        for i, bundle in enumerate(self.bundles):
            cells = bundle.cells
            if number is not None and number < len(cells):
                rng = self._generator("cells")
                subset = sorted(rng.choice(len(cells), size=number, replace=False))
                cells = [cells[j] for j in subset]
            tasks += [_Task(i, cell.cell, recompute_cell, (claimed,)) for cell, claimed in cells]
        for task, difference in self._results("recomputed", tasks):
            if difference is None:
                count = self.verdicts[task.index].recomputed + 1
                self._update(task.index, recomputed=count)
            else:
                self._update(task.index, failure=str(difference), difference=difference)
        for i in self._passing():
            self._update(i, level="recomputed")

    def run_announced(self, number: int | None) -> None:
        """Run designs on announced seeds, on which they must choose the claimed pairs.

        Args:
            number: number of seeds of each environment, drawn at random; all if None.
        """
        tasks = []
        for i in self._passing():
            bundle = self.bundles[i]
            design = bundle.bundle.manifest.design
            if not bundle.runnable:
                self._update(
                    i,
                    failure=f"the installed {design.name!r} is not the one that was submitted: its "
                    "source or its parameters are others",
                )
            elif design.deterministic:
                rng = self._generator("announced")
                for _, cells in bundle.environments:
                    size = len(cells) if number is None else min(number, len(cells))
                    for j in sorted(rng.choice(len(cells), size=size, replace=False)):
                        cell, claimed = cells[j]
                        arguments = (bundle.design, self.limits, claimed)
                        tasks.append(_Task(i, cell.cell, reproduce_cell, arguments))
        for task, episode in self._results("announced", tasks):
            if episode.failure is not None or episode.difference is not None:
                self._update(
                    task.index,
                    failure=episode.failure or f"run again, {episode.difference}",
                    difference=episode.difference,
                )
            else:
                self._update(task.index, announced=self.verdicts[task.index].announced + 1)

    def run_fresh(self, number: int) -> None:
        """Run designs on fresh seeds, on which they must do as well as claimed.

        Args:
            number: number of seeds of each environment.
        """
        announced = {cell.cell.seed for bundle in self.bundles for cell in bundle.board_cells}
        seeds = draw_fresh_seeds(self._generator("fresh"), number, announced)
        tasks, fresh_cells = [], {}
        for i in self._passing():
            self._update(i, fresh=seeds)
            bundle = self.bundles[i]
            fresh_cells[i] = [
                replace(_truncate_to_horizon(cells[0][0].cell), seed=seed)
                for _, cells in bundle.environments
                for seed in seeds
            ]
            arguments = (bundle.design, self.limits, None)
            tasks += [_Task(i, cell, reproduce_cell, arguments) for cell in fresh_cells[i]]
        gaps: dict[int, Gaps] = {i: {} for i in fresh_cells}
        episode: IsolatedEpisode
        for task, episode in self._results("fresh", tasks):
            if episode.gap is None:
                self._update(task.index, failure=episode.failure)
            else:
                gaps[task.index].setdefault(task.cell.environment.label, []).append(episode.gap)
        reference_gaps = self._reference_gaps({i: fresh_cells[i] for i in self._passing()})
        for i in self._passing():
            self._compare(i, gaps[i], reference_gaps[i])

    def _compare(self, index: int, fresh_gaps: Gaps, reference: tuple[Gaps, Gaps] | None) -> None:
        """Compare the gaps on fresh seeds with what the claimed gaps predict.

        Args:
            index: index of the bundle.
            fresh_gaps: gaps of the design on fresh seeds.
            reference: gaps of the reference on the claimed worlds and on the fresh ones; None if
                the design is the reference itself.
        """
        environments = self.bundles[index].environments
        claimed_gaps = {
            label: [_gap_at_horizon(claimed, cell.horizon) for cell, claimed in cells]
            for label, cells in environments
        }
        seeds = {tuple(claimed.seed for _, claimed in cells) for _, cells in environments}
        claimed_reference, fresh_reference = (None, None) if reference is None else reference
        same_seeds = len(seeds) == 1
        intervals = prediction_intervals(
            log_gap_ratios(claimed_gaps, claimed_reference, same_seeds=same_seeds),
            log_gap_ratios(fresh_gaps, fresh_reference, same_seeds=same_seeds),
        )
        self._update(index, intervals=tuple(intervals))
        missed = next((interval for interval in intervals if not interval.holds), None)
        if missed is None:
            self._update(index, level="reproduced")
            return
        over = "" if reference is None else f" over {self.bundles[index].board.reference}'s"
        self._update(
            index,
            failure=f"{missed.environment}: on seeds that nobody had announced, the log of the gap"
            f"{over} is {missed.mean:.3f}, where the claimed figures predict {missed.low:.3f} to "
            f"{missed.high:.3f}",
        )

    def _reference_gaps(
        self, fresh_cells: Mapping[int, Sequence[Cell]]
    ) -> dict[int, tuple[Gaps, Gaps] | None]:
        """Compute the reference's gaps on the announced and on the fresh worlds of each bundle.

        The gaps on announced worlds are read from the reference's entry, if the board has a usable
        one. A bundle of the reference itself gets None.

        Args:
            fresh_cells: cells on fresh seeds, by index of the bundle.
        """
        cells: dict[int, tuple[list[Cell], list[Cell]]] = {}
        entry_gaps: dict[int, Gaps | None] = {}
        for i, fresh in fresh_cells.items():
            bundle = self.bundles[i]
            reference = design_spec(bundle.board.reference)
            if bundle.board_cells[0].cell.design.identity() == reference.identity():
                continue
            entry_gaps[i] = _reference_entry_gaps(bundle, reference)
            unknown = bundle.board_cells if entry_gaps[i] is None else []
            announced = [
                replace(_truncate_to_horizon(cell.cell), design=reference) for cell in unknown
            ]
            cells[i] = announced, [replace(cell, design=reference) for cell in fresh]
        tasks = {
            cell.key: _Task(i, cell, trusted_gap)
            for i, (announced, fresh) in cells.items()
            for cell in (*announced, *fresh)
        }
        results = self._results("reference", [*tasks.values()])
        gaps = {task.cell.key: gap for task, gap in results}

        def by_environment(cells: Sequence[Cell]) -> Gaps:
            groups: Gaps = {}
            for cell in cells:
                groups.setdefault(cell.environment.label, []).append(gaps[cell.key])
            return groups

        return dict.fromkeys(fresh_cells) | {
            i: (entry_gaps[i] or by_environment(announced), by_environment(fresh))
            for i, (announced, fresh) in cells.items()
        }

    def _passing(self) -> list[int]:
        """List the indices of the bundles that have not failed so far."""
        return [i for i, verdict in enumerate(self.verdicts) if verdict.passed]

    def _update(self, index: int, **fields: Any) -> None:
        """Replace fields of a bundle's verdict."""
        self.verdicts[index] = replace(self.verdicts[index], **fields)

    def _generator(self, purpose: str) -> np.random.Generator:
        """Derive the random generator of a purpose from the secret and all bundles."""
        return derive_generator(self.secret, self.digests, purpose)

    def _results(self, stage: str, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Any]]:
        """Run tasks and yield each with its result.

        The tasks of one world run together in one process, so that the world is drawn once. Results
        of a bundle that has failed are dropped, and no more tasks run once all bundles have failed.

        Args:
            stage: name of the stage, for the progress.
            tasks: the tasks.

        Raises:
            RunError: If a worker process is killed.
        """
        self.on_progress(stage, 0, len(tasks))
        groups: dict[tuple[str, int], list[_Task]] = {}
        for task in tasks:
            groups.setdefault(task.world, []).append(task)
        group_results: Iterator[list[Any]]
        if self.pool is None:
            group_results = map(_run_tasks, groups.values())
        else:
            # Adjacent groups share an environment. Chunks are small, so that all workers are busy.
            size = max(1, min(8, len(groups) // 8))
            group_results = self.pool.map(_run_tasks, groups.values(), chunksize=size)
        finished = 0
        try:
            for group, results in zip(groups.values(), group_results, strict=True):
                finished += len(group)
                self.on_progress(stage, finished, len(tasks))
                for task, result in zip(group, results, strict=True):
                    if self.verdicts[task.index].passed:
                        yield task, result
                if not self._passing():
                    return
        except BrokenProcessPool as error:
            raise RunError(
                "a process of the verifier itself was killed, which is what running out of memory "
                "looks like. Take fewer --jobs."
            ) from error


def _run_tasks(tasks: Sequence[_Task]) -> list[Any]:
    """Run tasks one after the other, in a worker process."""
    return [task.function(task.cell, *task.arguments) for task in tasks]


def _reference_entry_gaps(bundle: AdmittedBundle, reference: Spec) -> Gaps | None:
    """Read the reference's gaps on the announced seeds from its entry.

    Returns:
        The gaps, or None if the board has no entry of the reference, the entry is of another
        version of the board or of the reference, or the bundle changes parameters of the
        environments.
    """
    folder = board_folder(bundle.board.name, bundle.board_root).joinpath("entries")
    file = folder.joinpath(f"{make_slug(reference.label)}.json")
    if bundle.bundle.manifest.changes or not file.is_file():
        return None
    entry = read_entry(file.read_bytes(), file.name)
    design, curves = entry.design, {curve.environment: curve for curve in entry.curves}
    if (entry.board_digest, design.name, design.params) != (
        bundle.board.digest,
        reference.name,
        reference.params,
    ):
        return None
    # An earlier protocol digests sources differently, so that they cannot be compared. The
    # reference computes the same under all protocols.
    if entry.protocol == PROTOCOL and design.source != reference.source:
        return None
    gaps: Gaps = {}
    for cell in bundle.board_cells:
        curve = curves.get(cell.label)
        if curve is None or cell.cell.seed not in curve.seeds:
            return None
        row = curve.gaps[curve.seeds.index(cell.cell.seed)]
        gaps.setdefault(cell.label, []).append(row[curve.budgets.index(cell.horizon)])
    return gaps


@contextmanager
def _process_pool(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Start worker processes of one thread each; yield None for a single job."""
    if jobs < 2:
        yield None
        return
    with limit_child_threads():
        pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        try:
            yield pool
        finally:  # cancel the remaining tasks, also after an error
            pool.shutdown(cancel_futures=True)


def _truncate_to_horizon(cell: Cell) -> Cell:
    """Remove a cell's budgets beyond the board's last one, which only the reference has."""
    return replace(cell, budgets=tuple(b for b in cell.budgets if b <= last_budget(cell)))


def _gap_at_horizon(cell: BundledCell, horizon: int) -> float:
    """Return the claimed gap at the board's last budget, in reward units."""
    return float(next(r.score["gap"] for r in cell.rounds if r.budget == horizon))
