"""The best Bradley–Terry approximation of an intransitive annotator, and its cost."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy

from pairbench._util.numerics import logistic_slope
from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.oracles import ExpectedLabelOracle
from pairbench.pool.features import centre
from pairbench.pool.pool import Pool
from pairbench.scoring.exact import gap, optimal_log_probs
from pairbench.worlds.world import World

Array = NDArray[np.float64]

_TOLERANCE = 1e-14  # of the gradient, per label
_MAX_STEPS = 200
_PAIRS_PER_BLOCK = 2**22  # in memory at once


@dataclass(frozen=True, eq=False)
class BestBradleyTerry:
    """The Bradley–Terry model of least expected log loss on an annotator's labels.

    Attributes:
        rewards: r̃, ``(n_prompts, n_completions)`` reward units, with mean 0 over each prompt's
            completions, 0 where not valid.
        excess: the excess of its expected log loss over that of the annotator's probabilities, nats
            per label; more labels do not reduce it.
        gap: the gap of the policy that is optimal for r̃, on the prompts of the pool, reward units.
    """

    rewards: Array
    excess: float
    gap: float


def best_bradley_terry(world: World) -> BestBradleyTerry:
    """Fit rewards r̃ of least expected log loss to the labels of a world's oracle.

    The expectation is over all pairs of the pool, uniformly, in both orders, before any label was
    bought; pairs without an answer are excluded. r̃ is the limit of a tabular reward model for
    infinitely many labels of uniform pairs.

    Args:
        world: a world whose oracle knows its mean label of each pair.

    Raises:
        InvalidParameter: If the oracle does not know its mean labels.
        TrainingFailed: If no finite rewards are optimal, because the completions of a prompt fall
            into two parts of which one always wins.
    """
    if not isinstance(world.oracle, ExpectedLabelOracle):
        raise InvalidParameter(
            f"the oracle is a {type(world.oracle).__name__}, which cannot say how it answers on "
            "average. Give the world an annotator: world.with_annotator('bradley-terry', seed)."
        )
    pool, beta = world.pool, world.beta
    rewards = np.zeros(pool.valid.shape)
    loss = count = 0.0
    for prompts in _blocks(pool):
        labels = _mean_labels(pool, world.oracle, prompts)
        answered = ~np.isnan(labels)
        p = np.where(answered, labels, 0.0)
        # Expected wins of i over j, and number of labels, over both orders of a pair.
        wins = p + np.where(answered, 1 - p, 0.0).swapaxes(1, 2)
        n = answered + answered.swapaxes(1, 2).astype(np.float64)
        _check_connected(wins)
        rewards[prompts] = fit = _fit(wins, n)
        entropy = -np.sum(answered * (xlogy(p, p) + xlogy(1 - p, 1 - p)))
        loss += float(_log_losses(fit, wins, n).sum() - entropy)
        count += float(answered.sum())
    rewards = np.where(pool.valid, centre(rewards, pool.valid), 0.0)
    policy = optimal_log_probs(pool, rewards, beta)
    return BestBradleyTerry(
        rewards, max(0.0, loss / max(count, 1.0)), gap(policy, pool, world.truth.rewards, beta)
    )


def _blocks(pool: Pool) -> Iterator[slice]:
    """Yield blocks of prompts whose pairs fit into memory."""
    size = max(1, _PAIRS_PER_BLOCK // pool.n_completions**2)
    for start in range(0, pool.n_prompts, size):
        yield slice(start, min(start + size, pool.n_prompts))


def _mean_labels(pool: Pool, oracle: ExpectedLabelOracle, prompts: slice) -> Array:
    """Compute the mean labels with i first and j second, ``(n, K, K)``, NaN where undefined.

    Args:
        pool: the pool.
        oracle: the oracle.
        prompts: a slice of n prompts.
    """
    valid = pool.valid[prompts]
    mask = valid[:, :, None] & valid[:, None, :] & ~np.eye(pool.n_completions, dtype=np.bool_)
    pairs = np.argwhere(mask)
    pairs[:, 0] += prompts.start
    labels = np.full(mask.shape, np.nan)
    labels[mask] = oracle.expected(pairs)
    return labels


def _check_connected(wins: Array) -> None:
    """Check that optimal rewards are finite.

    They are if each weak component of the graph of possible wins is strongly connected (Ford 1957).

    Args:
        wins: expected wins of i over j, ``(n, K, K)``.

    Raises:
        TrainingFailed: If they are not.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    size = wins.shape[0] * wins.shape[1]
    prompt, i, j = np.nonzero(wins > 0)
    offset = prompt * wins.shape[1]
    graph = csr_array((np.ones(len(prompt)), (offset + i, offset + j)), shape=(size, size))
    n_components = [
        connected_components(graph, connection=connection, return_labels=False)
        for connection in ("weak", "strong")
    ]
    if n_components[0] != n_components[1]:
        raise TrainingFailed(
            "no finite rewards fit these answers best, because some completions win every time. "
            "Give the annotator a choice that leaves a chance to both, such as 'bradley-terry'."
        )


def _log_losses(rewards: Array, wins: Array, n: Array) -> Array:
    """Compute the log loss of each prompt, ``(n,)``, of rewards ``(n, K)``."""
    logit = rewards[:, :, None] - rewards[:, None, :]
    losses: Array = np.sum(n * np.logaddexp(0, logit) - wins * logit, axis=(1, 2)) / 2
    return losses


def _fit(wins: Array, n: Array) -> Array:
    """Minimise the log loss over rewards, ``(n, K)``, by damped Newton in all prompts at once.

    Args:
        wins: expected wins of i over j, ``(n, K, K)``.
        n: number of labels of i and j, ``(n, K, K)``.

    Raises:
        TrainingFailed: If the iteration does not converge.
    """
    rewards = np.zeros(wins.shape[:2])
    total = np.maximum(n.sum(axis=(1, 2)), 1.0)
    losses = _log_losses(rewards, wins, n)
    diagonal = np.eye(wins.shape[1])
    for _ in range(_MAX_STEPS):
        logit = rewards[:, :, None] - rewards[:, None, :]
        gradient = np.sum(n * expit(logit) - wins, axis=2)
        if (np.abs(gradient).max(axis=1) <= _TOLERANCE * total).all():
            return rewards
        weight = n * logistic_slope(logit)
        # The loss depends on differences only; a small ridge makes the Hessian invertible.
        degree = weight.sum(axis=2)
        degree = degree + 1e-9 * degree.max(axis=1, keepdims=True) + np.finfo(float).tiny
        hessian = degree[:, :, None] * diagonal - weight
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        slope = np.sum(gradient * step, axis=1)
        damping = np.ones(len(rewards))
        # Armijo's rule, except for steps whose decrease is below the precision of the loss.
        for _ in range(40):
            new = rewards - damping[:, None] * step
            new_losses = _log_losses(new, wins, n)
            accepted = new_losses <= losses - 1e-4 * damping * slope
            accepted |= slope < 1e-12 * np.maximum(losses, 1.0)
            if accepted.all():
                break
            damping = np.where(accepted, damping, damping / 2)
        rewards, losses = new, new_losses
    raise TrainingFailed(
        f"the fit of Bradley–Terry rewards did not converge in {_MAX_STEPS} steps, because almost "
        "certain labels do not determine them. A higher temperature of the choice helps."
    )
