"""Whom to believe, found from how annotators agree: Dawid and Skene's observer error rates.

Source: Dawid and Skene 1979, *Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm*, Applied Statistics 28(1), 20 to 28. The estimate here is maximum a posteriori: of few
votes, by people who are unsure themselves, the paper's makes less than a majority.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pairbench.errors import InvalidParameter
from pairbench.votes import Votes

Array = NDArray[np.float64]

PRIOR = 10.0
"""Made-up answers beside each annotator's own, see :func:`dawid_skene`: so many that posteriors are
hardly ever worse than majorities, and so few that they are far better where annotators of different
reliability gave twenty votes each."""

_RIGHT = 2 / 3  # of the made-up answers that are no ties
_LEAST = 1e-10  # stands for a probability of 0, which no evidence could ever change
_STEPS = 1000


class DawidSkene(NamedTuple):
    """What the votes say of the questions and of those who voted.

    Attributes:
        posterior: that the first is better, of each question, ``(n,)``; NaN where nobody voted.
        annotators: the ids of those who voted, ascending, ``(a,)``.
        confusion: the probabilities of each one's answers, ``(a, 2, k)``: ``[i, c]`` where the
            second (c = 0) or the first (1) is better, over the answers second, first and, where
            there are ties, tie.
        share: the share of questions whose first is better.
        iterations: of EM, at most 1000.
    """

    posterior: Array
    annotators: NDArray[np.int64]
    confusion: Array
    share: float
    iterations: int


def dawid_skene(votes: Votes, prior: float = PRIOR, tol: float = 1e-8) -> DawidSkene:
    """Each question's posterior and each annotator's error rates, by EM from the mean votes.

    Each question has one true answer, and given these all votes are independent. A question is
    taken as it was shown, so an annotator who likes what stands first is found out. One that was
    asked twice counts as two.

    Args:
        votes: the votes.
        prior: for either true answer, this many made-up answers are added to each annotator's, ties
            in the share that they have in all votes, two thirds of the others right; and this many
            questions with either true answer. 0 is the paper's estimate, which may turn all
            answers round, and is certain of whatever it has never seen.
        tol: the largest change of a posterior at which EM ends.

    Raises:
        InvalidParameter: If ``prior`` or ``tol`` is no finite number, 0 or more.
    """
    for name, value in (("prior", prior), ("tol", tol)):
        if not 0 <= value < np.inf:
            raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")
    question, column = np.nonzero(~np.isnan(votes.answers))
    answer = votes.answers[question, column]
    annotators, voter = np.unique(votes.annotators[question, column], return_inverse=True)
    ties = float(np.mean(answer == 0.5)) if len(answer) else 0.0
    kinds = 3 if ties else 2
    kind = np.where(answer == 0.5, 2, answer).astype(np.int64)
    made_up = np.array([[_RIGHT, 1 - _RIGHT], [1 - _RIGHT, _RIGHT]]) * (1 - ties)
    made_up = prior * np.column_stack([made_up, [ties, ties]])[:, None, :kinds]
    cell, cells = voter * kinds + kind, len(annotators) * kinds
    posterior = votes.mean()
    voted = ~np.isnan(posterior)
    steps, share, confusion = 0, 0.5, np.empty((0, 2, kinds))
    while steps < _STEPS and voted.any():
        steps += 1
        share = float((posterior[voted].sum() + prior) / (voted.sum() + 2 * prior))
        first = np.bincount(cell, posterior[question], cells)
        second = np.bincount(cell, 1 - posterior[question], cells)
        counts = np.stack([second, first]).reshape(2, -1, kinds) + made_up
        counts = np.maximum(counts, _LEAST)
        confusion = (counts / counts.sum(axis=2, keepdims=True)).transpose(1, 0, 2)
        weight = np.log(confusion[:, 1] / confusion[:, 0])
        evidence = np.bincount(question, weight[voter, kind], len(posterior))
        odds = logit(np.clip(share, _LEAST, 1 - _LEAST))
        before, posterior = posterior, np.where(voted, expit(odds + evidence), np.nan)
        if np.abs(posterior - before)[voted].max() <= tol:
            break
    return DawidSkene(posterior, annotators, confusion, share, steps)
