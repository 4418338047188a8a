"""``pairbench verify``: what a bundle's figures are worth.

*Recomputed* means that the bundle holds exactly the cells that its board asks for, and that the
pairs in it give the labels, policies and scores that it claims. *Reproduced* means that the design
besides chose those pairs when it was run again in isolation, and did as well as claimed on seeds
that nobody had announced. What cannot be an entry of the board raises; what computing shows is a
verdict.
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
from pairbench.submission.admission import Admitted
from pairbench.submission.bundle import BundledCell
from pairbench.submission.recompute import Difference, recomputed
from pairbench.submission.reproduce import (
    Range,
    drawn_stream,
    fresh_seeds,
    last_budget,
    log_ratios,
    played_here,
    prediction,
    reproduced,
)
from pairbench.submission.sandbox import USUAL, Limits
from pairbench.submission.submit import slug

Level = Literal["claimed", "recomputed", "reproduced"]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

ANNOUNCED, FRESH = 2, 5
"""Seeds of each environment that a design is run on again, unless told otherwise."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a bundle.

    Attributes:
        digest: the bundle's.
        board: the board's name.
        design: the design's label.
        asked: the level that was asked for.
        level: the level that was reached.
        failure: why it is not the one that was asked for; None if it is.
        difference: the first thing that was otherwise than claimed, where that is why.
        recomputed: how many cells were computed again.
        cells: how many there are.
        announced: on how many announced worlds the design chose what was claimed; 0 for a design
            that does not say that it is deterministic.
        fresh: the seeds that nobody had announced.
        ranges: what they gave, by environment.
        secret: SHA-256 of the secret that they were drawn from.
        seconds: what it took, with those that were verified together.
    """

    digest: str
    board: str
    design: str
    asked: Level
    level: Level
    failure: str | None
    difference: Difference | None
    recomputed: int
    cells: int
    announced: int
    fresh: tuple[int, ...]
    ranges: tuple[Range, ...]
    secret: str | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it is what was asked for."""
        return self.failure is None

    def verification(self, date: datetime.date | None = None) -> Verification | None:
        """What an entry says of it, None where nothing is confirmed.

        Args:
            date: of the verification; today if None.
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
    bundles: Sequence[Admitted],
    *,
    level: Literal["recomputed", "reproduced"] = "reproduced",
    secret: bytes | None = None,
    jobs: int | None = None,
    cells: int | None = None,
    announced: int | None = ANNOUNCED,
    fresh: int = FRESH,
    limits: Limits = USUAL,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Verdict]:
    """Find out what bundles are worth.

    Those that are verified together are run on the same fresh seeds, so that each world is drawn
    once for all of them, and the reference is played on it once.

    Worker processes are spawned: in a script, call this under ``if __name__ == "__main__":``.

    Args:
        bundles: what is verified.
        level: how far to go.
        secret: what cells and seeds are drawn from; a random one if None. Whoever makes a bundle
            must not know it.
        jobs: number of processes; the machine's cores if None.
        cells: how many cells of each to compute again, drawn from the secret; all if None.
        announced: on how many announced seeds of each environment a design is run; all if None.
        fresh: on how many others.
        limits: what a design may take.
        on_progress: told how far it is.

    Returns:
        A verdict on each, in their order.

    Raises:
        InvalidParameter: If a number cannot be.
        MissingData: If an environment lacks its data.
        NoSandbox: If designs cannot be isolated on this machine.
        RunError: If a process of the verifier is killed.
    """
    start = time.perf_counter()
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    for what, number in (
        ("jobs", jobs),
        ("cells", cells),
        ("announced", announced),
        ("fresh", fresh),
    ):
        if number is not None and number < 1:
            raise InvalidParameter(f"{what} must be 1 or more, got {number}.")
    secret = secrets.token_bytes(32) if secret is None else secret
    with _processes(jobs) as pool:
        work = _Work(bundles, level, secret, pool, limits, on_progress)
        work.recompute(cells)
        if level == "reproduced":
            work.run_announced(announced)
            work.run_fresh(fresh)
    seconds = time.perf_counter() - start
    return [replace(verdict, seconds=seconds) for verdict in work.verdicts]


@dataclass(frozen=True)
class _Task:
    """Something to be played for a bundle.

    Attributes:
        bundle: its place among the bundles.
        cell: on which world.
        function: what is done, of the cell and the arguments.
        arguments: the rest of them.
    """

    bundle: int
    cell: Cell
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    @property
    def world(self) -> tuple[str, int]:
        """What is drawn for it."""
        return self.cell.environment.label, self.cell.seed


class _Work:
    """Bundles, what is known of them so far, and all that is needed to find out more."""

    def __init__(
        self,
        bundles: Sequence[Admitted],
        level: Level,
        secret: bytes,
        pool: ProcessPoolExecutor | None,
        limits: Limits,
        on_progress: Progress,
    ) -> None:
        self.bundles, self.pool, self.limits, self.on_progress = bundles, pool, limits, on_progress
        self.secret = secret
        # No bundle's maker knows those that it will be verified with.
        self.digests = " ".join(sorted({one.digest for one in bundles}))
        self.verdicts = [
            Verdict(
                one.digest,
                one.board.name,
                one.bundle.manifest.design.label,
                level,
                "claimed",
                failure=None,
                difference=None,
                recomputed=0,
                cells=len(one.planned),
                announced=0,
                fresh=(),
                ranges=(),
                secret=sha256(secret).hexdigest(),
                seconds=0.0,
            )
            for one in bundles
        ]

    def recompute(self, number: int | None) -> None:
        """Compute cells again; all of a bundle's, or some that are drawn."""
        tasks = []
        for place, one in enumerate(self.bundles):
            both = one.cells
            if number is not None and number < len(both):
                rng = self._drawn("cells")
                both = [both[i] for i in sorted(rng.choice(len(both), size=number, replace=False))]
            tasks += [_Task(place, asked.cell, recomputed, (claimed,)) for asked, claimed in both]
        for task, difference in self._played("recomputed", tasks):
            if difference is None:
                done = self.verdicts[task.bundle].recomputed + 1
                self._note(task.bundle, recomputed=done)
            else:
                self._note(task.bundle, failure=str(difference), difference=difference)
        for place in self._standing():
            self._note(place, level="recomputed")

    def run_announced(self, number: int | None) -> None:
        """Run designs on announced seeds, where they must choose what is claimed."""
        tasks = []
        for place in self._standing():
            one = self.bundles[place]
            said = one.bundle.manifest.design
            if not one.runnable:
                self._note(
                    place,
                    failure=f"the installed {said.name!r} is not the one that was submitted: its "
                    "source or its parameters are others",
                )
            elif said.deterministic:
                rng = self._drawn("announced")
                for _, group in one.environments:
                    size = len(group) if number is None else min(number, len(group))
                    for i in sorted(rng.choice(len(group), size=size, replace=False)):
                        asked, claimed = group[i]
                        how = (one.design, self.limits, claimed)
                        tasks.append(_Task(place, asked.cell, reproduced, how))
        for task, played in self._played("announced", tasks):
            if played.failure is not None or played.difference is not None:
                self._note(
                    task.bundle,
                    failure=played.failure or f"run again, {played.difference}",
                    difference=played.difference,
                )
            else:
                self._note(task.bundle, announced=self.verdicts[task.bundle].announced + 1)

    def run_fresh(self, number: int) -> None:
        """Run designs on seeds that nobody knew, where they must do as well as is claimed."""
        known = {asked.cell.seed for one in self.bundles for asked in one.planned}
        seeds = fresh_seeds(self._drawn("fresh"), number, known)
        tasks, worlds = [], {}
        for place in self._standing():
            self._note(place, fresh=seeds)
            one = self.bundles[place]
            worlds[place] = [
                replace(_to_the_end(group[0][0].cell), seed=seed)
                for _, group in one.environments
                for seed in seeds
            ]
            how = (one.design, self.limits, None)
            tasks += [_Task(place, cell, reproduced, how) for cell in worlds[place]]
        found: dict[int, dict[str, list[float]]] = {place: {} for place in worlds}
        for task, played in self._played("fresh", tasks):
            if played.gap is None:
                self._note(task.bundle, failure=played.failure)
            else:
                found[task.bundle].setdefault(task.cell.environment.label, []).append(played.gap)
        beside = self._references({place: worlds[place] for place in self._standing()})
        for place in self._standing():
            self._compare(place, found[place], beside[place])

    def _compare(
        self,
        place: int,
        found: Mapping[str, Sequence[float]],
        beside: tuple[Mapping[str, Sequence[float]], Mapping[str, Sequence[float]]] | None,
    ) -> None:
        """Hold what fresh seeds gave against what is claimed.

        Args:
            place: of the bundle.
            found: gaps on fresh seeds, by environment.
            beside: the reference's gaps on the claimed worlds and on the fresh ones; None for the
                reference itself.
        """
        groups = self.bundles[place].environments
        claims = {
            label: [_gap(claimed, asked.horizon) for asked, claimed in group]
            for label, group in groups
        }
        alike = len({tuple(cell.seed for _, cell in group) for _, group in groups}) == 1
        claimed, fresh = (
            log_ratios(gaps, others, together=alike)
            for gaps, others in zip((claims, found), beside or (None, None), strict=True)
        )
        ranges = tuple(prediction(claimed, fresh))
        self._note(place, ranges=ranges)
        if (off := next((r for r in ranges if not r.holds), None)) is None:
            self._note(place, level="reproduced")
            return
        over = "" if beside is None else f" over {self.bundles[place].board.reference}'s"
        self._note(
            place,
            failure=f"{off.environment}: on seeds that nobody had announced, the log of the gap"
            f"{over} is {off.found:.3f}, where the claimed figures predict {off.low:.3f} to "
            f"{off.high:.3f}",
        )

    def _references(
        self, worlds: Mapping[int, Sequence[Cell]]
    ) -> dict[int, tuple[dict[str, list[float]], dict[str, list[float]]] | None]:
        """The reference's gaps on each bundle's announced worlds and on its fresh ones.

        Those on announced worlds are its entry's, where the board has one. None for a bundle of the
        reference itself.
        """
        cells: dict[int, tuple[list[Cell], list[Cell]]] = {}
        entered: dict[int, dict[str, list[float]] | None] = {}
        for place, fresh in worlds.items():
            one = self.bundles[place]
            reference = design_spec(one.board.reference)
            if one.planned[0].cell.design.identity() == reference.identity():
                continue
            entered[place] = _entered(one, reference)
            asked = one.planned if entered[place] is None else []
            claimed = [replace(_to_the_end(which.cell), design=reference) for which in asked]
            cells[place] = claimed, [replace(cell, design=reference) for cell in fresh]
        needed = {
            cell.key: _Task(place, cell, played_here)
            for place, both in cells.items()
            for cell in (*both[0], *both[1])
        }
        gaps = {task.cell.key: gap for task, gap in self._played("reference", [*needed.values()])}

        def by_environment(some: Sequence[Cell]) -> dict[str, list[float]]:
            found: dict[str, list[float]] = {}
            for cell in some:
                found.setdefault(cell.environment.label, []).append(gaps[cell.key])
            return found

        return dict.fromkeys(worlds) | {
            place: (entered[place] or by_environment(claimed), by_environment(fresh))
            for place, (claimed, fresh) in cells.items()
        }

    def _standing(self) -> list[int]:
        """The places of bundles of which nothing is found that is not as claimed."""
        return [place for place, verdict in enumerate(self.verdicts) if verdict.passed]

    def _note(self, place: int, **found: Any) -> None:
        self.verdicts[place] = replace(self.verdicts[place], **found)

    def _drawn(self, purpose: str) -> np.random.Generator:
        return drawn_stream(self.secret, self.digests, purpose)

    def _played(self, what: str, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Any]]:
        """What came of the tasks, those of one world together, so that it is drawn once.

        Of a bundle that has failed nothing more is told, and nothing is played once all have.
        """
        self.on_progress(what, 0, len(tasks))
        groups: dict[tuple[str, int], list[_Task]] = {}
        for task in tasks:
            groups.setdefault(task.world, []).append(task)
        results: Iterator[list[Any]]
        if self.pool is None:
            results = map(_done, groups.values())
        else:  # neighbours share an environment; few of them, so that no process stands idle
            size = max(1, min(8, len(groups) // 8))
            results = self.pool.map(_done, groups.values(), chunksize=size)
        done = 0
        try:
            for group, answers in zip(groups.values(), results, strict=True):
                done += len(group)
                self.on_progress(what, done, len(tasks))
                for task, answer in zip(group, answers, strict=True):
                    if self.verdicts[task.bundle].passed:
                        yield task, answer
                if not self._standing():
                    return
        except BrokenProcessPool as error:
            raise RunError(
                "a process of the verifier itself was killed, which is what running out of memory "
                "looks like. Take fewer --jobs."
            ) from error


def _done(tasks: Sequence[_Task]) -> list[Any]:
    """What comes of tasks; runs in a process of its own."""
    return [task.function(task.cell, *task.arguments) for task in tasks]


def _entered(one: Admitted, reference: Spec) -> dict[str, list[float]] | None:
    """The reference's gaps on the announced seeds, as its entry has them, if there is one."""
    folder = board_folder(one.board.name, one.root).joinpath("entries")
    file = folder.joinpath(f"{slug(reference.label)}.json")
    if one.bundle.manifest.changes or not file.is_file():
        return None
    entry = read_entry(file.read_bytes(), file.name)
    said, curves = entry.design, {curve.environment: curve for curve in entry.curves}
    if (entry.board_digest, said.name, said.params) != (
        one.board.digest,
        reference.name,
        reference.params,
    ):
        return None
    # Sources of two protocols are digests of two things; what the reference computes is the same.
    if entry.protocol == PROTOCOL and said.source != reference.source:
        return None
    found: dict[str, list[float]] = {}
    for asked in one.planned:
        curve = curves.get(asked.label)
        if curve is None or asked.cell.seed not in curve.seeds:
            return None
        row = curve.gaps[curve.seeds.index(asked.cell.seed)]
        found.setdefault(asked.label, []).append(row[curve.budgets.index(asked.horizon)])
    return found


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes with one thread each; None where this one does it."""
    if jobs < 2:
        yield None
        return
    with limit_child_threads():
        pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        try:
            yield pool
        finally:  # also when nobody wants the rest
            pool.shutdown(cancel_futures=True)


def _to_the_end(cell: Cell) -> Cell:
    """The cell without what a reference is played beyond the board's last budget."""
    return replace(cell, budgets=tuple(b for b in cell.budgets if b <= last_budget(cell)))


def _gap(cell: BundledCell, horizon: int) -> float:
    return float(next(r.score["gap"] for r in cell.rounds if r.budget == horizon))
