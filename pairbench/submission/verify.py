"""``pairbench verify``: what a bundle's figures are worth.

*Recomputed* means that the bundle holds exactly the cells that its board asks for, and that the
pairs in it give the labels, policies and scores that it claims. *Reproduced* means that the design
besides chose those pairs when it was run again in isolation, and did as well as claimed on seeds
that nobody had announced. What cannot be an entry of the board raises; what computing shows is a
verdict.
"""

import datetime
import itertools
import multiprocessing
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from pairbench.boards import Board, board_folder, load_board
from pairbench.errors import (
    InvalidParameter,
    InvalidSubmission,
    MissingData,
    PairbenchError,
    RunError,
    UnknownBoard,
)
from pairbench.harness.executors import one_thread
from pairbench.harness.plan import Cell
from pairbench.plugins import is_file, modules
from pairbench.registry import Spec, design_details, design_spec, parsed
from pairbench.submission.bundle import Bundle, BundledCell, unpacked
from pairbench.submission.entry import Verification, read_entry
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
from pairbench.submission.sandbox import USUAL, Foreign, Limits
from pairbench.submission.submit import BoardCell, board_cells, entry_of, slug

Level = Literal["claimed", "recomputed", "reproduced"]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

ANNOUNCED, FRESH = 2, 5
"""Seeds of each environment that a design is run on again, unless told otherwise."""

_R = TypeVar("_R")


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
        seconds: what it took.
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
        import pairbench

        if self.level == "claimed":
            return None
        return Verification(
            level=self.level,
            date=date or datetime.datetime.now(datetime.UTC).date(),
            pairbench=pairbench.__version__,
            cells=self.recomputed,
            fresh=self.fresh if self.level == "reproduced" else (),
            secret=self.secret if self.level == "reproduced" else None,
        )


