"""From scores, weights and rules to the pairs of a round: the tools that designs share."""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairbench.design import Design, View
from pairbench.errors import InvalidParameter
from pairbench.estimators import Belief, make_estimator
from pairbench.information.optimal import OptimalDesign, check_tolerance, optimal_weights
from pairbench.information.rounding import check_method, rounded_pairs
from pairbench.plugins import is_file
from pairbench.pool import Pairs, Pool, numbered_pairs, pair_numbers
from pairbench.registry import make_design, parsed

Array = NDArray[np.float64]
Duels = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Each prompt's first and second completion, ``(n_prompts,)`` each."""


@dataclass(frozen=True)
class BeliefDesign(Design):
    """A design that goes by what an estimator believes.

    Attributes:
        estimator: a name or spec for :func:`pairbench.make_estimator`, such as ``"laplace"`` or
            ``"ensemble(members=20)"``.
    """

    estimator: str = "laplace"

    def __post_init__(self) -> None:
        make_estimator(self.estimator)

    def belief(self, view: View) -> Belief:
        """What the estimator makes of the labels so far."""
        return make_estimator(self.estimator).fit(view)


@dataclass(frozen=True)
class DuelDesign(BeliefDesign):
    """A rule that names two completions of every prompt; the prompts take turns."""

    @abstractmethod
    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Each prompt's two completions, ``(n_prompts,)`` each, valid and not the same.

        Args:
            belief: what is believed; its pool is the round's.
            rng: the only source of randomness.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Let the rule name pairs, anew for each turn."""
        belief = self.belief(view)
        pairs = over_prompts(view, lambda: self.duel(belief, view.rng), n)
        # The first is often the one that the rule prefers; an annotator's habits are not to tell.
        return turned(view, pairs)


@dataclass(frozen=True)
class ScoredDesign(Design):
    """A design that takes the pairs of highest score, each once before any a second time."""

    @abstractmethod
    def scores(self, view: View) -> Array:
        """What a label of each pair is worth, ``(n_prompts, K, K)``.

        Of ``[i, j]`` and ``[j, i]`` the one with i < j is read.

        Args:
            view: the round's view.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Take the best, each turned at random."""
        return turned(view, top_pairs(view, self.scores(view), n))


@dataclass(frozen=True)
class WrapperDesign(Design):
    """A design that changes what another one does.

    Attributes:
        design: name or spec of the other design.
    """

    design: str

    def __post_init__(self) -> None:
        if is_file(parsed(self.design)[0]):
            raise InvalidParameter(
                f"a design inside another one goes by its name, so that runs can be repeated; got "
                f"the file {self.design!r}. Register it with pairbench.register_design."
            )
        if self.inner.control:
            raise InvalidParameter(
                f"{self.design!r} is a control, which is shown the truth; a design inside another "
                "one is not."
            )

    @property
    def inner(self) -> Design:
        """The other design."""
        return make_design(self.design)


@dataclass(frozen=True)
class WeightedDesign(Design):
    """A design that draws a round's pairs in proportion to optimal weights.

    Attributes:
        tol: the weights' proven efficiency is at least 1 − tol.
        rounding: ``"systematic"``, ``"independent"`` or ``"efficient"``.
    """

    tol: float = 0.05
    rounding: str = "systematic"

    def __post_init__(self) -> None:
        check_weighing(self.tol, self.rounding)

    @abstractmethod
    def weights(self, view: View, n: int) -> OptimalDesign:
        """The weights of a round.

        Args:
            view: the round's view.
            n: how many labels.
        """

    def select(self, view: View, n: int) -> Pairs:
        """Round the weights to n pairs."""
        design = self.weights(view, n)
        return sampled_pairs(view, design.pairs, design.weights, n, self.rounding)


