"""The design under test, and the exceptions by which a check ends early."""

import traceback
import warnings

from pairbench.cells.play import call_select
from pairbench.checks.cases import CASES, FIRST_ROUND, LATER_ROUND, with_truth
from pairbench.design.design import Design
from pairbench.design.registry import design_details, make_design
from pairbench.errors import PairbenchError, ReadOnlyView
from pairbench.pool.pairs import check_pairs
from pairbench.pool.pool import Pairs
from pairbench.spec.text import parse_spec
from pairbench.view.view import View


class Failed(Exception):
    """Raised by a check that a design fails; the message says what to fix."""


class Skipped(Exception):
    """Raised by a check that does not apply; the message says why."""


class Subject:
    """The design under test.

    Attributes:
        design: the design's name, file or spec.
        details: the parts of its docstring, and its file; see
            :func:`pairbench.design.registry.design_details`.
        ordered: see :attr:`pairbench.Design.ordered`.
        control: see :attr:`pairbench.Design.control`.
        built_in: whether it is one of the designs that ship with pairbench.
        remarks: observations of the current check that are no failures, such as warnings.
    """

    def __init__(self, design: str) -> None:
        """Make the design once, so that one that cannot be made is reported at once.

        Args:
            design: see :func:`pairbench.make_design`.

        Raises:
            PairbenchError: If the design cannot be made.
        """
        self.design = design
        instance = self.make()
        self.details = design_details(parse_spec(design)[0])
        self.ordered, self.control = instance.ordered, instance.control
        self.built_in = type(instance).__module__.startswith("pairbench.designs.")
        self.remarks: list[str] = []
        self._plays: dict[str, bool] = {}

    def make(self) -> Design:
        """Make a new instance of the design."""
        return make_design(self.design)

    def plays(self, case: str) -> bool:
        """Tell whether the design returns proper pairs in a round.

        Args:
            case: name of the round, one of ``CASES``.
        """
        if case not in self._plays:
            try:
                self.select(case)
            except Failed:
                self._plays[case] = False
            else:
                self._plays[case] = True
        return self._plays[case]

    @property
    def rounds(self) -> list[str]:
        """Names of the first and the later round, without those in which the design fails."""
        return [case for case in (FIRST_ROUND, LATER_ROUND) if self.plays(case)]

    def select_unchecked(
        self, case: str, view: View | None = None, instance: Design | None = None
    ) -> object:
        """Return the result of the design's ``select`` without checking it.

        Warnings of the kind ``RuntimeWarning`` become remarks.

        Args:
            case: name of the round, for messages.
            view: view of the round; if None, that of the case of this name.
            instance: instance of the design; a new one if None.

        Raises:
            Failed: If the design raises an exception.
            ReadOnlyView: If the design writes into its view.
        """
        view, instance = view or CASES[case].view(), instance or self.make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            try:
                design_view = with_truth(view) if self.control else view
                result = call_select(instance, design_view, view.budget_left, "the design")
            except ReadOnlyView:
                raise
            except (Exception, SystemExit) as error:
                fault = f"it raised {type(error).__name__}{self._error_line(error)}: {error}"
                raise Failed(describe_failure(case, fault)) from error
        for warning in caught:
            if issubclass(warning.category, RuntimeWarning):
                self.remarks.append(f"{case}: it warned of {str(warning.message)!r}.")
        return result

    def select(self, case: str, view: View | None = None, instance: Design | None = None) -> Pairs:
        """Return the pairs that the design chooses, ``(m, 3)``, after checking them.

        Args:
            case: name of the round, for messages.
            view: view of the round; if None, that of the case of this name.
            instance: instance of the design; a new one if None.

        Raises:
            Failed: If the design raises an exception, or returns anything but proper pairs within
                the budget.
        """
        view = view or CASES[case].view()
        try:
            result = self.select_unchecked(case, view, instance)
            return check_pairs(result, view.pool, view.budget_left)
        except PairbenchError as error:
            raise Failed(describe_failure(case, str(error))) from error

    def _error_line(self, error: BaseException) -> str:
        """Return " in line …", the innermost line of the design's file in a traceback, or ""."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.details["file"]]
        return f" in line {lines[-1]}" if lines else ""


def describe_failure(case: str, fault: str) -> str:
    """Build a message from the name of a round, what went wrong in it, and the case's hint.

    Args:
        case: name of the round.
        fault: a sentence, with or without its full stop.
    """
    hint = f" {CASES[case].hint}" if case in CASES else ""
    return f"{case}: {fault.removesuffix('.')}.{hint}"
