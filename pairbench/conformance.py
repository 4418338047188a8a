"""What every design keeps to, ours and others': the checks behind ``pairbench check``.

A check is a function of a :class:`Subject`; its docstring says what it asks for. It returns, or
raises :class:`Failed` with a message that says what to mend, or :class:`Skipped` with the reason.
"""

import faulthandler
import multiprocessing
import os
import pickle
import random
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench.cases import CASES, FIRST, ORDINARY, SCALE, SCORED, Case, Order, with_truth
from pairbench.catalogue import FAMILIES, KEYS
from pairbench.design import Design, View
from pairbench.errors import PairbenchError, ReadOnlyView, did_you_mean
from pairbench.harness.executors import check_time_limit, one_thread
from pairbench.harness.play import answer
from pairbench.metering import metered
from pairbench.pool import Pairs, checked_pairs, integer_rows, numbered_pairs, pair_numbers
from pairbench.registry import Spec, design_details, design_from, design_spec, make_design, parsed
from pairbench.stats import chance_of_counts

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"

_FEW, _SOME, _MANY = 3, 20, 200  # seeds
_ALARM = 1.0  # standard deviations from which on to look closer
_CERTAIN = 1e-6  # how rarely a good design may be called bad
_PATIENCE = 60.0  # seconds for two rounds in another process


class Failed(Exception):
    """A design does not do what a check asks for; says what to mend."""


class Skipped(Exception):
    """A check cannot be made; says why."""


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        check: its name.
        what: what it asks for.
        status: ``"pass"``, ``"fail"`` or ``"skipped"``.
        message: what to mend, why it was skipped, or a remark on what passed.
        seconds: what it took.
    """

    check: str
    what: str
    status: str
    message: str = ""
    seconds: float = 0.0


# -- the design ----------------------------------------------------------------------------------


class Subject:
    """The design that is checked.

    Attributes:
        design: its name, file or spec.
        details: what it says of itself, see :func:`pairbench.registry.describe_design`.
        ordered: see :attr:`pairbench.Design.ordered`.
        control: see :attr:`pairbench.Design.control`.
        own: whether it is one of pairbench's own.
        remarks: what was noticed while it was asked, and is no failure.
    """

    def __init__(self, design: str) -> None:
        """Make the design once, to see that it can be made.

        Args:
            design: see :func:`pairbench.make_design`.

        Raises:
            PairbenchError: If it cannot be made.
        """
        self.design = design
        made = self.make()
        self.details = design_details(parsed(design)[0])
        self.ordered, self.control = made.ordered, made.control
        self.own = type(made).__module__.startswith("pairbench.designs.")
        self.remarks: list[str] = []
        self._plays: dict[str, bool] = {}

    def make(self) -> Design:
        """The design, a new object each time."""
        return make_design(self.design)

    def plays(self, case: str) -> bool:
        """Whether it plays a round at all, which the finer checks build on."""
        if case not in self._plays:
            try:
                self.pairs(case)
            except Failed:
                self._plays[case] = False
            else:
                self._plays[case] = True
        return self._plays[case]

    @property
    def rounds(self) -> list[str]:
        """The first round and a later one, if it plays them."""
        return [case for case in (FIRST, ORDINARY) if self.plays(case)]

    def answer(self, case: str, view: View | None = None, made: Design | None = None) -> object:
        """What the design returns, good or not.

        Args:
            case: the name of the round, for messages.
            view: the round; the case's own if not given.
            made: the object to ask; a new one if not given.

        Raises:
            Failed: If it raises.
            ReadOnlyView: If it writes into its view.
        """
        view, made = view or CASES[case].view(), made or self.make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            try:
                shown = with_truth(view) if self.control else view
                given = answer(made, shown, view.budget_left, "the design")
            except ReadOnlyView:
                raise
            except (Exception, SystemExit) as error:
                what = f"it raised {type(error).__name__}{self._place(error)}: {error}"
                raise Failed(_told(case, what)) from error
        for warning in caught:
            if issubclass(warning.category, RuntimeWarning):
                self.remarks.append(f"{case}: it warned of {str(warning.message)!r}.")
        return given

    def pairs(self, case: str, view: View | None = None, made: Design | None = None) -> Pairs:
        """The pairs that the design chooses; see :meth:`answer`.

        Raises:
            Failed: If it raises, or returns anything but proper pairs within the budget.
        """
        view = view or CASES[case].view()
        pool, left = view.pool, view.budget_left
        try:
            return checked_pairs(self.answer(case, view, made), pool, left)
        except PairbenchError as error:
            raise Failed(_told(case, str(error))) from error

    def _place(self, error: BaseException) -> str:
        """The last line of the design's own file that an error came through."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.details["file"]]
        return f" in line {lines[-1]}" if lines else ""


