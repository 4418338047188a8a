"""The design under test, and the outcomes that a check can raise."""

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
    """A design does not do what a check asks for; says what to mend."""


class Skipped(Exception):
    """A check cannot be made; says why."""


class Subject:
    """The design that is checked.

    Attributes:
        design: its name, file or spec.
        details: what it says of itself, see :func:`pairbench.design.registry.describe_design`.
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
        self.details = design_details(parse_spec(design)[0])
        self.ordered, self.control = made.ordered, made.control
        self.own = type(made).__module__.startswith("pairbench.designs.")
        self.remarks: list[str] = []
        self._plays: dict[str, bool] = {}

    def make(self) -> Design:
        """Make a new object of the design."""
        return make_design(self.design)

    def plays(self, case: str) -> bool:
        """Tell whether the design plays a round without failure."""
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
        """Names of the first and of a later round, as far as the design plays them."""
        return [case for case in (FIRST_ROUND, LATER_ROUND) if self.plays(case)]

    def answer(self, case: str, view: View | None = None, made: Design | None = None) -> object:
        """Return the result of the design's ``select``, unchecked.

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
                chosen = call_select(made, shown, view.budget_left, "the design")
            except ReadOnlyView:
                raise
            except (Exception, SystemExit) as error:
                what = f"it raised {type(error).__name__}{self._error_line(error)}: {error}"
                raise Failed(describe_failure(case, what)) from error
        for warning in caught:
            if issubclass(warning.category, RuntimeWarning):
                self.remarks.append(f"{case}: it warned of {str(warning.message)!r}.")
        return chosen

    def pairs(self, case: str, view: View | None = None, made: Design | None = None) -> Pairs:
        """Return the pairs that the design chooses, checked.

        Raises:
            Failed: If it raises, or returns anything but proper pairs within the budget.
        """
        view = view or CASES[case].view()
        pool, left = view.pool, view.budget_left
        try:
            return check_pairs(self.answer(case, view, made), pool, left)
        except PairbenchError as error:
            raise Failed(describe_failure(case, str(error))) from error

    def _error_line(self, error: BaseException) -> str:
        """Name the last line of the design's file in an error's traceback."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.details["file"]]
        return f" in line {lines[-1]}" if lines else ""


def describe_failure(case: str, what: str) -> str:
    """Describe what went wrong in a case, with the hint of the case."""
    hint = f" {CASES[case].hint}" if case in CASES else ""
    return f"{case}: {what if what.endswith('.') else f'{what}.'}{hint}"
