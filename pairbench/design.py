"""Design and View: the whole contract of a design agent, and the tools that designs share."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pairbench.budget import Ledger
from pairbench.errors import InvalidParameter
from pairbench.information.fisher import label_information
from pairbench.information.laplacian import pair_forms
from pairbench.information.optimal import OptimalDesign, check_tolerance, optimal_weights
from pairbench.information.rounding import check_method, rounded_pairs
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

    @property
    def answered(self) -> Pairs:
        """The questions that were answered, ``(l, 3)``."""
        answered: Pairs = self.pairs[~np.isnan(self.labels)]
        return answered

    def implicit_theta(self) -> Array:
        """θ̂ of the policy trained on the labels so far, ``(d,)``; 0 before the first."""
        known = ~np.isnan(self.labels)
        z = self.pool.differences(self.pairs[known])
        return fit_theta(z, self.labels[known], self.ridge)

    def implicit_rewards(self) -> Array:
        """φᵀθ̂, the implicit rewards of that policy, ``(n_prompts, n_completions)``."""
        rewards: Array = self.pool.phi @ self.implicit_theta()
        return rewards


@dataclass(frozen=True, eq=False)
class ControlView(View):
    """What a control may see: the answer.

    Attributes:
        theta: θ* of the best policy, ``(d,)``.
        covariance: C(θ*) of the held-out prompts, ``(d, d)``.
    """

    theta: Array
    covariance: Array


@dataclass(frozen=True)
class Design(ABC):
    """A way of choosing pairs: a frozen dataclass whose fields are its parameters.

    State, if there is any, is derived from the view, so that an episode can be taken up anywhere.
    A plain function ``select(view, n)`` in a file is a design too.
    """

    control: ClassVar[bool] = False
    """A control is shown the truth (its views are a :class:`ControlView`), says how good a design
    could be, and is never ranked."""

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
    ridge = view.ridge * np.eye(view.pool.dim)
    return ridge + label_information(view.pool, view.answered, theta=theta)


def posterior_covariance(view: View, theta: Array) -> Array:
    """Laplace posterior covariance of θ, A⁻¹, ``(d, d)``."""
    covariance: Array = np.linalg.inv(posterior_precision(view, theta)).astype(np.float64)
    return covariance


def difference_variance(view: View, theta: Array) -> Array:
    """Posterior variance s_ij² of all reward differences, ``(n_prompts, K, K)``."""
    return pair_forms(view.pool.phi, posterior_covariance(view, theta))


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


def sampled_pairs(
    view: View, pairs: Pairs, weights: Array, n: int, method: str = "independent"
) -> Pairs:
    """n pairs whose numbers follow weights, each turned at random, ``(n, 3)``.

    Args:
        view: the round's view.
        pairs: ``(s, 3)``.
        weights: ``(s,)``.
        n: how many pairs.
        method: of rounding, see :func:`pairbench.information.rounded_pairs`.
    """
    return turned(view, rounded_pairs(pairs, weights, n, view.rng, method=method))


def turned(view: View, pairs: Pairs) -> Pairs:
    """The pairs, first and second exchanged at random, so that no position is the better one's."""
    swap = view.rng.random(len(pairs)) < 0.5
    return np.where(swap[:, None], pairs[:, [0, 2, 1]], pairs)


def round_weights(
    view: View,
    n: int,
    criterion: str,
    theta: Array,
    tol: float,
    covariance: Array | None = None,
) -> OptimalDesign:
    """Optimal weights for a round's labels, given those already bought and the ridge.

    Args:
        view: the round's view.
        n: how many labels.
        criterion: see :func:`pairbench.information.optimal_weights`.
        theta: θ at which the criterion is taken, ``(d,)``; ``(m, d)`` for criteria over several.
        tol: the weights' proven efficiency is at least 1 − tol.
        covariance: C, ``(d, d)``; the pool's at θ if not given.
    """
    return optimal_weights(
        view.pool,
        criterion,
        theta,
        n=n,
        past=view.answered,
        prior=view.ridge,
        beta=view.beta,
        covariance=covariance,
        tol=tol,
    )


def posterior_draws(view: View, count: int) -> Array:
    """Draws of θ from its Laplace posterior N(θ̂, A⁻¹), ``(count, d)``; before any label the prior.

    A is :func:`posterior_precision`: the ridge λ is the prior N(0, I/λ).
    """
    theta = view.implicit_theta()
    factor = np.linalg.cholesky(posterior_precision(view, theta))
    noise = view.rng.standard_normal((count, view.pool.dim))
    draws: Array = theta + np.linalg.solve(factor.T, noise.T).T
    return draws


def check_weighing(tol: float, rounding: str) -> None:
    """Refuse parameters of weights and their rounding when a design is made, not when it plays.

    Args:
        tol: see :func:`pairbench.information.optimal_weights`.
        rounding: a method of :func:`pairbench.information.rounded_pairs`.

    Raises:
        InvalidParameter: If ``tol`` is not in (0, 1) or there is no such method.
    """
    check_tolerance(tol)
    check_method(rounding)


def weights_at_zero(view: View, criterion: str, tol: float) -> OptimalDesign:
    """Optimal weights for all labels of the episode at θ = 0, which asks for no label.

    The ridge is information that the training brings along, spread over the labels to be bought.

    Args:
        view: a view of the episode.
        criterion: see :func:`pairbench.information.optimal_weights`.
        tol: the weights' proven efficiency is at least 1 − tol.
    """
    return _weights_at_zero(view.pool, criterion, view.ridge, view.beta, view.horizon, tol)


@lru_cache(maxsize=1)  # all rounds of an episode ask for the same
def _weights_at_zero(
    pool: Pool, criterion: str, ridge: float, beta: float, horizon: int, tol: float
) -> OptimalDesign:
    return optimal_weights(pool, criterion, n=horizon, prior=ridge, beta=beta, tol=tol)


def uniform_pairs(view: View, n: int) -> Pairs:
    """n pairs drawn uniformly and independently from all pairs of the pool, ``(n, 3)``."""
    sizes = view.pool.valid.sum(axis=1)
    share = sizes * (sizes - 1) / (sizes * (sizes - 1)).sum()
    prompt = view.rng.choice(len(sizes), size=n, p=share)
    i = view.rng.integers(sizes[prompt])
    j = view.rng.integers(sizes[prompt] - 1)
    j += j >= i  # any but i
    valid_first = view.pool.valid_first
    return np.stack([prompt, valid_first[prompt, i], valid_first[prompt, j]], axis=1)


def ranked_completions(view: View, rewards: Array) -> NDArray[np.int64]:
    """Each prompt's completions, best first, ``(n_prompts, K)``; ties at random, invalid last."""
    rewards = np.where(view.pool.valid, rewards, -np.inf)
    return np.lexsort([view.rng.random(rewards.shape), -rewards], axis=1)