def _told(case: str, what: str) -> str:
    """What happened in a case, and what an author should know of it."""
    hint = f" {CASES[case].hint}" if case in CASES else ""
    return f"{case}: {what if what.endswith('.') else f'{what}.'}{hint}"


# -- checks --------------------------------------------------------------------------------------


def rows(subject: Subject) -> None:
    """Returns integers, one row (prompt, first, second) for each pair."""
    try:
        integer_rows(subject.answer(ORDINARY))
    except ReadOnlyView as error:
        raise Skipped("it returns nothing, because it tries to write into its view.") from error
    except PairbenchError as error:
        raise Failed(_told(ORDINARY, str(error))) from error


def proper(subject: Subject) -> None:
    """Compares two different completions that are there, within the budget."""
    view = CASES[ORDINARY].view()
    try:
        given = integer_rows(subject.answer(ORDINARY, view))
    except (PairbenchError, Failed) as error:
        raise Skipped("it returns no rows to look at.") from error
    try:
        checked_pairs(given, view.pool, view.budget_left)
    except PairbenchError as error:
        raise Failed(_told(ORDINARY, str(error))) from error


def unchanged_view(subject: Subject) -> None:
    """Leaves its view as it is."""
    for case in (FIRST, ORDINARY):
        view = CASES[case].view()
        before = _snapshot(view)
        try:
            subject.answer(case, view)
        except ReadOnlyView as error:
            raise Failed(_told(case, str(error))) from error
        except Failed:
            continue
        after = _snapshot(view)
        if changed := [name for name in after if after[name] != before.get(name)]:
            raise Failed(f"{case}: it changed {' and '.join(changed)}. Work on copies.")


def deterministic(subject: Subject) -> None:
    """Chooses the same again from the same view, and keeps no state."""
    for case in subject.rounds:
        made = subject.make()
        chosen = subject.pairs(case, made=made)
        if (where := _first_difference(chosen, subject.pairs(case))) is not None:
            raise Failed(
                f"{case}: another object chose other pairs from the same view, the first at row "
                f"{where}. All randomness must come from view.rng: a generator without a seed, the "
                "clock, and the order of a set differ each time."
            )
        subject.pairs(subject.rounds[0], made=made)
        subject.pairs(subject.rounds[-1], made=made)
        if (where := _first_difference(chosen, subject.pairs(case, made=made))) is not None:
            raise Failed(
                f"{case}: the same object chose other pairs the second time, the first at row "
                f"{where}: it remembers what it was asked. An episode may be taken up in another "
                "process, so whatever a design knows must be worked out from the view."
            )


def random_state(subject: Subject) -> None:
    """Leaves the global random states of numpy, Python and torch alone."""
    for case in subject.rounds:
        subject.pairs(case)  # whatever it imports is imported now
        before = _random_states()
        subject.pairs(case)
        after = _random_states(stirred=False)
        changed = [name for name, state in after.items() if state != before[name]]
        if changed:
            raise Failed(
                f"{case}: it drew from or seeded {' and '.join(changed)}, which is shared by "
                "everything in the process. Draw from view.rng instead; for torch, make a "
                "torch.Generator seeded by view.rng."
            )


def hard_cases(subject: Subject) -> None:
    """Plays odd rounds too: one pair, duplicates, no answers, and the like."""
    wrong, fewer, bought = [], [], 0
    for case, made in CASES.items():
        try:
            chosen = subject.pairs(case)
        except Failed as error:
            wrong.append(str(error))
            continue
        bought += len(chosen)
        if len(chosen) < made.n:
            fewer.append(f"{case} ({len(chosen)} of {made.n})")
    if wrong:
        raise Failed("\n".join(wrong))
    if not bought:
        subject.remarks.append("It never buys a label, so the policy stays as it was.")
    elif fewer:
        subject.remarks.append(
            f"It buys fewer labels than it may: {', '.join(fewer)}. What is left can be bought "
            "in a later round."
        )


