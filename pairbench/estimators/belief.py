"""Beliefs, which are posteriors over the rewards of a pool, and estimators, which fit them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.estimators.dawid_skene import dawid_skene
from pairbench.information.forecast import LabelForecast, sampled_forecast
from pairbench.pool import features
from pairbench.pool.pool import Pairs, Pool, freeze_array

if TYPE_CHECKING:
    from pairbench.view.view import View

Array = NDArray[np.float64]


class Belief(ABC):
    """A posterior over the rewards of a pool.

    Labels identify only differences within a prompt, so rewards are relative to the mean of their
    prompt's valid completions; where not valid, means and variances are 0.

    Attributes:
        pool: the pool that the rewards are of.
        mean: μ, ``(N, K)`` reward units.
        variance: s², ``(N, K)`` squared reward units.
    """

    pool: Pool
    mean: Array
    variance: Array

    @property
    def deviation(self) -> Array:
        """Posterior standard deviation s, ``(N, K)`` reward units."""
        deviation: Array = np.sqrt(self.variance)
        return deviation

    def differences(self) -> Array:
        """Compute μ_ij = μ_i − μ_j of all pairs, ``(N, K, K)``."""
        return self.mean[:, :, None] - self.mean[:, None, :]

    @abstractmethod
    def difference_variance(self) -> Array:
        """Return s_ij² of all pairs, ``(N, K, K)``, symmetric and read-only; computed once."""

    @abstractmethod
    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """Compute μ_ij and s_ij² of some pairs, ``(m,)`` each, at a cost independent of the pool.

        Args:
            pairs: ``(m, 3)``.
        """

    @abstractmethod
    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Draw rewards from the posterior, ``(count, N, K)``.

        Args:
            count: the number of draws.
            rng: the source of randomness.
        """

    @abstractmethod
    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Draw reward differences of some pairs jointly from the posterior, ``(count, m)``.

        Args:
            pairs: ``(m, 3)``.
            count: the number of draws.
            rng: the source of randomness.
        """

    def scenarios(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Return equally likely reward differences that represent the posterior, ``(e, m)``.

        They are ``count`` joint draws, or all members of an ensemble, each once.

        Args:
            pairs: ``(m, 3)``.
            count: the number of draws.
            rng: the source of randomness.
        """
        return self.pair_draws(pairs, count, rng)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """Compute the predictive distribution of the labels of some pairs, ``(m,)`` each.

        It is in closed form if the belief is normal, from all members of an ensemble, and otherwise
        from 100 posterior draws.

        Args:
            rng: the source of randomness.
            pairs: ``(m, 3)``; by default all of the pool, in the order of ``pool.pair_mask``.
        """
        return sampled_forecast(reward_differences(self.pool, self.draws(100, rng), pairs))


class Members(Belief):
    """A posterior of E equally likely reward functions, such as the members of an ensemble."""

    def __init__(self, pool: Pool, rewards: Array) -> None:
        """Centre the rewards within each prompt.

        Args:
            pool: the pool.
            rewards: ``(E, N, K)`` reward units.
        """
        self.pool = pool
        self.rewards = np.where(pool.valid, centre_rewards(pool, rewards), 0.0)
        self.mean = self.rewards.mean(axis=0)
        self._deviations = self.rewards - self.mean
        self.variance = (self._deviations**2).mean(axis=0)

    def difference_variance(self) -> Array:
        """Return s_ij² of all pairs, ``(N, K, K)``, symmetric and read-only; computed once."""
        return self._difference_variance

    @cached_property
    def _difference_variance(self) -> Array:
        e = self._deviations
        covariance = np.einsum("eni,enj->nij", e, e, optimize=True) / len(e)
        variance = self.variance[:, :, None] + self.variance[:, None, :] - 2 * covariance
        # If all members agree on a difference, rounding must not make its variance negative.
        return freeze_array(np.maximum(variance, 0.0))

    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """Compute μ_ij and s_ij² of some pairs, ``(m,)`` each."""
        differences = self._differences(pairs)
        return differences.mean(axis=0), differences.var(axis=0)

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Draw members with replacement, ``(count, N, K)``."""
        draws: Array = self.rewards[rng.integers(len(self.rewards), size=count)]
        return draws

    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Draw the reward differences of members with replacement, ``(count, m)``."""
        draws: Array = self._differences(pairs)[rng.integers(len(self.rewards), size=count)]
        return draws

    def scenarios(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Return the reward differences of all members, ``(E, m)``."""
        return self._differences(pairs)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """Compute the predictive distribution of labels from all members; see the base class."""
        return sampled_forecast(reward_differences(self.pool, self.rewards, pairs))

    def _differences(self, pairs: Pairs) -> Array:
        """Compute each member's reward differences, ``(E, m)``."""
        prompt, first, second = pairs.T
        differences: Array = self.rewards[:, prompt, first] - self.rewards[:, prompt, second]
        return differences


B_co = TypeVar("B_co", bound=Belief, covariant=True)


@dataclass(frozen=True)
class Estimator(ABC, Generic[B_co]):
    """A method of fitting a belief to labels: a frozen dataclass whose fields are its parameters.

    Attributes:
        votes: label used for a question with several votes: their aggregate if None;
            ``"dawid-skene"`` is the probability that the first is better, by
            :func:`pairbench.estimators.dawid_skene.dawid_skene`.
    """

    votes: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.votes not in (None, "dawid-skene"):
            raise InvalidParameter(f"votes must be 'dawid-skene' or None, got {self.votes!r}.")

    def fit(self, view: "View") -> B_co:
        """Fit a belief to the labels so far; before the first label it is the prior.

        Args:
            view: the round's view; randomness comes from ``view.rng``.

        Raises:
            InvalidParameter: If ``votes`` is set, and the view has no single votes.
        """
        if self.votes is None:
            return self.believe(view)
        if view.votes is None:
            raise InvalidParameter(
                f"votes={self.votes!r} needs an annotator that gives single votes, such as "
                "annotator='crowd(votes=3)' of an environment. Leave votes at None."
            )
        return self.believe(replace(view, labels=dawid_skene(view.votes).posterior))

    @abstractmethod
    def believe(self, view: "View") -> B_co:
        """Fit a belief to ``view.labels``; the method that subclasses implement.

        Args:
            view: the round's view; labels are numbers from 0 to 1, or NaN if missing.
        """


def centre_rewards(pool: Pool, rewards: Array) -> Array:
    """Subtract from rewards the mean over their prompt's valid completions; 0 where not valid.

    Args:
        pool: the pool.
        rewards: ``(..., N, K)``.
    """
    valid = np.broadcast_to(pool.valid, rewards.shape).reshape(-1, pool.n_completions)
    flat = np.where(valid, rewards.reshape(valid.shape), 0.0)
    return features.centre(flat, valid).reshape(rewards.shape)


def reward_differences(pool: Pool, rewards: Array, pairs: Pairs | None = None) -> Iterator[Array]:
    """Compute reward differences of some pairs for each reward function, ``(m,)`` each.

    Args:
        pool: the pool.
        rewards: ``(E, N, K)``.
        pairs: ``(m, 3)``; by default all of the pool, in the order of ``pool.pair_mask``.

    Yields:
        One reward function's differences, reward units.
    """
    prompt, first, second = np.nonzero(pool.pair_mask) if pairs is None else pairs.T
    for reward in rewards:
        yield reward[prompt, first] - reward[prompt, second]
