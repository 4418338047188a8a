"""What can go wrong, by name.

Every message says what was expected, what came, and what to do about it.
"""

import difflib
from collections.abc import Iterable
from typing import TypeVar


class PairbenchError(Exception):
    """Base of every error that pairbench raises on purpose."""


Error = TypeVar("Error", bound=PairbenchError)


class InvalidPool(PairbenchError, ValueError):
    """A pool of completions that cannot be used."""


class InvalidPairs(PairbenchError, ValueError):
    """A design's answer that is not an array of proper pairs."""


class BudgetExceeded(InvalidPairs):
    """A design asked for more labels than are left."""


class ReadOnlyView(InvalidPairs):
    """A design tried to write into its view."""


class InvalidParameter(PairbenchError, ValueError):
    """A parameter of a design, an environment or a run that cannot be used."""


class InvalidCell(PairbenchError, ValueError):
    """A cell file that is cut off, edited, or of another protocol."""


class InvalidData(PairbenchError, ValueError):
    """A data file that is not what it should be."""


class NotRecorded(InvalidPairs):
    """A question that nobody answered, where answers are a record."""


class MissingData(PairbenchError):
    """An environment's data file is not in the cache folder."""


class FileThere(PairbenchError):
    """A file that would be overwritten."""


class TrainingFailed(PairbenchError, ArithmeticError):
    """The optimiser did not reach the requested accuracy."""


class EndpointFailed(PairbenchError):
    """A model that is asked over the network and cannot be: not reached, or the request refused."""


class PluginError(PairbenchError):
    """A file or entry point that should hold a design or an environment does not load."""


class InvalidSubmission(PairbenchError, ValueError):
    """An entry or a bundle that is not what it must be, or a run that cannot be submitted."""


class NoSandbox(PairbenchError):
    """Designs cannot be isolated on this machine."""


class DesignFailed(PairbenchError):
    """A design that raised, hung, or ended its process where it was run in isolation."""


class RunError(PairbenchError):
    """A run that cannot start or a run folder that cannot be read."""


class UnknownName(PairbenchError, LookupError):
    """A name that nothing answers to."""


class UnknownDesign(UnknownName):
    """No design of that name."""


class UnknownEnvironment(UnknownName):
    """No environment of that id."""


class UnknownEstimator(UnknownName):
    """No estimator of that name."""


class UnknownAnnotator(UnknownName):
    """No stage of an annotator has this name."""


class UnknownTrainer(UnknownName):
    """No trainer has this name."""


class UnknownBoard(UnknownName):
    """No board of that name."""


class UnknownDataset(UnknownName):
    """No data set of that name."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The half-sentence that names the nearest known name, or nothing when none is near."""
    by_lower = {k.lower(): k for k in known}
    # Of names as near, the one that begins alike is meant.
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    near.sort(key=lambda other: not other.startswith(name.lower().split("-")[0]))
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def unknown(kind: type[Error], what: str, name: str, known: Iterable[str]) -> Error:
    """The error for a name that nothing answers to, with the nearest one and all that there are."""
    names = sorted(known)
    return kind(f"no {what} {name!r}.{did_you_mean(name, names)} There are: {', '.join(names)}.")