def prompt_order(subject: Subject) -> None:
    """Chooses alike however the prompts are numbered."""
    _compare(subject, "prompts", _OTHER_PROMPTS)


def completion_order(subject: Subject) -> None:
    """Chooses alike however the completions are numbered, unless it is ordered."""
    if subject.ordered:
        raise Skipped("the order of completions means something to it by definition.")
    _compare(subject, "completions", _OTHER_COMPLETIONS)


def another_process(subject: Subject) -> None:
    """Is made again in another process by name, and chooses the same there."""
    try:
        spec = design_spec(subject.design)
    except PairbenchError as error:
        raise Failed(str(error)) from error
    chosen = {case: subject.pairs(case) for case in subject.rounds}
    given = _asked_elsewhere(spec, subject.rounds)
    if isinstance(given, str):
        raise Failed(
            f"in another process, {given} Workers know designs in files, in installed packages, "
            "and those registered at the top level of a script; what they need must be there too."
        )
    for case, here in chosen.items():
        if (where := _first_difference(here, given[case])) is not None:
            raise Failed(
                f"{case}: in another process it chose other pairs, the first at row {where}. "
                "Nothing may depend on the process: no global variables that change, no hash() of "
                "a text, no order of a set."
            )


def scale(subject: Subject) -> None:
    """Chooses 200 of 272,000 pairs; time and memory are told, not judged."""
    view = SCALE.view()
    with metered() as usage:
        subject.pairs("2,000 prompts of 17 completions, d = 32", view)
    memory = "" if usage.peak_bytes is None else f" and {usage.peak_bytes / 2**20:.0f} MiB"
    subject.remarks.append(f"it took {usage.seconds:.3f} s{memory}.")


def docstring(subject: Subject) -> None:
    """Says which pairs it chooses, its family, source, assumptions, cost."""
    said, faults = subject.details, []
    if not said["summary"]:
        faults.append("there is no docstring that says in one sentence which pairs it chooses")
    if missing := [f"'{key.capitalize()}: …'" for key in KEYS if not said[key]]:
        faults.append(f"the docstring does not end with lines {', '.join(missing)}")
    family = said["family"]
    if family and family not in FAMILIES:
        known = did_you_mean(family, FAMILIES) or f" There are: {', '.join(FAMILIES)}."
        faults.append(f"there is no family {family!r}.{known}")
    if family and (family == "control") != subject.control:
        faults.append("a control, and nothing else, is of the family 'control'")
    told = "; ".join(fault.removesuffix(".") for fault in faults)
    if faults and subject.own:
        raise Failed(f"{told}.")
    if faults:
        subject.remarks.append(f"{told}. Listings show what is there.")


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        rows,
        proper,
        unchanged_view,
        deterministic,
        random_state,
        hard_cases,
        prompt_order,
        completion_order,
        another_process,
        scale,
        docstring,
    )
}
_ALONE = (rows, proper, unchanged_view, docstring)  # they say why an ordinary round is not played


def run_check(subject: Subject, name: str) -> Result:
    """Make one check, in this process; a design that hangs hangs it.

    Args:
        subject: the design.
        name: the check, one of ``CHECKS``.
    """
    check, start = CHECKS[name], time.perf_counter()
    subject.remarks.clear()
    try:
        with threadpool_limits(limits=1):
            if check not in _ALONE and not subject.plays(ORDINARY):
                raise Skipped("it does not play an ordinary round; mend that first.")
            check(subject)
        status, message = PASS, "\n".join(dict.fromkeys(subject.remarks))
    except Failed as failed:
        status, message = FAIL, str(failed)
    except Skipped as skipped:
        status, message = SKIPPED, str(skipped)
    return Result(name, _what(name), status, message, time.perf_counter() - start)


