"""Errors that pairbench raises on purpose, and suggestions for misspelt names.

A message says what was expected, what came, and what to do about it. The tree of errors, with the
built-in class that each one is too::

    PairbenchError
    ├── InvalidPool (ValueError)
    ├── InvalidPairs (ValueError)
    │   ├── BudgetExceeded
    │   ├── ReadOnlyView
    │   └── NotRecorded
    ├── InvalidParameter (ValueError)
    ├── InvalidCell (ValueError)
    ├── InvalidData (ValueError)
    ├── InvalidSubmission (ValueError)
    ├── MissingData
    ├── OutputExists (FileExistsError)
    ├── TrainingFailed (ArithmeticError)
    ├── EndpointFailed
    ├── PluginError
    ├── NoSandbox
    ├── DesignFailed
    ├── RunError
    └── UnknownName (LookupError)
        ├── UnknownDesign
        ├── UnknownEnvironment
        ├── UnknownEstimator
        ├── UnknownAnnotator
        ├── UnknownTrainer
        ├── UnknownBoard
        └── UnknownDataset
"""

import difflib
from collections.abc import Iterable
from typing import TypeVar


class PairbenchError(Exception):
    """Base of every error that pairbench raises on purpose."""


Error = TypeVar("Error", bound=PairbenchError)


class InvalidPool(PairbenchError, ValueError):
    """An invalid pool of completions."""


class InvalidPairs(PairbenchError, ValueError):
    """A selection of pairs that is not an array of proper pairs of the pool."""


class BudgetExceeded(InvalidPairs):
    """A selection of more pairs than the remaining budget buys."""


class ReadOnlyView(InvalidPairs):
    """An attempt of a design to write into its view."""


class InvalidParameter(PairbenchError, ValueError):
    """An invalid parameter of a design, an environment, a run or a function."""


class InvalidCell(PairbenchError, ValueError):
    """A cell file that is truncated, was edited, or belongs to another protocol."""


class InvalidData(PairbenchError, ValueError):
    """A file whose content is not in the expected format or fails a check."""


class NotRecorded(InvalidPairs):
    """A pair without a recorded label, where labels are replayed from a record."""


class MissingData(PairbenchError):
    """An environment's data file that is missing from the cache folder.

    Args:
        reason: what is missing, and where.
        remedy: how to get it, without a path of this machine, so that it can be published.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason} {remedy}".rstrip())
        self.remedy = remedy


class OutputExists(PairbenchError, FileExistsError):
    """An output file or folder that exists already and would be overwritten."""


class TrainingFailed(PairbenchError, ArithmeticError):
    """Training that diverged or did not reach the requested accuracy."""


class EndpointFailed(PairbenchError):
    """A model endpoint that cannot be reached or refuses the request."""


class PluginError(PairbenchError):
    """A plugin file or entry point that fails to load or defines nothing usable."""


class InvalidSubmission(PairbenchError, ValueError):
    """An invalid entry or bundle, or a run that cannot be submitted."""


class NoSandbox(PairbenchError):
    """A machine on which designs cannot be isolated in a sandbox."""


class DesignFailed(PairbenchError):
    """A sandboxed design that raised, exceeded its time limit, or ended its process."""


class RunError(PairbenchError):
    """A run that cannot start, or a run folder that cannot be read."""


class UnknownName(PairbenchError, LookupError):
    """A name that is not registered."""


class UnknownDesign(UnknownName):
    """An unregistered design name."""


class UnknownEnvironment(UnknownName):
    """An unregistered environment id."""


class UnknownEstimator(UnknownName):
    """An unregistered estimator name."""


class UnknownAnnotator(UnknownName):
    """An unregistered name of an annotator stage."""


class UnknownTrainer(UnknownName):
    """An unregistered trainer name."""


class UnknownBoard(UnknownName):
    """A board name that no board file has."""


class UnknownDataset(UnknownName):
    """An unregistered data set name."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest registered name, or "" if none is near.

    Args:
        name: the misspelt name.
        known: the registered names.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    # Of close matches, prefer one that shares the first word.
    prefix = name.lower().split("-")[0]
    matches.sort(key=lambda match: not match.startswith(prefix))
    return f" Did you mean {by_lower[matches[0]]!r}?" if matches else ""


def unknown_name_error(kind: type[Error], what: str, name: str, known: Iterable[str]) -> Error:
    """Build the error for an unregistered name; its message suggests and lists registered ones.

    Args:
        kind: class of the error.
        what: the kind of thing that was looked up, such as ``"trainer"``.
        name: the unregistered name.
        known: the registered names.
    """
    names = sorted(known)
    return kind(f"no {what} {name!r}.{did_you_mean(name, names)} There are: {', '.join(names)}.")