def top_pairs(view: View, scores: Array, n: int) -> Pairs:
    """The n pairs of highest score; those asked least often come first, ties are broken at random.

    Scores that differ by less than 10⁻¹⁰ of the largest are ties: what rounding leaves of two that
    are the same is not the same on every processor, and would decide.

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
    if size := np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max():
        values = np.round(values / size, 10)
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


def over_prompts(view: View, duel: Callable[[], Duels], n: int) -> Pairs:
    """One pair for each prompt, the prompts taken in turns in a random order.

    Prompts that were asked least often come first, so that n labels spread evenly.

    Args:
        view: the round's view.
        duel: gives each prompt's first and second completion, ``(n_prompts,)`` each; it is called
            once for each turn.
        n: how many pairs.
    """
    asked = np.bincount(view.pairs[:, 0], minlength=view.pool.n_prompts)
    # The level to which all prompts can be filled up with n labels, the last turns by lot.
    levels = range(asked.min(), asked.min() + n + 1)
    level = levels[bisect_left(levels, n, key=lambda top: np.maximum(top - asked, 0).sum())]
    turns = np.maximum(level - asked, 0)
    prompt = np.repeat(np.arange(len(asked)), turns)
    turn = level - (np.repeat(np.cumsum(turns), turns) - np.arange(len(prompt)))
    order = np.lexsort([view.rng.random(len(turn)), turn])[:n]
    prompt, turn = prompt[order], turn[order]
    pairs = np.empty((n, 3), dtype=np.int64)
    pairs[:, 0] = prompt
    for rows in np.split(np.arange(n), np.flatnonzero(np.diff(turn)) + 1):
        first, second = duel()
        pairs[rows, 1], pairs[rows, 2] = first[prompt[rows]], second[prompt[rows]]
    return pairs


def fresh_pairs(view: View, most: int) -> Pairs:
    """Distinct pairs not asked before, drawn uniformly, in random order, ``(m, 3)``.

    All of them where there are no more than ``most``; where every pair has been asked, all pairs
    count as fresh.

    Args:
        view: the round's view.
        most: how many at most.
    """
    pool = view.pool
    asked = np.unique(pair_numbers(pool, view.pairs))
    if len(asked) == pool.n_pairs:
        asked = asked[:0]
    size = min(pool.n_pairs, most + len(asked))
    drawn = view.rng.choice(pool.n_pairs, size=size, replace=False)
    return numbered_pairs(pool, drawn[~np.isin(drawn, asked)][:most])


def filled(pairs: Pairs, n: int) -> Pairs:
    """n pairs: the given ones in their order, over and over.

    Args:
        pairs: ``(m, 3)``, one at least.
        n: how many pairs.
    """
    return np.resize(pairs, (n, 3))


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


def ranked_completions(pool: Pool, values: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each prompt's completions, largest value first, ``(n_prompts, K)``; invalid ones last.

    Args:
        pool: the pool.
        values: ``(n_prompts, K)``.
        rng: ties are broken at random.
    """
    values = np.where(pool.valid, values, -np.inf)
    return np.lexsort([rng.random(values.shape), -values], axis=1)