def run_checks(design: str, time_limit: float) -> Iterator[Result]:
    """Make all checks in a process of their own, so that a design may hang, exit or crash.

    Args:
        design: see :func:`pairbench.make_design`.
        time_limit: seconds that a check may take. One that takes longer has failed, and those
            after it are skipped.

    Raises:
        PairbenchError: If the design cannot be made, or the time limit is none.
    """
    check_time_limit(time_limit)
    subject = Subject(design)
    left = list(CHECKS)
    with TemporaryDirectory() as folder:
        stack = Path(folder) / "stack"
        with _spawned(_report, design, time_limit, stack) as (process, connection):
            while left:
                try:
                    result: Result = connection.recv()
                except EOFError:
                    break
                left.remove(result.check)
                yield result
            process.join()
        if left:
            cause = _cause(subject, stack.read_text() if stack.exists() else "", time_limit)
            told = cause or f"the design ended its process (exit code {process.exitcode})."
            yield Result(left[0], _what(left[0]), FAIL, told)
    for name in left[1:]:
        yield Result(name, _what(name), SKIPPED, f"{left[0]} did not come to an end.")


def _what(name: str) -> str:
    return CHECKS[name].__doc__ or ""


# -- what checks are made of ---------------------------------------------------------------------


def _snapshot(view: View) -> dict[str, bytes]:
    """All that a view holds, as bytes; its generator, which is there to be used, by identity."""
    held = {f"view.{name}": value for name, value in vars(view).items() if name != "pool"}
    names = ("features", "log_ref", "lengths", "valid", "prompt_weights", "texts", "scores")
    held |= {f"view.pool.{name}": getattr(view.pool, name) for name in names}
    held["view.rng"] = id(view.rng)
    return {name: pickle.dumps(value) for name, value in held.items()}


def _random_states(*, stirred: bool = True) -> dict[str, bytes]:
    """The global random states, as bytes.

    Args:
        stirred: draw from all of them first, or a design that always seeds them alike leaves them
            as they were.
    """
    torch = sys.modules.get("torch")
    if stirred:
        np.random.random()  # noqa: NPY002 - it is what designs must not use
        random.random()
        if torch:
            torch.rand(1)
    states: dict[str, Any] = {
        "numpy.random": np.random.get_state(),  # noqa: NPY002
        "Python's random": random.getstate(),
    }
    if torch:
        states["torch's default generator"] = torch.get_rng_state().numpy()
    return {name: pickle.dumps(state) for name, state in states.items()}


def _first_difference(one: Pairs, other: Pairs) -> int | None:
    """The first row in which two choices differ."""
    if one.shape != other.shape:
        return min(len(one), len(other))
    rows = np.flatnonzero((one != other).any(axis=1))
    return int(rows[0]) if rows.size else None


_RENUMBERED = Case("", shape=(4, 6, 3), n=5, there=0.8)
_PROMPTS, _COMPLETIONS = np.arange(4), np.tile(np.arange(6), (4, 1))
_AS_IT_IS = Order(_PROMPTS, _COMPLETIONS)
_OTHER_PROMPTS = Order(np.roll(_PROMPTS, 2), _COMPLETIONS)
_OTHER_COMPLETIONS = Order(_PROMPTS, np.random.default_rng(6).permuted(_COMPLETIONS, axis=1))


def _compare(subject: Subject, what: str, order: Order) -> None:
    """See whether a design chooses alike from a pool and from the same in another order.

    How often it chooses each pair, over many seeds, is compared by Fisher's exact test. Pairs are
    counted once a round, so that each pair's counts are independent however the pairs of a round
    hang together, as they do where a rule asks all pairs of one prompt.

    Raises:
        Failed: If that cannot be chance.
    """
    for case in subject.rounds:
        # Each pool has seeds of its own, even or odd ones, and fresh ones each time.
        few = [
            _chosen(subject, case, each, range(start, 2 * _FEW, 2))
            for start, each in enumerate((_AS_IT_IS, order))
        ]
        if (np.concatenate(few) == few[0][0]).all():  # it leaves nothing to chance
            continue
        for seeds in (_SOME, _MANY):
            one, other = (
                _chosen(subject, case, each, range(2 * seeds + start, 4 * seeds, 2)).sum(axis=0)
                for start, each in enumerate((_AS_IT_IS, order))
            )
            chance = chance_of_counts(one, other, seeds)
            pair = int(chance.argmin())
            if chance[pair] * len(chance) < _CERTAIN:
                x, i, j = numbered_pairs(_RENUMBERED.view().pool, np.array([pair]))[0]
                raise Failed(
                    f"{case}: completions {i} and {j} of prompt {x} were compared under "
                    f"{one[pair]} of {seeds} seeds, but under {other[pair]} when the {what} were "
                    f"numbered otherwise. {_MEND[what]}"
                )
            both = one + other
            seen = np.count_nonzero(both)
            distance = np.sum((one - other) ** 2 / np.maximum(both, 1))
            if distance < seen + _ALARM * np.sqrt(2 * seen):  # χ², of about as many degrees
                break


