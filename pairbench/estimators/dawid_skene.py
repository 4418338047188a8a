"""Dawid and Skene's observer error rates: annotators' reliability, estimated from agreement.

Source: Dawid and Skene 1979, *Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm*, Applied Statistics 28(1), 20 to 28. The estimate here is maximum a posteriori: with few
votes of unreliable annotators, the paper's maximum likelihood is worse than a majority vote.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pairbench._util.checks import check_nonnegative
from pairbench.pool.votes import Votes

Array = NDArray[np.float64]

# Why: docs/decisions/015-dawid-skene-uses-pseudo-counts.md
PSEUDO_COUNT = 10.0
"""Number of pseudo-answers added to each annotator's own, see :func:`dawid_skene`: enough for
posteriors to be hardly ever worse than majorities, and few enough for them to be far better where
annotators of different reliability gave twenty votes each."""

_CORRECT = 2 / 3  # share of correct ones among the pseudo-answers that are no ties
_MIN_PROBABILITY = 1e-10  # in place of a probability of 0, which no evidence could change
_MAX_ITERATIONS = 1000


class DawidSkene(NamedTuple):
    """Posterior of the true answers, and error rates of the annotators.

    Attributes:
        posterior: probability that the first is better, for each question, ``(n,)``; NaN where
            there are no votes.
        annotators: the ids of those who voted, ascending, ``(a,)``.
        confusion: each annotator's answer probabilities, ``(a, 2, k)``: ``[i, c]`` where the
            second (c = 0) or the first (1) is better, over the answers second, first and, if there
            are ties, tie.
        share: the share of questions whose first is better.
        iterations: of EM, at most 1000.
    """

    posterior: Array
    annotators: NDArray[np.int64]
    confusion: Array
    share: float
    iterations: int


def dawid_skene(votes: Votes, prior: float = PSEUDO_COUNT, tol: float = 1e-8) -> DawidSkene:
    """Estimate each question's posterior and each annotator's error rates by EM.

    EM starts from the mean votes. Each question has one true answer, given which all votes are
    independent. Answers refer to the order of presentation, so that a position bias shows in an
    annotator's error rates. A pair that was asked twice counts as two questions.

    Args:
        votes: the votes.
        prior: pseudo-count. For either true answer, as many pseudo-answers are added to each
            annotator's, with the share of ties among all votes, two thirds of the rest correct; and
            as many questions with either true answer. 0 is the paper's estimate, which may reverse
            all answers, and has probabilities of 0 and 1 for events never or always seen.
        tol: the largest change of a posterior at which EM ends.

    Raises:
        InvalidParameter: If ``prior`` or ``tol`` is not a finite number, 0 or more.
    """
    check_nonnegative(prior=prior, tol=tol)
    data = _Answers.of(votes)
    pseudo_answers = _pseudo_answers(data, prior)
    posterior = votes.mean()
    voted = ~np.isnan(posterior)
    iterations, share, confusion = 0, 0.5, np.empty((0, 2, data.n_kinds))
    while iterations < _MAX_ITERATIONS and voted.any():
        iterations += 1
        share = float((posterior[voted].sum() + prior) / (voted.sum() + 2 * prior))
        confusion = _confusion(data, posterior, pseudo_answers)
        before, posterior = posterior, np.where(voted, _posterior(data, confusion, share), np.nan)
        if np.abs(posterior - before)[voted].max() <= tol:
            break
    return DawidSkene(posterior, data.annotators, confusion, share, iterations)


class _Answers(NamedTuple):
    """The m votes as one list.

    Attributes:
        annotators: the ids of those who voted, ascending, ``(a,)``.
        question: index of each vote's question, ``(m,)``.
        voter: index of its annotator, ``(m,)``.
        kind: its answer, ``(m,)``: 0 the second, 1 the first, 2 a tie.
        n_kinds: 3 if there are ties, else 2.
        n_questions: n.
        ties: the share of ties.
    """

    annotators: NDArray[np.int64]
    question: NDArray[np.int64]
    voter: NDArray[np.int64]
    kind: NDArray[np.int64]
    n_kinds: int
    n_questions: int
    ties: float

    @classmethod
    def of(cls, votes: Votes) -> Self:
        """List the votes that were given."""
        question, column = np.nonzero(~np.isnan(votes.answers))
        answer = votes.answers[question, column]
        annotators, voter = np.unique(votes.annotators[question, column], return_inverse=True)
        ties = float(np.mean(answer == 0.5)) if len(answer) else 0.0
        kind = np.where(answer == 0.5, 2, answer).astype(np.int64)
        return cls(annotators, question, voter, kind, 3 if ties else 2, len(votes.answers), ties)


def _pseudo_answers(data: _Answers, prior: float) -> Array:
    """Return the pseudo-answers of each annotator, ``(2, 1, k)``, by true answer and answer."""
    correct = np.array([[_CORRECT, 1 - _CORRECT], [1 - _CORRECT, _CORRECT]]) * (1 - data.ties)
    share = np.column_stack([correct, [data.ties, data.ties]])
    pseudo_answers: Array = prior * share[:, None, : data.n_kinds]
    return pseudo_answers


def _confusion(data: _Answers, posterior: Array, pseudo_answers: Array) -> Array:
    """Estimate each annotator's answer probabilities, ``(a, 2, k)``: the M step."""
    cell, n_cells = data.voter * data.n_kinds + data.kind, len(data.annotators) * data.n_kinds
    first = np.bincount(cell, posterior[data.question], n_cells)
    second = np.bincount(cell, 1 - posterior[data.question], n_cells)
    counts = np.stack([second, first]).reshape(2, -1, data.n_kinds) + pseudo_answers
    counts = np.maximum(counts, _MIN_PROBABILITY)
    confusion: Array = (counts / counts.sum(axis=2, keepdims=True)).transpose(1, 0, 2)
    return confusion


def _posterior(data: _Answers, confusion: Array, share: float) -> Array:
    """Compute the probability that the first is better, ``(n,)``: the E step."""
    log_ratio = np.log(confusion[:, 1] / confusion[:, 0])
    evidence = np.bincount(data.question, log_ratio[data.voter, data.kind], data.n_questions)
    prior_logit = logit(np.clip(share, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY))
    posterior: Array = expit(prior_logit + evidence)
    return posterior
