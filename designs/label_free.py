"""Control: buys no labels at all, so that the policy stays π_ref.

It returns no pairs, round after round. Its gap is what every label is bought to lower; a design
above it would have done better to stop. Shown in tables, never ranked.

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
    """No pairs."""

    control: ClassVar[bool] = True

    def select(self, view: View, n: int) -> Pairs:
        """Stop."""
        return np.empty((0, 3), dtype=np.int64)