_TIES = "Break ties by view.rng, as top_pairs and ranked_completions do, and not by position."
_MEND = {
    "prompts": f"A prompt's number means nothing. {_TIES}",
    "completions": f"{_TIES} If the order of completions means something to the design, its class "
    "says so: ordered: ClassVar[bool] = True.",
}


@lru_cache(maxsize=16)  # what is chosen from the pool as it is is compared twice
def _chosen(subject: Subject, case: str, order: Order, seeds: range) -> NDArray[np.bool_]:
    """Which pairs of a pool are chosen if it has another order, ``(seeds, n_pairs)``.

    Args:
        subject: the design.
        case: the round.
        order: the order in which the design sees the pool.
        seeds: of the design's random numbers.
    """
    asked = 0.0 if case == FIRST else _RENUMBERED.asked
    view = replace(_RENUMBERED, asked=asked, scored=subject.plays(SCORED)).view()
    other = order.view(view)
    chosen = np.zeros((len(seeds), view.pool.n_pairs), dtype=np.bool_)
    for row, seed in zip(chosen, seeds, strict=True):
        shown = replace(other, rng=np.random.default_rng(seed))
        row[pair_numbers(view.pool, order.old(subject.pairs(case, shown)))] = True
    return chosen


# -- other processes -----------------------------------------------------------------------------


@contextmanager
def _spawned(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[Any, Any]]:
    """A process that sends what it finds, and the end of the line here; it is killed at last."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(there, *arguments))
    with one_thread():
        process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


@contextmanager
def _ends_after(seconds: float, stack: Path) -> Iterator[None]:
    """End this process if the work takes longer, and leave in a file what it was doing."""
    with stack.open("w") as file, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _report(connection: Connection, design: str, time_limit: float, stack: Path) -> None:
    """Make all checks, and send each result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    subject = Subject(design)
    for name in CHECKS:
        with _ends_after(time_limit, stack):
            result = run_check(subject, name)
        connection.send(result)


def _asked_elsewhere(spec: Spec, rounds: list[str]) -> dict[str, Pairs] | str:
    """What a design chooses in another process, or what went wrong there."""
    with _spawned(_send_choices, spec, rounds) as (process, connection):
        if not connection.poll(_PATIENCE):
            return f"it does not answer within {_PATIENCE:g} s."
        try:
            sent: dict[str, Pairs] | str = connection.recv()
        except EOFError:
            process.join()
            return f"it ends its process (exit code {process.exitcode})."
        return sent


def _send_choices(connection: Connection, spec: Spec, rounds: list[str]) -> None:
    """Make a design as workers do, and send what it chooses."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _ends_after(_PATIENCE, Path(os.devnull)), threadpool_limits(limits=1):
        try:
            sent: dict[str, Pairs] | str = _choices(design_from(spec), rounds)
        except (Exception, SystemExit) as error:
            sent = f"it fails with {type(error).__name__}: {str(error).removesuffix('.')}."
    connection.send(sent)


def _choices(made: Design, rounds: list[str]) -> dict[str, Pairs]:
    """What a design chooses in some rounds."""
    chosen = {}
    for case in rounds:
        view = CASES[case].view()
        shown = with_truth(view) if made.control else view
        chosen[case] = checked_pairs(
            made.select(shown, view.budget_left), view.pool, view.budget_left
        )
    return chosen


def _cause(subject: Subject, stack: str, time_limit: float) -> str:
    """Why a process ended that was too slow, from the stack that it left; "" if it left none."""
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack)
    if not frames:
        return ""
    own = [frame for frame in frames if frame[0] == subject.details["file"]]
    file, line, function = (own or frames)[0]
    return (
        f"it did not end within {time_limit:g} s. It was in line {line} of {Path(file).name}, in "
        f"{function}."
    )
