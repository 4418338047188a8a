"""The contract of designs, which select the pairs to be labelled."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.pool.pool import Pairs
from pairbench.spec.building import FunctionAdapter
from pairbench.view.view import View

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design(ABC):
    """A rule that selects pairs to be labelled: a frozen dataclass whose fields are its parameters.

    A design derives any state from the view, so that an episode can be resumed after any round.
    A plain function ``select(view, n)`` in a file is a design too.
    """

    control: ClassVar[bool] = False
    """Whether the design is a control, which gets the truth (its views are a :class:`ControlView`),
    bounds how good a design could be, and is never ranked."""

    ordered: ClassVar[bool] = False
    """Whether the selection may depend on the order of a prompt's completions. If not, it must be
    equivariant to renumbering them, up to ties broken by ``view.rng``; it must always be
    equivariant to renumbering prompts."""

    def parts(self) -> tuple[object, ...]:
        """Return the objects that the selection depends on: an estimator, a wrapped design.

        The code of third-party parts is part of the identity of a cell.
        """
        return ()

    @abstractmethod
    def select(self, view: View, n: int) -> Pairs:
        """Select the pairs of a round.

        Args:
            view: the round's view.
            n: number of labels to buy; fewer are allowed, more are not.

        Returns:
            ``(n, 3)`` integer rows ``(prompt, first, second)``, with ``first != second`` and both
            valid. A repeated pair gets a new label. Where budgets are money, more than n are
            allowed if ``view.money_left`` pays for them; of pairs that cost more than is left, a
            random subset is asked.
        """

    # Why: docs/decisions/021-completions-are-generated-before-pairs.md
    def generate(self, view: View) -> NDArray[np.int64]:
        """Select prompts for which completions are generated, before the pairs of a round.

        Called only in worlds where completions can be generated.

        Args:
            view: the round's view.

        Returns:
            ``(m,)`` prompts; one completion is drawn from π_ref for each occurrence of a prompt.
            None by default.
        """
        return np.empty(0, dtype=np.int64)


class FunctionDesign(FunctionAdapter, Design):
    """A design that calls a function ``select(view, n, **params)``."""

    def select(self, view: View, n: int) -> Pairs:
        """Call the function."""
        pairs: Pairs = self.function(view, n, **self.params)
        return pairs
