"""Shared tools of designs, which turn scores, weights and duel rules into pairs."""

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least
from pairbench.design.design import Design
from pairbench.errors import InvalidParameter
from pairbench.information.optimal import OptimalDesign, check_tolerance, optimal_weights
from pairbench.information.rounding import check_method, round_to_pairs
from pairbench.pool.pairs import pair_numbers, pairs_from_numbers
from pairbench.pool.pool import Pairs, Pool
from pairbench.view.view import View

Array = NDArray[np.float64]
Duels = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The first and the second completion of each prompt's duel, ``(n_prompts,)`` each."""


def top_pairs(view: View, scores: Array, n: int) -> Pairs:
    """Select the n pairs of highest score among those asked least often, ties broken at random.

    Scores that differ by less than 10⁻¹⁰ of the largest are ties, because the rounding errors of
    equal scores differ between processors and would otherwise decide.

    Args:
        view: the round's view.
        scores: ``(n_prompts, K, K)``; only entries ``[i, j]`` with i < j are read.
        n: number of pairs.

    Returns:
        ``(n, 3)``. A pair is repeated only when every pair of the pool has been asked.

    Raises:
        InvalidParameter: If a score is NaN.
    """
    candidates = np.argwhere(view.pool.pair_mask)
    values = scores[view.pool.pair_mask]
    if n_nan := int(np.isnan(values).sum()):
        raise InvalidParameter(
            f"scores must be numbers to rank pairs by; {n_nan} of {len(values)} are NaN."
        )
    if scale := np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max():
        values = np.round(values / scale, 10)
    counts = np.zeros(scores.shape, dtype=np.int64)
    prompt, first, second = view.pairs.T
    np.add.at(counts, (prompt, np.minimum(first, second), np.maximum(first, second)), 1)
    counts = counts[view.pool.pair_mask]
    selected = [np.empty(0, dtype=np.int64)]
    while n > 0:
        batch = np.flatnonzero(counts == counts.min())
        if len(batch) > n:
            # Shuffle and sort only the pairs that can be among the n best.
            threshold = np.partition(values[batch], len(batch) - n)[len(batch) - n]
            batch = view.rng.permutation(batch[values[batch] >= threshold])
            batch = batch[np.argsort(-values[batch], kind="stable")][:n]
        selected.append(batch)
        counts[batch] += 1
        n -= len(batch)
    return candidates[np.concatenate(selected)]


def duel_per_prompt(view: View, duel: Callable[[], Duels], n: int) -> Pairs:
    """Select one pair per prompt and turn by a duel rule, prompts in a random order within a turn.

    Prompts that were asked least often come first, so that labels spread evenly over prompts.

    Args:
        view: the round's view.
        duel: returns the duel of each prompt, ``(n_prompts,)`` each; called once per turn.
        n: number of pairs.
    """
    counts = np.bincount(view.pairs[:, 0], minlength=view.pool.n_prompts)
    # With n labels all prompts reach this count; in the last turn, prompts are drawn at random.
    levels = range(counts.min(), counts.min() + n + 1)
    level = levels[bisect_left(levels, n, key=lambda top: np.maximum(top - counts, 0).sum())]
    turns = np.maximum(level - counts, 0)
    prompt = np.repeat(np.arange(len(counts)), turns)
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
    """Draw distinct pairs that were not asked before, uniformly and in random order, ``(m, 3)``.

    Where every pair was asked before, draw from all pairs.

    Args:
        view: the round's view.
        most: largest number of pairs; fewer are returned where there are not as many.
    """
    pool = view.pool
    past = np.unique(pair_numbers(pool, view.pairs))
    if len(past) == pool.n_pairs:
        past = past[:0]
    size = min(pool.n_pairs, most + len(past))
    candidates = view.rng.choice(pool.n_pairs, size=size, replace=False)
    return pairs_from_numbers(pool, candidates[~np.isin(candidates, past)][:most])


def cycle_pairs(pairs: Pairs, n: int) -> Pairs:
    """Repeat pairs cyclically in their order up to n pairs, ``(n, 3)``.

    Args:
        pairs: ``(m, 3)``, at least one.
        n: number of pairs.
    """
    return np.resize(pairs, (n, 3))


