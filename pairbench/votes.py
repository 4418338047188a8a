"""Several answers to one question: who gave which, and what they come to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.pool import frozen_array

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Votes:
    """Single votes on n questions, up to v on each; the arrays are copied and read-only.

    Attributes:
        annotators: whose vote it is, ``(n, v)``; −1 for all who cannot be told apart.
        answers: 1 the first is better, 0 the second, ½ a tie, as each question was shown, ``(n,
            v)``; NaN where there is no vote.
    """

    annotators: NDArray[np.int64]
    answers: Array

    def __post_init__(self) -> None:
        if self.answers.ndim != 2 or self.annotators.shape != self.answers.shape:
            raise InvalidParameter(
                "annotators and answers of votes must have one shape (questions, votes), got "
                f"{self.annotators.shape} and {self.answers.shape}."
            )
        object.__setattr__(self, "annotators", frozen_array(self.annotators))
        object.__setattr__(self, "answers", frozen_array(self.answers))

    def mean(self) -> Array:
        """The mean vote on each question, ``(n,)``; NaN where there is none."""
        given = ~np.isnan(self.answers)
        count = given.sum(axis=1)
        total = np.where(given, self.answers, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def majority(self) -> Array:
        """What most voters say, ``(n,)``: 1, 0 or ½, ties counting half for either side."""
        return (np.sign(self.mean() - 0.5) + 1) / 2

    def labels(self, aggregate: str) -> Array:
        """One label for each question, ``(n,)``.

        Args:
            aggregate: ``"majority"`` or ``"soft"``, the mean.
        """
        return {"majority": self.majority, "soft": self.mean}[aggregate]()


AGGREGATES = ("majority", "soft")


def check_aggregate(aggregate: str) -> None:
    """Refuse what is no way of making one label of several votes.

    Raises:
        InvalidParameter: With the ways that there are.
    """
    if aggregate not in AGGREGATES:
        listed = " or ".join(map(repr, AGGREGATES))
        raise InvalidParameter(f"aggregate must be {listed}, got {aggregate!r}.")
