"""Votes of several annotators on the same questions, and their aggregation into labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.pool.pool import freeze_array

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Votes:
    """Single votes on n questions, up to v on each; the arrays are copied and read-only.

    Attributes:
        annotators: the index of each vote's annotator, ``(n, v)``; −1 for those who cannot be told
            apart.
        answers: 1 the first is better, 0 the second, ½ a tie, in the order in which the question
            was shown, ``(n, v)``; NaN where there is no vote.
    """

    annotators: NDArray[np.int64]
    answers: Array

    def __post_init__(self) -> None:
        if self.answers.ndim != 2 or self.annotators.shape != self.answers.shape:
            raise InvalidParameter(
                "annotators and answers of votes must have one shape (questions, votes), got "
                f"{self.annotators.shape} and {self.answers.shape}."
            )
        object.__setattr__(self, "annotators", freeze_array(self.annotators))
        object.__setattr__(self, "answers", freeze_array(self.answers))

    def mean(self) -> Array:
        """Compute the mean vote on each question, ``(n,)``; NaN where there is none."""
        is_vote = ~np.isnan(self.answers)
        count = is_vote.sum(axis=1)
        total = np.where(is_vote, self.answers, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def majority(self) -> Array:
        """Compute the majority vote, ``(n,)``: 1, 0 or ½, ties counting half for either side."""
        return (np.sign(self.mean() - 0.5) + 1) / 2

    def labels(self, aggregate: str) -> Array:
        """Aggregate the votes on each question into one label, ``(n,)``.

        Args:
            aggregate: ``"majority"`` or ``"soft"``, the mean.
        """
        return {"majority": self.majority, "soft": self.mean}[aggregate]()


AGGREGATES = ("majority", "soft")
"""Ways to aggregate votes into labels."""


def check_aggregate(aggregate: str) -> None:
    """Check that votes can be aggregated in this way.

    Raises:
        InvalidParameter: If it is not one of :data:`AGGREGATES`.
    """
    if aggregate not in AGGREGATES:
        names = " or ".join(map(repr, AGGREGATES))
        raise InvalidParameter(f"aggregate must be {names}, got {aggregate!r}.")