def sample_pairs(
    view: View, pairs: Pairs, weights: Array, n: int, method: str = "independent"
) -> Pairs:
    """Round weights to n pairs, each in random order, ``(n, 3)``.

    Args:
        view: the round's view.
        pairs: ``(s, 3)``.
        weights: ``(s,)``.
        n: number of pairs.
        method: rounding method, see :func:`pairbench.information.round_to_pairs`.
    """
    return randomize_order(view, round_to_pairs(pairs, weights, n, view.rng, method=method))


# Why: docs/decisions/016-completions-are-shown-in-random-order.md
def randomize_order(view: View, pairs: Pairs) -> Pairs:
    """Randomly swap the two completions of each pair, so that positions carry no information."""
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
    """Compute optimal weights for a round's labels, given those already bought and the ridge.

    Args:
        view: the round's view.
        n: number of labels.
        criterion: see :func:`pairbench.information.optimal_weights`.
        theta: θ at which the criterion is evaluated, ``(d,)``; ``(m, d)`` for criteria over
            several.
        tol: the weights' proven efficiency is at least 1 − tol.
        covariance: C, ``(d, d)``; by default that of the pool at θ.
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


def check_weighting(tol: float, rounding: str) -> None:
    """Check a design's parameters of weights and their rounding.

    Args:
        tol: tolerance of :func:`pairbench.information.optimal_weights`.
        rounding: method of :func:`pairbench.information.round_to_pairs`.

    Raises:
        InvalidParameter: If ``tol`` is not in (0, 1) or there is no such method.
    """
    check_tolerance(tol)
    check_method(rounding)


def weights_at_zero(view: View, criterion: str, tol: float) -> OptimalDesign:
    """Compute optimal weights for all labels of an episode at θ = 0, before any label.

    The ridge counts as prior information, spread over the labels to be bought.

    Args:
        view: a view of the episode.
        criterion: see :func:`pairbench.information.optimal_weights`.
        tol: the weights' proven efficiency is at least 1 − tol.
    """
    return _weights_at_zero(view.pool, criterion, view.ridge, view.beta, view.horizon, tol)


@lru_cache(maxsize=1)  # all rounds of an episode share the arguments
def _weights_at_zero(
    pool: Pool, criterion: str, ridge: float, beta: float, horizon: int, tol: float
) -> OptimalDesign:
    return optimal_weights(pool, criterion, n=horizon, prior=ridge, beta=beta, tol=tol)


def uniform_pairs(view: View, n: int) -> Pairs:
    """Draw n pairs uniformly and independently from all pairs of the pool, ``(n, 3)``."""
    sizes = view.pool.valid.sum(axis=1)
    share = sizes * (sizes - 1) / (sizes * (sizes - 1)).sum()
    prompt = view.rng.choice(len(sizes), size=n, p=share)
    i = view.rng.integers(sizes[prompt])
    j = view.rng.integers(sizes[prompt] - 1)
    j += j >= i  # skip i
    valid_first = view.pool.valid_first
    return np.stack([prompt, valid_first[prompt, i], valid_first[prompt, j]], axis=1)


def rank_completions(pool: Pool, values: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank each prompt's completions by falling value, invalid ones last, ``(n_prompts, K)``.

    Args:
        pool: the pool.
        values: ``(n_prompts, K)``.
        rng: random numbers that break ties.
    """
    values = np.where(pool.valid, values, -np.inf)
    return np.lexsort([rng.random(values.shape), -values], axis=1)