def verify_bundle(
    data: bytes,
    name: str,
    *,
    entry: bytes | None = None,
    board_root: Path | None = None,
    level: Literal["recomputed", "reproduced"] = "reproduced",
    secret: bytes | None = None,
    jobs: int | None = None,
    cells: int | None = None,
    announced: int | None = ANNOUNCED,
    fresh: int = FRESH,
    limits: Limits = USUAL,
    on_progress: Progress = lambda what, done, total: None,
) -> Verdict:
    """Find out what a bundle is worth.

    Worker processes are spawned: in a script, call this under ``if __name__ == "__main__":``.

    Args:
        data: the bytes of the bundle's file.
        name: of the file, for messages.
        entry: the bytes of its entry's file, whose figures must be the bundle's.
        board_root: a folder of boards; those that ship with pairbench if None.
        level: how far to go.
        secret: what cells and seeds are drawn from; a random one if None. Whoever makes a bundle
            must not know it.
        jobs: number of processes; the machine's cores if None.
        cells: how many cells to compute again, drawn from the secret; all if None.
        announced: on how many announced seeds of each environment the design is run; all if None.
        fresh: on how many others.
        limits: what the design may take.
        on_progress: told how far it is.

    Raises:
        InvalidSubmission: If it is no bundle, not of a board that is installed here, has not
            exactly the cells that the board asks for, or the entry is another's.
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
    bundle, digest = unpacked(data, name)
    board = _board(bundle, name, board_root)
    planned = checked_cells(bundle, board, name)
    if entry is not None:
        _check_entry(entry, bundle, digest)
    secret = secrets.token_bytes(32) if secret is None else secret
    verdict = Verdict(
        digest,
        board.name,
        bundle.manifest.design.label,
        level,
        "claimed",
        failure=None,
        difference=None,
        recomputed=0,
        cells=len(planned),
        announced=0,
        fresh=(),
        ranges=(),
        secret=sha256(secret).hexdigest(),
        seconds=0.0,
    )
    with _processes(jobs) as pool:
        work = _Work(bundle, digest, board, board_root, planned, secret, pool, limits, on_progress)
        verdict = work.recompute(verdict, cells)
        if verdict.passed and level == "reproduced":
            verdict = work.run_announced(verdict, announced)
            if verdict.passed:
                verdict = work.run_fresh(verdict, fresh)
    return replace(verdict, seconds=time.perf_counter() - start)


def checked_cells(bundle: Bundle, board: Board, name: str) -> list[BoardCell]:
    """The cells that the board asks for, which must be the bundle's, in the same order.

    Args:
        bundle: the bundle.
        board: the board that it is for.
        name: of the bundle's file, for messages.

    Raises:
        InvalidSubmission: If a cell is missing, too many, or of something else.
    """
    said = bundle.manifest.design
    _check_design(bundle)
    try:
        spec = Spec(said.name, dict(said.params), said.source, said.label)
        planned = board_cells(board, spec, bundle.manifest.changes)
    except MissingData:  # of this machine
        raise
    except PairbenchError as error:
        raise InvalidSubmission(f"{name}: {error}") from error
    wanted = {one.cell.key: one for one in planned}
    there = {cell.key for cell in bundle.cells}
    for cell in bundle.cells:
        if cell.key not in wanted:
            raise InvalidSubmission(
                f"{name}: the cell of {cell.environment}, seed {cell.seed}, is none that "
                f"{board.name!r} asks of this design: it is of other seeds, budgets, parameters, "
                "another board, another source or another protocol."
            )
    if missing := [one for key, one in wanted.items() if key not in there]:
        raise InvalidSubmission(
            f"{name}: {len(missing)} of {len(planned)} cells are missing, the first that of "
            f"{missing[0].label}, seed {missing[0].cell.seed}."
        )
    for cell, one in zip(bundle.cells, planned, strict=True):
        if (cell.key, cell.environment, cell.unit, cell.seed, cell.horizon) != (
            one.cell.key,
            one.label,
            one.unit,
            one.cell.seed,
            one.horizon,
        ):
            raise InvalidSubmission(
                f"{name}: where the cell of {one.label}, seed {one.cell.seed}, should be, one "
                f"says that it is of {cell.environment}, seed {cell.seed}."
            )
        if [r.budget for r in cell.rounds] != list(one.cell.budgets):
            raise InvalidSubmission(
                f"{name}: {one.label}, seed {one.cell.seed}: the budgets must be "
                f"{', '.join(map(str, one.cell.budgets))}."
            )
    return planned


@dataclass(frozen=True)
class _Work:
    """A bundle, and all that is needed to find out what it is worth."""

    bundle: Bundle
    digest: str
    board: Board
    root: Path | None
    planned: list[BoardCell]
    secret: bytes
    pool: ProcessPoolExecutor | None
    limits: Limits
    on_progress: Progress

    def recompute(self, verdict: Verdict, number: int | None) -> Verdict:
        """Compute cells again; all of them, or some that are drawn."""
        both = list(zip(self.planned, self.bundle.cells, strict=True))
        if number is not None and number < len(both):
            rng = drawn_stream(self.secret, self.digest, "cells")
            both = [both[i] for i in sorted(rng.choice(len(both), size=number, replace=False))]
        tasks = [(one.cell, claimed) for one, claimed in both]
        done = 0
        for difference in self._spread("recomputed", recomputed, tasks):
            if difference is not None:
                return replace(
                    verdict, failure=str(difference), difference=difference, recomputed=done
                )
            done += 1
        return replace(verdict, level="recomputed", recomputed=done)

    def run_announced(self, verdict: Verdict, number: int | None) -> Verdict:
        """Run the design on announced seeds, where it must choose what is claimed."""
        said = self.bundle.manifest.design
        if self.bundle.source is None and not self._installed():
            return replace(
                verdict,
                failure=f"the installed {said.name!r} is not the one that was submitted: its "
                "source or its parameters are others",
            )
        if not said.deterministic:
            return verdict
        rng = drawn_stream(self.secret, self.digest, "announced")
        tasks = []
        for _, group in self._by_environment():
            size = len(group) if number is None else min(number, len(group))
            for i in sorted(rng.choice(len(group), size=size, replace=False)):
                one, claimed = group[i]
                tasks.append((one.cell, self._foreign(), self.limits, claimed))
        for played in self._spread("announced", reproduced, tasks):
            if played.failure is not None or played.difference is not None:
                return replace(
                    verdict,
                    failure=played.failure or f"run again, {played.difference}",
                    difference=played.difference,
                )
        return replace(verdict, announced=len(tasks))

    def run_fresh(self, verdict: Verdict, number: int) -> Verdict:
        """Run the design on seeds that nobody knew, where it must do as well as is claimed."""
        groups, reference = self._by_environment(), design_spec(self.board.reference)
        announced = {one.cell.seed for one in self.planned}
        seeds = fresh_seeds(drawn_stream(self.secret, self.digest, "fresh"), number, announced)
        verdict = replace(verdict, fresh=seeds)
        worlds = [
            replace(_to_the_end(group[0][0].cell), seed=seed)
            for _, group in groups
            for seed in seeds
        ]
        tasks = [(cell, self._foreign(), self.limits, None) for cell in worlds]
        found: dict[str, list[float]] = {}
        for cell, played in zip(worlds, self._spread("fresh", reproduced, tasks), strict=True):
            if played.gap is None:
                return replace(verdict, failure=played.failure)
            found.setdefault(cell.environment.label, []).append(played.gap)
        claims = {
            label: [_gap(claimed, one.horizon) for one, claimed in group] for label, group in groups
        }
        beside: list[Mapping[str, list[float]] | None] = [None, None]
        if self.planned[0].cell.design.identity() != reference.identity():
            there = self._entered(reference)
            if there is None:
                there = self._played(reference, [_to_the_end(one.cell) for one in self.planned])
            beside = [there, self._played(reference, worlds)]
        alike = len({tuple(cell.seed for _, cell in group) for _, group in groups}) == 1
        claimed, fresh = (
            log_ratios(gaps, others, together=alike)
            for gaps, others in zip((claims, found), beside, strict=True)
        )
        verdict = replace(verdict, ranges=tuple(prediction(claimed, fresh)))
        if (off := next((r for r in verdict.ranges if not r.holds), None)) is None:
            return replace(verdict, level="reproduced")
        over = "" if beside[0] is None else f" over {reference.label}'s"
        return replace(
            verdict,
            failure=f"{off.environment}: on seeds that nobody had announced, the log of the gap"
            f"{over} is {off.found:.3f}, where the claimed figures predict {off.low:.3f} to "
            f"{off.high:.3f}",
        )

    def _entered(self, reference: Spec) -> dict[str, list[float]] | None:
        """The reference's gaps on the announced seeds, as its entry has them, if there is one."""
        folder = board_folder(self.board.name, self.root).joinpath("entries")
        file = folder.joinpath(f"{slug(reference.label)}.json")
        if self.bundle.manifest.changes or not file.is_file():
            return None
        entry = read_entry(file.read_bytes(), file.name)
        said, curves = entry.design, {curve.environment: curve for curve in entry.curves}
        if (entry.board_digest, said.name, said.params, said.source) != (
            self.board.digest,
            reference.name,
            reference.params,
            reference.source,
        ):
            return None
        found: dict[str, list[float]] = {}
        for one in self.planned:
            curve = curves.get(one.label)
            if curve is None or one.cell.seed not in curve.seeds:
                return None
            row = curve.gaps[curve.seeds.index(one.cell.seed)]
            found.setdefault(one.label, []).append(row[curve.budgets.index(one.horizon)])
        return found

    def _played(self, reference: Spec, cells: Sequence[Cell]) -> dict[str, list[float]]:
        """The reference's gaps, by environment."""
        tasks = [(replace(cell, design=reference),) for cell in cells]
        found: dict[str, list[float]] = {}
        for cell, gap in zip(cells, self._spread("reference", played_here, tasks), strict=True):
            found.setdefault(cell.environment.label, []).append(gap)
        return found

    def _installed(self) -> bool:
        """Whether a design that ships with pairbench is the very one that was submitted."""
        said = self.bundle.manifest.design
        try:
            installed = design_spec(said.label)
        except PairbenchError:
            return False
        return (installed.source, installed.params) == (said.source, said.params)

    def _foreign(self) -> Foreign:
        said = self.bundle.manifest.design
        return Foreign(said.name, dict(said.params), self.bundle.source, said.control)

    def _by_environment(self) -> list[tuple[str, list[tuple[BoardCell, BundledCell]]]]:
        both = zip(self.planned, self.bundle.cells, strict=True)
        return [(k, list(g)) for k, g in itertools.groupby(both, key=lambda pair: pair[0].label)]

    def _spread(
        self, what: str, function: Callable[..., _R], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[_R]:
        """The function's results in the order of the tasks, which are spread over processes."""
        self.on_progress(what, 0, len(tasks))
        if self.pool is None:
            results: Iterator[_R] = itertools.starmap(function, tasks)
        else:  # neighbours share an environment; few of them, so that no process stands idle
            size = max(1, min(8, len(tasks) // 8))
            results = self.pool.map(function, *zip(*tasks, strict=True), chunksize=size)
        try:
            for done, result in enumerate(results, start=1):
                self.on_progress(what, done, len(tasks))
                yield result
        except BrokenProcessPool as error:
            raise RunError(
                "a process of the verifier itself was killed, which is what running out of memory "
                "looks like. Take fewer --jobs."
            ) from error


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes with one thread each; None where this one does it."""
    if jobs < 2:
        yield None
        return
    with one_thread():
        pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        try:
            yield pool
        finally:  # also when nobody wants the rest
            pool.shutdown(cancel_futures=True)


def _board(bundle: Bundle, name: str, root: Path | None) -> Board:
    said = bundle.manifest
    try:
        board = load_board(said.board, root)
    except UnknownBoard as error:
        raise InvalidSubmission(f"{name}: {error}") from error
    if board.published is None:
        raise InvalidSubmission(f"{name}: board {board.name!r} is a study and takes no entries.")
    if board.digest != said.board_digest:
        raise InvalidSubmission(
            f"{name} is for a board {board.name!r} whose board.toml says something else than the "
            "one that is installed here. Take the version of pairbench that it was made with."
        )
    return board


def _check_design(bundle: Bundle) -> None:
    """Refuse a design that is called what it is not."""
    said = bundle.manifest.design
    own = {module.name.replace("_", "-") for module in modules("pairbench.designs")}
    what = f"the design {said.name!r}"
    try:
        _, given = parsed(said.label)
    except InvalidParameter as error:
        raise InvalidSubmission(f"{what}: its label is no spec. {error}") from error
    told = ", ".join(f"{key}={value!r}" for key, value in given.items())
    unlike = any(k not in said.params or said.params[k] != given[k] for k in given)
    if unlike or said.label != (f"{said.name}({told})" if told else said.name):
        raise InvalidSubmission(f"{what} cannot be labelled {said.label!r}.")
    changes = bundle.manifest.changes
    # What an open entry changes is told by its slug, too; JSON does not keep how it was written.
    start = slug(f"{said.label} open")
    if not (said.slug.startswith(start) if changes else said.slug == slug(said.label)):
        raise InvalidSubmission(f"{what} cannot be called {said.slug!r} in file names.")
    if bundle.source is None:
        if said.name not in own:
            raise InvalidSubmission(
                f"{what} is none that ships with pairbench, so its source must be in the bundle."
            )
        if said.control != design_details(said.name)["control"]:
            raise InvalidSubmission(f"{what}: whether it is a control is said wrongly.")
        return
    if not is_file(said.name):
        raise InvalidSubmission(f"{what} has a source, so its name must be a file's: my_design.py")
    if said.control:
        raise InvalidSubmission(f"{what}: only designs that ship with pairbench can be controls.")
    looks = {_skeleton(name): name for name in own}
    stem = said.name.partition(".py")[0]
    if (like := looks.get(_skeleton(stem))) is not None:
        raise InvalidSubmission(
            f"{what} looks like pairbench's own {like!r}. Give its file another name."
        )


def _skeleton(name: str) -> str:
    """What a name looks like at a glance; names that are easily confused have one in common."""
    text = re.sub(r"[^a-z0-9]", "", name.lower().replace("rn", "m").replace("vv", "w"))
    return text.translate(str.maketrans("015i", "olsl"))


def _check_entry(data: bytes, bundle: Bundle, digest: str) -> None:
    said, made = read_entry(data, "the entry"), entry_of(bundle, digest)
    if said.bundle != digest:
        raise InvalidSubmission(
            f"the entry is of another bundle: it names {said.bundle[:12]}…, and this one is "
            f"{digest[:12]}…."
        )
    one, other = said.content(), made.content()
    one.pop("verification", None)
    if unlike := _place(one, other):
        raise InvalidSubmission(f"the entry's {unlike} is not what its bundle comes to.")


def _place(one: Any, other: Any, name: str = "") -> str | None:
    """Where two values differ, None if nowhere."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        parts = [(f"{name}.{key}" if name else key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(f"{name}[{i}]", x, y) for i, (x, y) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else name or "form"
    return next((found for n, x, y in parts if (found := _place(x, y, n))), None)


def _to_the_end(cell: Cell) -> Cell:
    """The cell without what a reference is played beyond the board's last budget."""
    return replace(cell, budgets=tuple(b for b in cell.budgets if b <= last_budget(cell)))


def _gap(cell: BundledCell, horizon: int) -> float:
    return float(next(r.score["gap"] for r in cell.rounds if r.budget == horizon))
