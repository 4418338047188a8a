"""Control: buys no labels at all, so that the policy stays π_ref.

It returns no pairs in any round. Its gap is the one before the first label; labels of a design with
a larger gap did harm. Shown in tables, never ranked.

Family: control.
Source: none.
Assumes: nothing.
Cost: none.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pairbench import Design, Pairs, View


@dataclass(frozen=True)
class LabelFree(Design):
    """A control that returns no pairs."""

    control: ClassVar[bool] = True

    def select(self, view: View, n: int) -> Pairs:
        """Return no pairs, which ends the episode's labelling."""
        return np.empty((0, 3), dtype=np.int64)
