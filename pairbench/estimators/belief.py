"""What may be believed about rewards, and what makes a belief of the labels so far."""

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
from pairbench.pool import Pairs, Pool, frozen_array

if TYPE_CHECKING:
    from pairbench.design import View

Array = NDArray[np.float64]


class Belief(ABC):
    """A posterior over the rewards of a pool.

    Labels tell differences within a prompt only, so rewards are relative to the mean of their
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
        """s, the posterior standard deviations, ``(N, K)`` reward units."""
        deviation: Array = np.sqrt(self.variance)
        return deviation

    def differences(self) -> Array:
        """μ_ij = μ_i − μ_j of all pairs, ``(N, K, K)``."""
        return self.mean[:, :, None] - self.mean[:, None, :]

    @abstractmethod
    def difference_variance(self) -> Array:
        """s_ij² of all pairs, ``(N, K, K)``, symmetric and read-only; computed once."""

    @abstractmethod
    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """μ_ij and s_ij² of some pairs, ``(m,)`` each, at a cost that does not grow with the pool.

        Args:
            pairs: ``(m, 3)``.
        """

    @abstractmethod
    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Rewards drawn from the posterior, ``(count, N, K)``.

        Args:
            count: how many.
            rng: where the randomness comes from.
        """

    @abstractmethod
    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Reward differences of some pairs, drawn jointly from the posterior, ``(count, m)``.

        Args:
            pairs: ``(m, 3)``.
            count: how many.
            rng: where the randomness comes from.
        """

    def scenarios(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Equally likely reward differences that stand for the posterior, ``(e, m)``.

        ``count`` joint draws; of an ensemble all members, and each once.

        Args:
            pairs: ``(m, 3)``.
            count: how many draws.
            rng: where draws come from.
        """
        return self.pair_draws(pairs, count, rng)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """What is believed of the labels of some pairs, ``(m,)`` each.

        In closed form where the belief is normal, from all members of an ensemble, and otherwise
        from 100 posterior draws.

        Args:
            rng: where draws come from.
            pairs: ``(m, 3)``; all of the pool, in the order of ``pool.pair_mask``, if not given.
        """
        return sampled_forecast(reward_differences(self.pool, self.draws(100, rng), pairs))


class Members(Belief):
    """A posterior that is E equally likely reward functions, such as the members of an ensemble."""

    def __init__(self, pool: Pool, rewards: Array) -> None:
        """Centre the rewards within each prompt.

        Args:
            pool: the pool.
            rewards: ``(E, N, K)`` reward units.
        """
        self.pool = pool
        self.rewards = np.where(pool.valid, centred(pool, rewards), 0.0)
        self.mean = self.rewards.mean(axis=0)
        self._deviations = self.rewards - self.mean
        self.variance = (self._deviations**2).mean(axis=0)

    def difference_variance(self) -> Array:
        """See :meth:`Belief.difference_variance`."""
        return self._difference_variance

    @cached_property
    def _difference_variance(self) -> Array:
        e = self._deviations
        covariance = np.einsum("eni,enj->nij", e, e, optimize=True) / len(e)
        variance = self.variance[:, :, None] + self.variance[:, None, :] - 2 * covariance
        # Completions that all members find equal must give 0, not a rounding error below it.
        return frozen_array(np.maximum(variance, 0.0))

    def of_pairs(self, pairs: Pairs) -> tuple[Array, Array]:
        """See :meth:`Belief.of_pairs`."""
        differences = self._differences(pairs)
        return differences.mean(axis=0), differences.var(axis=0)

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Members drawn with replacement."""
        drawn: Array = self.rewards[rng.integers(len(self.rewards), size=count)]
        return drawn

    def pair_draws(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """Members drawn with replacement."""
        drawn: Array = self._differences(pairs)[rng.integers(len(self.rewards), size=count)]
        return drawn

    def scenarios(self, pairs: Pairs, count: int, rng: np.random.Generator) -> Array:
        """All members."""
        return self._differences(pairs)

    def forecast(self, rng: np.random.Generator, pairs: Pairs | None = None) -> LabelForecast:
        """From all members."""
        return sampled_forecast(reward_differences(self.pool, self.rewards, pairs))

    def _differences(self, pairs: Pairs) -> Array:
        prompt, first, second = pairs.T
        differences: Array = self.rewards[:, prompt, first] - self.rewards[:, prompt, second]
        return differences


B_co = TypeVar("B_co", bound=Belief, covariant=True)


@dataclass(frozen=True)
class Estimator(ABC, Generic[B_co]):
    """A way of turning labels into a belief: a frozen dataclass whose fields are its parameters.

    Attributes:
        votes: what is learnt of several votes on one question: the label that the annotators' votes
            came to if None, ``"dawid-skene"`` the probability that the first is better, by
            :func:`pairbench.estimators.dawid_skene.dawid_skene`.
    """

    votes: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.votes not in (None, "dawid-skene"):
            raise InvalidParameter(f"votes must be 'dawid-skene' or None, got {self.votes!r}.")

    def fit(self, view: "View") -> B_co:
        """What to believe after the labels so far; before the first, the prior.

        Args:
            view: the round's view; randomness comes from ``view.rng``.

        Raises:
            InvalidParameter: If the belief is to go by votes, and the view has none.
        """
        if self.votes is None:
            return self.believe(view)
        if view.votes is None:
            raise InvalidParameter(
                f"votes={self.votes!r} needs annotators whose single votes are known, such as "
                "annotator='crowd(votes=3)' of an environment. Leave votes at None."
            )
        return self.believe(replace(view, labels=dawid_skene(view.votes).posterior))

    @abstractmethod
    def believe(self, view: "View") -> B_co:
        """The same, of ``view.labels`` as they are: what an estimator has to define.

        Args:
            view: the round's view; labels are anything from 0 to 1, or NaN.
        """


def centred(pool: Pool, rewards: Array) -> Array:
    """Rewards minus the mean over their prompt's valid completions.

    Args:
        pool: the pool.
        rewards: ``(..., N, K)``.
    """
    mean = np.where(pool.valid, rewards, 0.0).sum(axis=-1) / pool.valid.sum(axis=1)
    result: Array = rewards - mean[..., None]
    return result


def reward_differences(pool: Pool, rewards: Array, pairs: Pairs | None = None) -> Iterator[Array]:
    """Δ of some pairs under one reward function after the other, ``(m,)`` each.

    Args:
        pool: the pool.
        rewards: ``(E, n_prompts, K)``.
        pairs: ``(m, 3)``; all of the pool, in the order of ``pool.pair_mask``, if not given.
    """
    prompt, first, second = np.nonzero(pool.pair_mask) if pairs is None else pairs.T
    for reward in rewards:
        yield reward[prompt, first] - reward[prompt, second]