def masked_argmax(
    mask: NDArray[np.bool_], values: Array, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the index of the largest value where a mask is true, along the last axis, ``(...,)``.

    Args:
        mask: ``(..., K)``, with a true element in each row.
        values: ``(..., K)``.
        rng: random numbers that break ties.
    """
    values = np.where(mask, values, -np.inf)
    best = mask & (values == values.max(axis=-1, keepdims=True))
    rank = rng.integers(best.sum(axis=-1))
    index: NDArray[np.int64] = np.argmax(np.cumsum(best, axis=-1) > rank[..., None], axis=-1)
    return index


def distinct_draws(log_first: Array, log_second: Array, rng: np.random.Generator) -> Duels:
    """Draw i and j ≠ i with probability ∝ p_i q_j, that is independently given that they differ.

    The distribution is that of rejection sampling, without the loop.

    Args:
        log_first: log p, ``(m, K)``, up to a constant in each row; −inf for probability 0.
        log_second: log q, ``(m, K)``, up to a constant in each row; at least two finite values in
            each row.
        rng: source of randomness.

    Returns:
        i and j, ``(m,)`` each.
    """
    # P(first = i) ∝ p_i Σ_{j≠i} q_j. Sum the q_j before and after i, because 1 − q_i suffers from
    # cancellation where q_i is near 1.
    edge = np.full((len(log_second), 1), -np.inf)
    before = np.logaddexp.accumulate(np.hstack([edge, log_second[:, :-1]]), axis=1)
    after = np.logaddexp.accumulate(np.hstack([edge, log_second[:, :0:-1]]), axis=1)[:, ::-1]
    shape = log_first.shape
    # The argmax of log-probabilities plus Gumbel noise is a draw from the distribution.
    first = np.argmax(log_first + np.logaddexp(before, after) + rng.gumbel(size=shape), axis=1)
    rest = np.where(np.arange(shape[1]) == first[:, None], -np.inf, log_second)
    return first, np.argmax(rest + rng.gumbel(size=shape), axis=1)


def check_counts(design: Design, *names: str) -> None:
    """Check that parameters of a design that count something are 1 or more.

    Args:
        design: the design.
        *names: the parameters, such as ``"candidates"``.

    Raises:
        InvalidParameter: If one is less than 1.
    """
    check_at_least(1, **{name: getattr(design, name) for name in names})


def opponent_mask(pool: Pool, first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the mask of valid completions other than each prompt's first, ``(n_prompts, K)``.

    Args:
        pool: the pool.
        first: first completion of each prompt's duel, ``(n_prompts,)``.
    """
    mask = pool.valid.copy()
    mask[np.arange(len(first)), first] = False
    return mask


def largest_pair(pool: Pool, scores: Array, rng: np.random.Generator) -> Duels:
    """Select each prompt's pair of highest score, its two completions in random order.

    Args:
        pool: the pool.
        scores: ``(n_prompts, K, K)``; only entries ``[i, j]`` with i < j are read.
        rng: random numbers that break ties and order the pairs.
    """
    n, k = pool.valid.shape
    index = masked_argmax(pool.pair_mask.reshape(n, -1), scores.reshape(n, -1), rng)
    i, j = np.divmod(index, k)
    swap = rng.random(n) < 0.5
    return np.where(swap, j, i), np.where(swap, i, j)


def redraw_until_different(
    pool: Pool, first: NDArray[np.int64], draws: Array, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Select the second Thompson winner: the best completion of the first draw that differs.

    Args:
        pool: the pool.
        first: first Thompson winner of each prompt, ``(n_prompts,)``.
        draws: posterior draws of the rewards, ``(m, n_prompts, K)``.
        rng: random numbers that break ties.

    Returns:
        ``(n_prompts,)``; ``first`` where it is best in all draws.
    """
    second = first.copy()
    for draw in draws:
        undecided = np.flatnonzero(second == first)
        if not len(undecided):
            break
        second[undecided] = masked_argmax(pool.valid[undecided], draw[undecided], rng)
    return second


def duel_sequentially(view: View, duel: Callable[[Pairs], Duels], n: int) -> Pairs:
    """Select one pair per prompt and turn by a duel rule that depends on all earlier pairs.

    Prompts that were asked least often come first, as in :func:`duel_per_prompt`.

    Args:
        view: the round's view.
        duel: maps all pairs so far, ``(m, 3)``, oldest first and with those of this round's earlier
            turns, to the duel of each prompt, ``(n_prompts,)`` each.
        n: number of pairs.
    """
    pairs = view.pairs
    while (remaining := len(view.pairs) + n - len(pairs)) > 0:
        counts = np.bincount(pairs[:, 0], minlength=view.pool.n_prompts)
        due = view.rng.permutation(np.flatnonzero(counts == counts.min()))[:remaining]
        first, second = duel(pairs)
        pairs = np.concatenate([pairs, np.stack([due, first[due], second[due]], axis=1)])
    return pairs[len(view.pairs) :]


def pair_scores(pool: Pool, values: Array) -> Array:
    """Arrange one value per pair as the score array of :func:`top_pairs`, ``(n_prompts, K, K)``.

    Args:
        pool: the pool.
        values: ``(n_pairs,)``, in the order of ``pool.pair_mask``.
    """
    scores = np.zeros(pool.pair_mask.shape)
    scores[pool.pair_mask] = values
    return scores
