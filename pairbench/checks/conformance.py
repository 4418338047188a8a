"""The checks behind ``pairbench check``: the contract that every design must meet.

A check is a function of a :class:`Subject`. Its docstring is printed by ``pairbench check`` and
tells the design's author, in the imperative, what the design must do. A check returns if the design
passes, raises :class:`Failed` with a message that says what to fix, or raises :class:`Skipped` with
the reason why it does not apply.
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

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"


@dataclass(frozen=True)
class CheckResult:
    """The outcome of a check.

    Attributes:
        check: name of the check.
        what: what a design must do to pass it.
        status: ``"pass"``, ``"fail"`` or ``"skipped"``.
        message: what to fix, why the check was skipped, or remarks on a design that passed.
        seconds: wall time.
    """

    check: str
    what: str
    status: str
    message: str = ""
    seconds: float = 0.0


# -- checks --------------------------------------------------------------------------------------


def rows(subject: Subject) -> None:
    """Return integers, one row (prompt, first, second) for each pair."""
    try:
        as_integer_triples(subject.select_unchecked(LATER_ROUND))
    except ReadOnlyView as error:
        raise Skipped("it returns nothing, because it tries to write into its view.") from error
    except PairbenchError as error:
        raise Failed(describe_failure(LATER_ROUND, str(error))) from error


def proper(subject: Subject) -> None:
    """Compare two different valid completions in each pair, within the budget."""
    view = CASES[LATER_ROUND].view()
    try:
        pairs = as_integer_triples(subject.select_unchecked(LATER_ROUND, view))
    except (PairbenchError, Failed) as error:
        raise Skipped("it returns no integer rows.") from error
    try:
        check_pairs(pairs, view.pool, view.budget_left)
    except PairbenchError as error:
        raise Failed(describe_failure(LATER_ROUND, str(error))) from error


def unchanged_view(subject: Subject) -> None:
    """Leave the view unchanged."""
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
    """Return the same pairs for the same view and seed, and keep no state."""
    for case in subject.rounds:
        instance = subject.make()
        pairs = subject.select(case, instance=instance)
        if (row := _first_difference(pairs, subject.select(case))) is not None:
            raise Failed(
                f"{case}: another object chose other pairs from the same view, the first at row "
                f"{row}. All randomness must come from view.rng: a generator without a seed, the "
                "clock, and the order of a set differ each time."
            )
        subject.select(subject.rounds[0], instance=instance)
        subject.select(subject.rounds[-1], instance=instance)
        if (row := _first_difference(pairs, subject.select(case, instance=instance))) is not None:
            raise Failed(
                f"{case}: the same object chose other pairs the second time, the first at row "
                f"{row}: it remembers earlier calls. An episode may be resumed in another "
                "process, so a design must compute all that it uses from the view."
            )


def random_state(subject: Subject) -> None:
    """Leave the global random states of numpy, Python and torch alone."""
    for case in subject.rounds:
        subject.select(case)  # so that imports, which may draw, are done
        before = _random_states()
        subject.select(case)
        after = _random_states(advance=False)
        changed = [name for name, state in after.items() if state != before[name]]
        if changed:
            raise Failed(
                f"{case}: it drew from or seeded {' and '.join(changed)}, which is shared by "
                "everything in the process. Draw from view.rng instead; for torch, make a "
                "torch.Generator seeded by view.rng."
            )


def hard_cases(subject: Subject) -> None:
    """Play unusual rounds too: one pair, duplicates, missing labels and others."""
    failures, shortfalls, n_labels = [], [], 0
    for name, case in CASES.items():
        try:
            pairs = subject.select(name)
        except Failed as error:
            failures.append(str(error))
            continue
        n_labels += len(pairs)
        if len(pairs) < case.n:
            shortfalls.append(f"{name} ({len(pairs)} of {case.n})")
    if failures:
        raise Failed("\n".join(failures))
    if not n_labels:
        subject.remarks.append("It never buys a label, so the policy stays as it was.")
    elif shortfalls:
        subject.remarks.append(
            f"It buys fewer labels than it may: {', '.join(shortfalls)}. The rest can be bought "
            "in a later round."
        )


def prompt_order(subject: Subject) -> None:
    """Ignore how the prompts are numbered."""
    compare_choices(subject, "prompts", RENUMBERED_PROMPTS)


def completion_order(subject: Subject) -> None:
    """Ignore how the completions are numbered, unless the class sets ordered = True."""
    if subject.ordered:
        raise Skipped(
            "the class sets ordered = True: the order of completions means something to it."
        )
    compare_choices(subject, "completions", RENUMBERED_COMPLETIONS)


def another_process(subject: Subject) -> None:
    """Return the same pairs when rebuilt by name in another process."""
    try:
        spec = design_spec(subject.design)
    except PairbenchError as error:
        raise Failed(str(error)) from error
    choices = {case: subject.select(case) for case in subject.rounds}
    other_choices = choose_in_new_process(spec, subject.rounds)
    if isinstance(other_choices, str):
        raise Failed(
            f"in another process, {other_choices} Workers know designs in files, in installed "
            "packages, and those registered at the top level of a script; all that the design "
            "needs must be available there too."
        )
    for case, pairs in choices.items():
        if (row := _first_difference(pairs, other_choices[case])) is not None:
            raise Failed(
                f"{case}: in another process it chose other pairs, the first at row {row}. "
                "Nothing may depend on the process: no global variables that change, no hash() of "
                "a text, no order of a set."
            )


def scale(subject: Subject) -> None:
    """Choose 200 of 272,000 pairs; time and memory are reported, not judged."""
    view = LARGE_CASE.view()
    with measure_usage() as usage:
        subject.select("2,000 prompts of 17 completions, d = 32", view)
    memory = "" if usage.peak_bytes is None else f" and {usage.peak_bytes / 2**20:.0f} MiB"
    subject.remarks.append(f"it took {usage.seconds:.3f} s{memory}.")


def docstring(subject: Subject) -> None:
    """State in the docstring the pairs it chooses, its family, source, assumptions and cost."""
    details, faults = subject.details, []
    if not details["summary"]:
        faults.append("there is no docstring that says in one sentence which pairs it chooses")
    if missing := [f"'{key.capitalize()}: …'" for key in CLOSING_KEYS if not details[key]]:
        faults.append(f"the docstring does not end with lines {', '.join(missing)}")
    family = details["family"]
    if family and family not in FAMILIES:
        suggestion = did_you_mean(family, FAMILIES) or f" There are: {', '.join(FAMILIES)}."
        faults.append(f"there is no family {family!r}.{suggestion}")
    if family and (family == "control") != subject.control:
        faults.append("the family 'control' is for designs with control = True, and only for these")
    message = "; ".join(fault.removesuffix(".") for fault in faults)
    if faults and subject.built_in:
        raise Failed(f"{message}.")
    if faults:
        subject.remarks.append(f"{message}. Listings of designs leave out what is missing.")


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
# Checks that run even if the design fails in an ordinary round: they say why it does.
_UNCONDITIONAL = (rows, proper, unchanged_view, docstring)


def run_check(subject: Subject, name: str) -> CheckResult:
    """Run a check in this process, without a time limit.

    Args:
        subject: the design.
        name: name of the check, one of ``CHECKS``.
    """
    check, start = CHECKS[name], time.perf_counter()
    subject.remarks.clear()
    try:
        with threadpool_limits(limits=1):
            if check not in _UNCONDITIONAL and not subject.plays(LATER_ROUND):
                raise Skipped("it does not play an ordinary round; fix that first.")
            check(subject)
        status, message = PASS, "\n".join(dict.fromkeys(subject.remarks))
    except Failed as failed:
        status, message = FAIL, str(failed)
    except Skipped as skipped:
        status, message = SKIPPED, str(skipped)
    return CheckResult(name, _requirement(name), status, message, time.perf_counter() - start)


def run_checks(design: str, time_limit: float) -> Iterator[CheckResult]:
    """Run all checks in a subprocess, so that a design may hang, exit or crash.

    Args:
        design: see :func:`pairbench.make_design`.
        time_limit: seconds that a check may take. A check that takes longer fails, and those after
            it are skipped.

    Yields:
        The result of each check, in the order of ``CHECKS``.

    Raises:
        PairbenchError: If the design cannot be made, or the time limit is not positive.
    """
    check_time_limit(time_limit)
    subject = Subject(design)
    pending = list(CHECKS)
    with TemporaryDirectory() as folder:
        stack = Path(folder) / "stack"
        with spawn_process(_send_results, design, time_limit, stack) as (process, connection):
            while pending:
                try:
                    result: CheckResult = connection.recv()
                except EOFError:
                    break
                pending.remove(result.check)
                yield result
            process.join()
        if pending:
            traceback = stack.read_text() if stack.exists() else ""
            message = _timeout_message(subject, traceback, time_limit) or (
                f"the design ended its process (exit code {process.exitcode})."
            )
            yield CheckResult(pending[0], _requirement(pending[0]), FAIL, message)
    for name in pending[1:]:
        message = f"{pending[0]} did not come to an end."
        yield CheckResult(name, _requirement(name), SKIPPED, message)


def _requirement(name: str) -> str:
    """Return the sentence that says what a design must do to pass a check."""
    return CHECKS[name].__doc__ or ""


# -- states that checks compare ------------------------------------------------------------------


def _snapshot(view: View) -> dict[str, bytes]:
    """Pickle all fields of a view and its pool; ``view.rng``, which advances in use, by its id."""
    fields = {f"view.{name}": value for name, value in vars(view).items() if name != "pool"}
    names = ("features", "log_ref", "lengths", "valid", "prompt_weights", "texts", "scores")
    fields |= {f"view.pool.{name}": getattr(view.pool, name) for name in names}
    fields["view.rng"] = id(view.rng)
    return {name: pickle.dumps(value) for name, value in fields.items()}


def _random_states(*, advance: bool = True) -> dict[str, bytes]:
    """Pickle the global random states.

    Args:
        advance: draw from each generator first. Otherwise a design that always sets the same seed
            would go unnoticed, because its second call changes nothing.
    """
    torch = sys.modules.get("torch")
    if advance:
        np.random.random()  # noqa: NPY002 - the state that designs must not use
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
    """Return the index of the first row in which two arrays of pairs differ, None if equal."""
    if one.shape != other.shape:
        return min(len(one), len(other))
    differing = np.flatnonzero((one != other).any(axis=1))
    return int(differing[0]) if differing.size else None


# -- subprocess of run_checks --------------------------------------------------------------------


def _send_results(connection: Connection, design: str, time_limit: float, stack: Path) -> None:
    """Run all checks, send each result, and exit at the time limit with the stack in a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and kills this process
    subject = Subject(design)
    for name in CHECKS:
        with exit_after(time_limit, stack):
            result = run_check(subject, name)
        connection.send(result)


def _timeout_message(subject: Subject, stack: str, time_limit: float) -> str:
    """Say where in the design's file a check timed out; "" if no stack was written.

    Args:
        subject: the design.
        stack: the stack that faulthandler wrote, innermost frame first.
        time_limit: seconds.
    """
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack)
    if not frames:
        return ""
    design_frames = [frame for frame in frames if frame[0] == subject.details["file"]]
    file, line, function = (design_frames or frames)[0]
    return (
        f"it did not end within {time_limit:g} s. It was in line {line} of {Path(file).name}, in "
        f"{function}."
    )
