"""Rounds that every design must be able to play, and pools with other numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench.information import policy_covariance
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.pool.pool import CompletionIndex, Pairs, Pool
from pairbench.view.budget import Ledger
from pairbench.view.view import ControlView, View

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

_BETA, _RIDGE = 0.8, 0.5


@dataclass(frozen=True)
class Case:
    """A round that a design must be able to play.

    Attributes:
        hint: what an author should know of it.
        shape: of the features.
        n: labels to buy.
        asked: the share of all pairs that was asked before.
        label: what all of them were answered; random answers if None.
        there: the share of completions that are valid.
        different: how many completions of a prompt differ; all if None.
        scored: whether the pool holds external scores.
    """

    hint: str
    shape: tuple[int, int, int] = (6, 5, 3)
    n: int = 7
    asked: float = 0.5
    label: float | None = None
    there: float = 1.0
    different: int | None = None
    scored: bool = False

    def view(self) -> View:
        """The round, the same each time."""
        rng = np.random.default_rng(1)
        size = self.shape[:2]
        same = np.arange(size[1]) % (self.different or size[1])
        rank = rng.permuted(np.tile(np.arange(size[1]), (size[0], 1)), axis=1)
        pool = Pool(
            rng.normal(size=self.shape)[:, same],
            log_ref=rng.normal(size=size)[:, same],
            lengths=rng.integers(1, 50, size=size)[:, same],
            valid=(rank < 2) | (rng.random(size) < self.there),
            prompt_weights=rng.uniform(0.5, 2.0, size=size[0]),
            scores=rng.normal(size=size)[:, same] if self.scored else None,
        )
        asked = rng.choice(pool.n_pairs, size=round(self.asked * pool.n_pairs), replace=False)
        pairs = pairs_from_numbers(pool, asked)
        pairs[::2] = pairs[::2][:, [0, 2, 1]]
        labels = rng.choice([0.0, 0.5, 1.0, 1.0, np.nan], size=len(pairs))
        if self.label is not None:
            labels[:] = self.label
        return make_view(pool, pairs, labels, self.n)


ORDINARY, FIRST, SCORED = "later round", "no labels yet", "external scores"
CASES = {
    ORDINARY: Case("view.pool.valid says which completions are there.", there=0.8),
    FIRST: Case("In the first round view.pairs has shape (0, 3), and view.labels (0,).", asked=0),
    "completions missing": Case("Of most prompts there are two or three.", there=0.2),
    "two completions": Case("view.pool.n_completions is 2.", shape=(8, 2, 3)),
    "one prompt": Case("view.pool.n_prompts is 1.", shape=(1, 6, 3)),
    "one pair": Case("The pool has one pair, which may be asked again.", shape=(1, 2, 3)),
    "one feature": Case("view.pool.dim is 1.", shape=(6, 5, 1)),
    "duplicates": Case("Completions with equal features differ by z = 0.", different=2),
    "all completions equal": Case("All z are 0, and all lengths of a prompt equal.", different=1),
    "all labels equal": Case("The first completion was always the better one.", label=1.0),
    "labels missing": Case(
        "A label that is NaN was not answered; see view.answered.", label=np.nan
    ),
    "every pair asked": Case("A pair may be asked again.", asked=1.0),
    "more labels than pairs": Case("Pairs may be asked again; fewer may be returned.", n=181),
    "one label": Case("n is 1.", n=1),
    SCORED: Case("view.pool.scores is not None.", scored=True),
}
SCALE = Case("", shape=(2000, 17, 32), n=200, asked=300 / 272_000)


def make_view(pool: Pool, pairs: Pairs, labels: Array, n: int) -> View:
    """What a design may see of a pool and its labels.

    Args:
        pool: the pool.
        pairs: asked so far, ``(m, 3)``.
        labels: their answers, ``(m,)``.
        n: labels to buy.
    """
    pairs, labels = pairs.copy(), labels.copy()
    pairs.flags.writeable = labels.flags.writeable = False
    before = (len(pairs),) if len(pairs) else ()
    ledger = Ledger((*before, len(pairs) + n), len(before), len(pairs))
    return View(pool, _BETA, _RIDGE, pairs, labels, ledger, np.random.default_rng(4))


def with_truth(view: View) -> ControlView:
    """The view that a control gets, of a made-up truth."""
    theta = np.random.default_rng(5).normal(size=view.pool.dim)
    covariance = policy_covariance(view.pool, theta, view.beta)
    return ControlView(**vars(view), theta=theta, covariance=covariance)


@dataclass(frozen=True, eq=False)
class Order:
    """Another numbering of a pool's prompts and completions.

    Attributes:
        prompts: the old number of each new prompt, ``(N,)``.
        completions: the old number of each completion of each new prompt, ``(N, K)``.
    """

    prompts: Numbers
    completions: Numbers

    def view(self, view: View) -> View:
        """A view of the pool in the new order, with the same labels."""
        pool, pairs = self.pool(view.pool), self.new(view.pairs)
        return make_view(pool, pairs, view.labels, view.budget_left)

    def pool(self, pool: Pool) -> Pool:
        """The pool in the new order."""
        return pool.regroup(
            CompletionIndex(self.prompts, self.completions, pool.prompt_weights[self.prompts])
        )

    def new(self, pairs: Pairs) -> Pairs:
        """Pairs of the old pool as those of the new one."""
        old, first, second = pairs.T
        prompt = np.argsort(self.prompts)[old]
        place = np.argsort(self.completions, axis=1)
        return np.stack([prompt, place[prompt, first], place[prompt, second]], axis=1)

    def old(self, pairs: Pairs) -> Pairs:
        """Pairs of the new pool as those of the old one."""
        prompt, first, second = pairs.T
        back = self.completions[prompt, first], self.completions[prompt, second]
        return np.stack([self.prompts[prompt], *back], axis=1)
