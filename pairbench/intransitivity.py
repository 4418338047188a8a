"""What is lost where answers that no rewards explain are taken for Bradley and Terry's."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy

from pairbench.errors import InvalidParameter, TrainingFailed
from pairbench.estimators.belief import centred
from pairbench.oracles import KnownOracle
from pairbench.pool import Pool
from pairbench.scoring import gap, optimal_log_probs
from pairbench.training.log_linear import logistic_slope
from pairbench.world import World

Array = NDArray[np.float64]

_TOLERANCE = 1e-14  # of the gradient, per answer
_MOST_STEPS = 200
_MOST_PAIRS = 2**22  # in memory at a time


@dataclass(frozen=True, eq=False)
class BestBradleyTerry:
    """The Bradley–Terry model that comes nearest to an annotator.

    Attributes:
        rewards: r̃, ``(n_prompts, n_completions)`` reward units, with mean 0 over each prompt's
            completions, 0 where not valid.
        excess: by how much its expected log loss is above that of the annotator's own
            probabilities, nats per label: what no number of labels removes.
        gap: the gap of the policy that is optimal for r̃, on the pool's own prompts, reward units.
    """

    rewards: Array
    excess: float
    gap: float


def best_bradley_terry(world: World) -> BestBradleyTerry:
    """The rewards r̃ of least expected log loss on the world's answers, and what they cost.

    Over all pairs of the pool, uniformly, each shown either way round, before any label was bought;
    pairs without an answer are left out. It is the limit of a reward model that can tell all
    completions apart, on infinitely many labels of uniform pairs.

    Args:
        world: one whose oracle can say how it answers on average.

    Raises:
        InvalidParameter: If the oracle cannot.
        TrainingFailed: If no finite rewards are best: the completions of a prompt fall into two
            parts, of which one wins every time.
    """
    if not isinstance(world.oracle, KnownOracle):
        raise InvalidParameter(
            f"the oracle is a {type(world.oracle).__name__}, which cannot say how it answers on "
            "average. Give the world an annotator: world.answered_by('bradley-terry', seed)."
        )
    pool, beta = world.pool, world.beta
    rewards = np.zeros(pool.valid.shape)
    loss = count = 0.0
    for prompts in _blocks(pool):
        answers = _mean_answers(pool, world.oracle, prompts)
        asked = ~np.isnan(answers)
        p = np.where(asked, answers, 0.0)
        # Both ways of showing a pair: how often i wins, of how many answers.
        wins = p + np.where(asked, 1 - p, 0.0).swapaxes(1, 2)
        n = asked + asked.swapaxes(1, 2).astype(np.float64)
        _check_connected(wins)
        rewards[prompts] = fitted = _fitted(wins, n)
        entropy = -np.sum(asked * (xlogy(p, p) + xlogy(1 - p, 1 - p)))
        loss += float(_losses(fitted, wins, n).sum() - entropy)
        count += float(asked.sum())
    rewards = np.where(pool.valid, centred(pool, rewards), 0.0)
    policy = optimal_log_probs(pool, rewards, beta)
    return BestBradleyTerry(
        rewards, max(0.0, loss / max(count, 1.0)), gap(policy, pool, world.truth.rewards, beta)
    )


def _blocks(pool: Pool) -> Iterator[slice]:
    """Prompts whose pairs fit into memory."""
    size = max(1, _MOST_PAIRS // pool.n_completions**2)
    for start in range(0, pool.n_prompts, size):
        yield slice(start, min(start + size, pool.n_prompts))


def _mean_answers(pool: Pool, oracle: KnownOracle, prompts: slice) -> Array:
    """The mean answer where i is shown first and j second, ``(n, K, K)``, NaN where there is none.

    Args:
        pool: the pool.
        oracle: who answers.
        prompts: which, n of them.
    """
    valid = pool.valid[prompts]
    questions = valid[:, :, None] & valid[:, None, :] & ~np.eye(pool.n_completions, dtype=np.bool_)
    pairs = np.argwhere(questions)
    pairs[:, 0] += prompts.start
    answers = np.full(questions.shape, np.nan)
    answers[questions] = oracle.expected(pairs)
    return answers


def _check_connected(wins: Array) -> None:
    """Say so where no finite rewards are best (Ford 1957, on the graph of who can beat whom).

    Raises:
        TrainingFailed: If so.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    size = wins.shape[0] * wins.shape[1]
    prompt, i, j = np.nonzero(wins > 0)
    offset = prompt * wins.shape[1]
    graph = csr_array((np.ones(len(prompt)), (offset + i, offset + j)), shape=(size, size))
    parts = [
        connected_components(graph, connection=connection, return_labels=False)
        for connection in ("weak", "strong")
    ]
    if parts[0] != parts[1]:
        raise TrainingFailed(
            "no finite rewards fit these answers best, because some completions win every time. "
            "Give the annotator a choice that leaves a chance to both, such as 'bradley-terry'."
        )


def _losses(rewards: Array, wins: Array, n: Array) -> Array:
    """The log loss of each prompt, ``(n_prompts,)``, of rewards ``(n_prompts, K)``."""
    logit = rewards[:, :, None] - rewards[:, None, :]
    losses: Array = np.sum(n * np.logaddexp(0, logit) - wins * logit, axis=(1, 2)) / 2
    return losses


def _fitted(wins: Array, n: Array) -> Array:
    """The rewards of least log loss, ``(n_prompts, K)``, by damped Newton in all prompts at once.

    Args:
        wins: how often i wins against j, ``(n_prompts, K, K)``.
        n: of how many answers, likewise.
    """
    rewards = np.zeros(wins.shape[:2])
    total = np.maximum(n.sum(axis=(1, 2)), 1.0)
    losses = _losses(rewards, wins, n)
    diagonal = np.eye(wins.shape[1])
    for _ in range(_MOST_STEPS):
        logit = rewards[:, :, None] - rewards[:, None, :]
        gradient = np.sum(n * expit(logit) - wins, axis=2)
        if (np.abs(gradient).max(axis=1) <= _TOLERANCE * total).all():
            return rewards
        weight = n * logistic_slope(logit)
        # Only differences matter: a little on the diagonal decides what they leave open.
        degree = weight.sum(axis=2)
        degree = degree + 1e-9 * degree.max(axis=1, keepdims=True) + np.finfo(float).tiny
        hessian = degree[:, :, None] * diagonal - weight
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        slope = np.sum(gradient * step, axis=1)
        damping = np.ones(len(rewards))
        # Armijo's rule, but for steps that promise less than the loss resolves.
        for _ in range(40):
            new = rewards - damping[:, None] * step
            new_losses = _losses(new, wins, n)
            good = new_losses <= losses - 1e-4 * damping * slope
            good |= slope < 1e-12 * np.maximum(losses, 1.0)
            if good.all():
                break
            damping = np.where(good, damping, damping / 2)
        rewards, losses = new, new_losses
    raise TrainingFailed(
        f"the best Bradley–Terry rewards are not found after {_MOST_STEPS} steps, because answers "
        "that are all but certain leave them open. A higher temperature of the choice helps."
    )