def largest(mask: NDArray[np.bool_], values: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """The place of the largest value in each row where the mask is true, ``(...,)``.

    Args:
        mask: ``(..., K)``, true somewhere in each row.
        values: ``(..., K)``.
        rng: ties are broken at random.
    """
    values = np.where(mask, values, -np.inf)
    best = mask & (values == values.max(axis=-1, keepdims=True))
    ties = best.sum(axis=-1)
    turn = rng.integers(ties)
    place: NDArray[np.int64] = np.argmax(np.cumsum(best, axis=-1) > turn[..., None], axis=-1)
    return place


def distinct_draws(log_first: Array, log_second: Array, rng: np.random.Generator) -> Duels:
    """Two independent draws, given that they differ: i and j ≠ i with probability ∝ p_i q_j.

    That is what drawing both anew until they differ gives, without the loop.

    Args:
        log_first: log p, ``(m, K)``, up to a constant in each row; −inf for what is never drawn.
        log_second: log q, ``(m, K)``, likewise; two or more finite ones in each row.
        rng: where the randomness comes from.
    """
    # The first is i with probability ∝ p_i Σ_{j≠i} q_j. The sum is made of what comes before i and
    # what comes after it, because 1 − q_i would cancel where q_i is nearly 1.
    edge = np.full((len(log_second), 1), -np.inf)
    before = np.logaddexp.accumulate(np.hstack([edge, log_second[:, :-1]]), axis=1)
    after = np.logaddexp.accumulate(np.hstack([edge, log_second[:, :0:-1]]), axis=1)[:, ::-1]
    shape = log_first.shape
    # The largest of log-probabilities with Gumbel noise is a draw from them.
    first = np.argmax(log_first + np.logaddexp(before, after) + rng.gumbel(size=shape), axis=1)
    rest = np.where(np.arange(shape[1]) == first[:, None], -np.inf, log_second)
    return first, np.argmax(rest + rng.gumbel(size=shape), axis=1)


def check_counts(design: Design, *names: str) -> None:
    """Refuse numbers of things that are none when a design is made, not when it plays.

    Args:
        design: the design that is made.
        *names: its parameters that count something, such as ``"candidates"``.

    Raises:
        InvalidParameter: If one is less than 1.
    """
    for name in names:
        if (value := getattr(design, name)) < 1:
            raise InvalidParameter(f"{name} must be 1 or more, got {value}.")


@dataclass(frozen=True)
class ConfidenceDesign(DuelDesign):
    """A duel rule that goes by confidence bounds of the reward differences, μ_ij ± β s_ij.

    Attributes:
        beta: β, the width of the bounds in posterior standard deviations.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.beta) and self.beta >= 0):
            raise InvalidParameter(f"beta must be a finite number, 0 or more, got {self.beta}.")

    def upper(self, belief: Belief) -> Array:
        """u_ij = μ_ij + β s_ij, ``(n_prompts, K, K)``; the lower bounds are l_ij = −u_ji."""
        bounds: Array = belief.differences() + self.beta * np.sqrt(belief.difference_variance())
        # Not the root of a rounding error.
        np.einsum("nii->ni", bounds)[:] = 0
        return bounds

    def plausible(self, belief: Belief, upper: Array) -> NDArray[np.bool_]:
        """Completions that no other clearly beats, u_ij ≥ 0 for all j, ``(n_prompts, K)``.

        Each prompt has one at least, that of largest mean.

        Args:
            belief: what is believed.
            upper: u_ij, ``(n_prompts, K, K)``.
        """
        valid = belief.pool.valid
        unbeaten: NDArray[np.bool_] = valid & ((upper >= 0) | ~valid[:, None]).all(axis=2)
        return unbeaten


def rivals(pool: Pool, first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The valid completions other than each prompt's first, ``(n_prompts, K)``.

    Args:
        pool: the pool.
        first: ``(n_prompts,)``.
    """
    others = pool.valid.copy()
    others[np.arange(len(first)), first] = False
    return others


def largest_pair(pool: Pool, scores: Array, rng: np.random.Generator) -> Duels:
    """Each prompt's pair of highest score, turned at random.

    Args:
        pool: the pool.
        scores: ``(n_prompts, K, K)``; of ``[i, j]`` and ``[j, i]`` the one with i < j is read.
        rng: ties are broken at random.
    """
    n, k = pool.valid.shape
    place = largest(pool.pair_mask.reshape(n, -1), scores.reshape(n, -1), rng)
    i, j = np.divmod(place, k)
    swap = rng.random(n) < 0.5
    return np.where(swap, j, i), np.where(swap, i, j)


def redrawn(
    pool: Pool, first: NDArray[np.int64], draws: Array, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The best completion of the first draw in which it is another, ``(n_prompts,)``.

    Where the best is the same in all draws, it is ``first``.

    Args:
        pool: the pool.
        first: ``(n_prompts,)``.
        draws: rewards drawn, ``(m, n_prompts, K)``.
        rng: ties are broken at random.
    """
    second = first.copy()
    for draw in draws:
        same = np.flatnonzero(second == first)
        if not len(same):
            break
        second[same] = largest(pool.valid[same], draw[same], rng)
    return second


def over_turns(view: View, duel: Callable[[Pairs], Duels], n: int) -> Pairs:
    """One pair for each prompt and turn, by a rule that goes by the pairs asked before.

    The prompts are taken as :func:`over_prompts` takes them.

    Args:
        view: the round's view.
        duel: is given all pairs asked so far, ``(m, 3)``, oldest first, those of this round's
            earlier turns included, and gives each prompt's first and second completion.
        n: how many pairs.
    """
    asked = view.pairs
    while (left := len(view.pairs) + n - len(asked)) > 0:
        count = np.bincount(asked[:, 0], minlength=view.pool.n_prompts)
        due = view.rng.permutation(np.flatnonzero(count == count.min()))[:left]
        first, second = duel(asked)
        asked = np.concatenate([asked, np.stack([due, first[due], second[due]], axis=1)])
    return asked[len(view.pairs) :]


def pair_scores(pool: Pool, values: Array) -> Array:
    """Scores as :func:`top_pairs` reads them, ``(n_prompts, K, K)``.

    Args:
        pool: the pool.
        values: of all its pairs, in the order of ``pool.pair_mask``, ``(n_pairs,)``.
    """
    scores = np.zeros(pool.pair_mask.shape)
    scores[pool.pair_mask] = values
    return scores
