"""Rounds that every design must be able to play, and renumberings of their pools."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.information import policy_covariance
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.pool.pool import CompletionIndex, Pairs, Pool
from pairbench.view.budget import Ledger
from pairbench.view.view import ControlView, View

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_BETA, _RIDGE = 0.8, 0.5


@dataclass(frozen=True)
class Case:
    """A round that a design must be able to play, on a small random pool.

    Attributes:
        hint: advice to authors whose design fails in this round.
        shape: number of prompts, of completions per prompt, and of features.
        n: number of labels that the design may buy.
        share_labelled: share of the pool's pairs that were labelled in earlier rounds.
        label: label of all these pairs, NaN if unanswered; random labels if None.
        share_valid: probability that a completion is valid; two of each prompt always are.
        n_distinct: number of distinct completions of each prompt, the others being copies of them;
            all are distinct if None.
        scored: whether the pool has external scores.
    """

    hint: str
    shape: tuple[int, int, int] = (6, 5, 3)
    n: int = 7
    share_labelled: float = 0.5
    label: float | None = None
    share_valid: float = 1.0
    n_distinct: int | None = None
    scored: bool = False

    def view(self) -> View:
        """Build the view of the round from a fixed seed, so that each call returns the same."""
        rng = np.random.default_rng(1)
        size = self.shape[:2]
        copied = np.arange(size[1]) % (self.n_distinct or size[1])
        rank = rng.permuted(np.tile(np.arange(size[1]), (size[0], 1)), axis=1)
        pool = Pool(
            rng.normal(size=self.shape)[:, copied],
            log_ref=rng.normal(size=size)[:, copied],
            lengths=rng.integers(1, 50, size=size)[:, copied],
            valid=(rank < 2) | (rng.random(size) < self.share_valid),
            prompt_weights=rng.uniform(0.5, 2.0, size=size[0]),
            scores=rng.normal(size=size)[:, copied] if self.scored else None,
        )
        n_labelled = round(self.share_labelled * pool.n_pairs)
        pairs = pairs_from_numbers(pool, rng.choice(pool.n_pairs, size=n_labelled, replace=False))
        pairs[::2] = pairs[::2][:, [0, 2, 1]]
        labels = rng.choice([0.0, 0.5, 1.0, 1.0, np.nan], size=len(pairs))
        if self.label is not None:
            labels[:] = self.label
        return make_view(pool, pairs, labels, self.n)


LATER_ROUND, FIRST_ROUND, WITH_SCORES = "later round", "no labels yet", "external scores"
CASES = {
    LATER_ROUND: Case("view.pool.valid says which completions exist.", share_valid=0.8),
    FIRST_ROUND: Case(
        "In the first round view.pairs has shape (0, 3), and view.labels (0,).", share_labelled=0
    ),
    "completions missing": Case(
        "Most prompts have only two or three valid completions.", share_valid=0.2
    ),
    "two completions": Case("view.pool.n_completions is 2.", shape=(8, 2, 3)),
    "one prompt": Case("view.pool.n_prompts is 1.", shape=(1, 6, 3)),
    "one pair": Case("The pool has one pair, which may be asked again.", shape=(1, 2, 3)),
    "one feature": Case("view.pool.dim is 1.", shape=(6, 5, 1)),
    "duplicates": Case("Completions with equal features differ by z = 0.", n_distinct=2),
    "all completions equal": Case("All z are 0, and all lengths of a prompt equal.", n_distinct=1),
    "all labels equal": Case("The first completion was preferred in every pair.", label=1.0),
    "labels missing": Case(
        "A label that is NaN was not answered; see view.answered.", label=np.nan
    ),
    "every pair asked": Case("A pair may be asked again.", share_labelled=1.0),
    "more labels than pairs": Case("Pairs may be asked again; fewer may be returned.", n=181),
    "one label": Case("n is 1.", n=1),
    WITH_SCORES: Case("view.pool.scores is not None.", scored=True),
}
LARGE_CASE = Case("", shape=(2000, 17, 32), n=200, share_labelled=300 / 272_000)


def make_view(pool: Pool, pairs: Pairs, labels: Array, n: int) -> View:
    """Build the view of a round: the first if no pairs are labelled yet, the second otherwise.

    Args:
        pool: the pool.
        pairs: the pairs labelled so far, ``(m, 3)``.
        labels: their labels, ``(m,)``.
        n: number of labels that the design may buy.
    """
    pairs, labels = pairs.copy(), labels.copy()
    pairs.flags.writeable = labels.flags.writeable = False
    earlier_budgets = (len(pairs),) if len(pairs) else ()
    ledger = Ledger((*earlier_budgets, len(pairs) + n), len(earlier_budgets), len(pairs))
    return View(pool, _BETA, _RIDGE, pairs, labels, ledger, np.random.default_rng(4))


def with_truth(view: View) -> ControlView:
    """Add what a control design sees: random true parameters, and the covariance they imply."""
    theta = np.random.default_rng(5).normal(size=view.pool.dim)
    covariance = policy_covariance(view.pool, theta, view.beta)
    return ControlView(**vars(view), theta=theta, covariance=covariance)


@dataclass(frozen=True, eq=False)
class Renumbering:
    """A permutation of a pool's prompts, and of each prompt's completions.

    Attributes:
        prompts: original index of each renumbered prompt, ``(N,)``.
        completions: original indices of the completions of each renumbered prompt, ``(N, K)``.
    """

    prompts: Indices
    completions: Indices

    def view(self, view: View) -> View:
        """Renumber the pool and the labelled pairs of a view; the labels stay the same."""
        pool, pairs = self.pool(view.pool), self.pairs(view.pairs)
        return make_view(pool, pairs, view.labels, view.budget_left)

    def pool(self, pool: Pool) -> Pool:
        """Renumber the prompts and completions of a pool."""
        return pool.regroup(
            CompletionIndex(self.prompts, self.completions, pool.prompt_weights[self.prompts])
        )

    def pairs(self, pairs: Pairs) -> Pairs:
        """Renumber pairs of the original pool, ``(m, 3)``."""
        original_prompt, first, second = pairs.T
        prompt = np.argsort(self.prompts)[original_prompt]
        position = np.argsort(self.completions, axis=1)
        return np.stack([prompt, position[prompt, first], position[prompt, second]], axis=1)

    def original_pairs(self, pairs: Pairs) -> Pairs:
        """Return the original indices of pairs of the renumbered pool, ``(m, 3)``."""
        prompt, first, second = pairs.T
        completions = self.completions[prompt, first], self.completions[prompt, second]
        return np.stack([self.prompts[prompt], *completions], axis=1)
