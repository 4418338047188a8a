"""What every design keeps to, ours and others': the checks behind ``pairbench check``.

A check is a function of a :class:`Subject`; its docstring says what it asks for. It returns, or
raises :class:`Failed` with a message that says what to mend, or :class:`Skipped` with the reason.
"""

import pickle
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pairbench._util.metering import measure_usage
from pairbench.cells.executors import check_time_limit
from pairbench.checks.cases import CASES, FIRST_ROUND, LARGE_CASE, LATER_ROUND
from pairbench.checks.orders import RENUMBERED_COMPLETIONS, RENUMBERED_PROMPTS, compare_choices
from pairbench.checks.processes import choose_in_new_process, exit_after, spawn_process
from pairbench.checks.subject import Failed, Skipped, Subject, describe_failure
from pairbench.design.registry import design_spec
from pairbench.errors import PairbenchError, ReadOnlyView, did_you_mean
from pairbench.pool.pairs import as_integer_triples, check_pairs
from pairbench.pool.pool import Pairs
from pairbench.spec.catalogue import CLOSING_KEYS, FAMILIES
from pairbench.view.view import View

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"


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


# -- checks --------------------------------------------------------------------------------------


def rows(subject: Subject) -> None:
    """Returns integers, one row (prompt, first, second) for each pair."""
    try:
        as_integer_triples(subject.select_unchecked(LATER_ROUND))
    except ReadOnlyView as error:
        raise Skipped("it returns nothing, because it tries to write into its view.") from error
    except PairbenchError as error:
        raise Failed(describe_failure(LATER_ROUND, str(error))) from error


def proper(subject: Subject) -> None:
    """Compares two different completions that are there, within the budget."""
    view = CASES[LATER_ROUND].view()
    try:
        given = as_integer_triples(subject.select_unchecked(LATER_ROUND, view))
    except (PairbenchError, Failed) as error:
        raise Skipped("it returns no rows to look at.") from error
    try:
        check_pairs(given, view.pool, view.budget_left)
    except PairbenchError as error:
        raise Failed(describe_failure(LATER_ROUND, str(error))) from error


def unchanged_view(subject: Subject) -> None:
    """Leaves its view as it is."""
    for case in (FIRST_ROUND, LATER_ROUND):
        view = CASES[case].view()
        before = _snapshot(view)
        try:
            subject.select_unchecked(case, view)
        except ReadOnlyView as error:
            raise Failed(describe_failure(case, str(error))) from error
        except Failed:
            continue
        after = _snapshot(view)
        if changed := [name for name in after if after[name] != before.get(name)]:
            raise Failed(f"{case}: it changed {' and '.join(changed)}. Work on copies.")


def deterministic(subject: Subject) -> None:
    """Chooses the same again from the same view, and keeps no state."""
    for case in subject.rounds:
        instance = subject.make()
        chosen = subject.select(case, instance=instance)
        if (where := _first_difference(chosen, subject.select(case))) is not None:
            raise Failed(
                f"{case}: another object chose other pairs from the same view, the first at row "
                f"{where}. All randomness must come from view.rng: a generator without a seed, the "
                "clock, and the order of a set differ each time."
            )
        subject.select(subject.rounds[0], instance=instance)
        subject.select(subject.rounds[-1], instance=instance)
        if (
            where := _first_difference(chosen, subject.select(case, instance=instance))
        ) is not None:
            raise Failed(
                f"{case}: the same object chose other pairs the second time, the first at row "
                f"{where}: it remembers what it was asked. An episode may be taken up in another "
                "process, so whatever a design knows must be worked out from the view."
            )


def random_state(subject: Subject) -> None:
    """Leaves the global random states of numpy, Python and torch alone."""
    for case in subject.rounds:
        subject.select(case)  # whatever it imports is imported now
        before = _random_states()
        subject.select(case)
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
            chosen = subject.select(case)
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
    compare_choices(subject, "prompts", RENUMBERED_PROMPTS)


def completion_order(subject: Subject) -> None:
    """Chooses alike however the completions are numbered, unless it is ordered."""
    if subject.ordered:
        raise Skipped("the order of completions means something to it by definition.")
    compare_choices(subject, "completions", RENUMBERED_COMPLETIONS)


def another_process(subject: Subject) -> None:
    """Is made again in another process by name, and chooses the same there."""
    try:
        spec = design_spec(subject.design)
    except PairbenchError as error:
        raise Failed(str(error)) from error
    chosen = {case: subject.select(case) for case in subject.rounds}
    given = choose_in_new_process(spec, subject.rounds)
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
    view = LARGE_CASE.view()
    with measure_usage() as usage:
        subject.select("2,000 prompts of 17 completions, d = 32", view)
    memory = "" if usage.peak_bytes is None else f" and {usage.peak_bytes / 2**20:.0f} MiB"
    subject.remarks.append(f"it took {usage.seconds:.3f} s{memory}.")


def docstring(subject: Subject) -> None:
    """Says which pairs it chooses, its family, source, assumptions, cost."""
    said, faults = subject.details, []
    if not said["summary"]:
        faults.append("there is no docstring that says in one sentence which pairs it chooses")
    if missing := [f"'{key.capitalize()}: …'" for key in CLOSING_KEYS if not said[key]]:
        faults.append(f"the docstring does not end with lines {', '.join(missing)}")
    family = said["family"]
    if family and family not in FAMILIES:
        known = did_you_mean(family, FAMILIES) or f" There are: {', '.join(FAMILIES)}."
        faults.append(f"there is no family {family!r}.{known}")
    if family and (family == "control") != subject.control:
        faults.append("a control, and nothing else, is of the family 'control'")
    told = "; ".join(fault.removesuffix(".") for fault in faults)
    if faults and subject.built_in:
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
            if check not in _ALONE and not subject.plays(LATER_ROUND):
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
        with spawn_process(_report, design, time_limit, stack) as (process, connection):
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


# -- other processes -----------------------------------------------------------------------------


def _report(connection: Connection, design: str, time_limit: float, stack: Path) -> None:
    """Make all checks, and send each result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    subject = Subject(design)
    for name in CHECKS:
        with exit_after(time_limit, stack):
            result = run_check(subject, name)
        connection.send(result)


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
