"""Design and View: the whole contract of a design agent, and the tools that designs share."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairbench.budget import Ledger
from pairbench.errors import InvalidParameter
from pairbench.information.fisher import label_information
from pairbench.information.laplacian import pair_forms
from pairbench.pool import Pairs, Pool
from pairbench.training.log_linear import fit_theta

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """Everything that a design may know, and nothing from which the truth can be reached.

    Attributes:
        pool: the prompts and completions to choose from.
        beta: β of the DPO training to come, reward units per nat.
        ridge: λ of the DPO training to come.
        pairs: the questions asked so far, ``(m, 3)``, oldest first.
        labels: their answers, ``(m,)``: 1 the first is better, 0 the second, ½ a tie, NaN none.
        ledger: what has been bought, and the schedule.
        rng: the only source of randomness that a design may use.
    """

    pool: Pool
    beta: float
    ridge: float
    pairs: Pairs
    labels: Array
    ledger: Ledger
    rng: np.random.Generator

    @property
    def budget_left(self) -> int:
        """Labels that may be bought in this round."""
        return self.ledger.left

    @property
    def horizon(self) -> int:
        """Labels that the episode may buy in all."""
        horizon = self.ledger.horizon
        return self.ledger.marks[-1] if horizon is None else horizon

    @property
    def round(self) -> int:
        """Rounds behind us; 0 in the first."""
        return self.ledger.round

    @property
    def rounds_left(self) -> int:
        """Rounds still to be played up to the horizon, this one included."""
        return max(1, sum(mark <= self.horizon for mark in self.ledger.marks) - self.round)

    def implicit_theta(self) -> Array:
        """θ̂ of the policy trained on the labels so far, ``(d,)``; 0 before the first."""
        known = ~np.isnan(self.labels)
        z = self.pool.differences(self.pairs[known])
        return fit_theta(z, self.labels[known], self.ridge)

    def implicit_rewards(self) -> Array:
        """φᵀθ̂, the implicit rewards of that policy, ``(n_prompts, n_completions)``."""
        rewards: Array = self.pool.phi @ self.implicit_theta()
        return rewards


@dataclass(frozen=True)
class Design(ABC):
    """A way of choosing pairs: a frozen dataclass whose fields are its parameters.

    State, if there is any, is derived from the view, so that an episode can be taken up anywhere.
    A plain function ``select(view, n)`` in a file is a design too.
    """

    @abstractmethod
    def select(self, view: View, n: int) -> Pairs:
        """Choose the questions of a round.

        Args:
            view: all that may be known.
            n: how many labels to buy; fewer is allowed, more is not.

        Returns:
            ``(n, 3)`` integer rows ``(prompt, first, second)``, with ``first != second`` and both
            valid. A question may be asked again; it then gets a fresh answer.
        """


class FunctionDesign(Design):
    """A design that is a function of the view, the number of labels, and its parameters."""

    def __init__(self, function: Callable[..., Any], **params: Any) -> None:
        """Bind the parameters.

        Args:
            function: called as ``function(view, n, **params)``.
            **params: its keyword arguments.
        """
        self.function = function
        self.params = params

    def select(self, view: View, n: int) -> Pairs:
        """Call the function."""
        pairs: Pairs = self.function(view, n, **self.params)
        return pairs


def posterior_precision(view: View, theta: Array) -> Array:
    """Laplace posterior precision of θ, λI + Σ w zzᵀ over the labels so far, ``(d, d)``."""
    known = view.pairs[~np.isnan(view.labels)]
    ridge = view.ridge * np.eye(view.pool.dim)
    return ridge + label_information(view.pool, known, theta=theta)


def difference_variance(view: View, theta: Array) -> Array:
    """Posterior variance s_ij² of all reward differences, ``(n_prompts, K, K)``."""
    covariance = np.linalg.inv(posterior_precision(view, theta)).astype(np.float64, copy=False)
    return pair_forms(view.pool.phi, covariance)


def top_pairs(view: View, scores: Array, n: int) -> Pairs:
    """The n pairs of highest score; those asked least often come first, ties are broken at random.

    Args:
        view: the round's view.
        scores: ``(n_prompts, K, K)``; of ``[i, j]`` and ``[j, i]`` the one with i < j is read.
        n: how many pairs.

    Returns:
        ``(n, 3)``. A pair is repeated only when every pair of the pool has been asked.
    """
    candidates = np.argwhere(view.pool.pair_mask)
    values = scores[view.pool.pair_mask]
    if unknown := int(np.isnan(values).sum()):
        raise InvalidParameter(
            f"scores must be numbers to rank pairs by; {unknown} of {len(values)} are NaN."
        )
    asked = np.zeros(scores.shape, dtype=np.int64)
    prompt, first, second = view.pairs.T
    np.add.at(asked, (prompt, np.minimum(first, second), np.maximum(first, second)), 1)
    times = asked[view.pool.pair_mask]
    chosen = [np.empty(0, dtype=np.int64)]
    while n > 0:
        fresh = np.flatnonzero(times == times.min())
        if len(fresh) > n:
            # Only what can be among the n best is shuffled and sorted.
            least = np.partition(values[fresh], len(fresh) - n)[len(fresh) - n]
            rivals = view.rng.permutation(fresh[values[fresh] >= least])
            fresh = rivals[np.argsort(-values[rivals], kind="stable")][:n]
        chosen.append(fresh)
        times[fresh] += 1
        n -= len(fresh)
    return candidates[np.concatenate(chosen)]


def over_prompts(view: View, first: NDArray[np.int64], second: NDArray[np.int64], n: int) -> Pairs:
    """One given pair for each prompt, the prompts taken in rounds in a random order.

    Prompts that were asked least often come first, so that n labels spread evenly.

    Args:
        view: the round's view.
        first: the prompt's first completion, ``(n_prompts,)``.
        second: its second completion, ``(n_prompts,)``.
        n: how many pairs.
    """
    asked = np.bincount(view.pairs[:, 0], minlength=view.pool.n_prompts)
    # The level to which all prompts can be filled up with n labels, the last turns by lot.
    levels = range(asked.min(), asked.min() + n + 1)
    level = levels[bisect_left(levels, n, key=lambda top: np.maximum(top - asked, 0).sum())]
    turns = np.maximum(level - asked, 0)
    prompt = np.repeat(np.arange(len(asked)), turns)
    turn = level - (np.repeat(np.cumsum(turns), turns) - np.arange(len(prompt)))
    prompts = prompt[np.lexsort([view.rng.random(len(turn)), turn])[:n]]
    return np.stack([prompts, first[prompts], second[prompts]], axis=1)


def sampled_pairs(view: View, pairs: Pairs, weights: Array, n: int) -> Pairs:
    """n independent draws from weights over pairs, each turned at random, ``(n, 3)``."""
    drawn = pairs[view.rng.choice(len(pairs), size=n, p=weights)]
    turned = view.rng.random(n) < 0.5
    drawn[turned] = drawn[turned][:, [0, 2, 1]]
    return drawn


def ranked_completions(view: View, rewards: Array) -> NDArray[np.int64]:
    """Each prompt's completions, best first, ``(n_prompts, K)``; ties at random, invalid last."""
    rewards = np.where(view.pool.valid, rewards, -np.inf)
    return np.lexsort([view.rng.random(rewards.shape), -rewards], axis=1)
