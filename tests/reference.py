"""What tests share: views with a history, and slow transcriptions of what designs compute."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

from pairbench import LogLinearDPO, Pairs, Pool, View

Array = NDArray[np.float64]
Question = tuple[int, int, int]


def history(pool: Pool, n: int, seed: int = 0) -> tuple[Pairs, NDArray[np.float64]]:
    """Random questions, turned at random, with random answers, each fourth one missing."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.repeat(np.argwhere(pool.pair_mask), 3, axis=0))[:n]
    turned = rng.random(len(pairs)) < 0.5
    pairs[turned] = pairs[turned][:, [0, 2, 1]]
    labels = rng.choice([0.0, 0.5, 1.0], size=len(pairs))
    labels[::4] = np.nan
    return pairs, labels


def sigmoid(x: float) -> float:
    """σ(x), from its definition."""
    return float(1 / (1 + np.exp(-x)))


def all_pairs(pool: Pool) -> list[Question]:
    """Every pair once."""
    return [
        (x, i, j)
        for x in range(pool.n_prompts)
        for i in range(pool.n_completions)
        for j in range(i + 1, pool.n_completions)
        if pool.valid[x, i] and pool.valid[x, j]
    ]


def unordered(pairs: Pairs) -> list[Question]:
    """The pairs as questions, each with its smaller completion first."""
    return [(int(x), int(min(i, j)), int(max(i, j))) for x, i, j in pairs]


def theta_of(view: View) -> Array:
    """θ̂ of the training."""
    return LogLinearDPO(view.ridge).fit(view.pool, view.beta, view.pairs, view.labels).theta


def precision_of(view: View, theta: Array) -> Array:
    """A = λI + Σ w z zᵀ over the answered questions."""
    precision = view.ridge * np.eye(view.pool.dim)
    for (x, i, j), label in zip(view.pairs, view.labels, strict=True):
        if not np.isnan(label):
            z = view.pool.phi[x, i] - view.pool.phi[x, j]
            p = sigmoid(float(z @ theta))
            precision = precision + p * (1 - p) * np.outer(z, z)
    return precision


def best_fresh(view: View, score: Callable[[Array], float], n: int) -> list[Question]:
    """The n pairs not asked before whose z has the highest score, in falling order."""
    asked, phi = set(unordered(view.pairs)), view.pool.phi
    fresh = [pair for pair in all_pairs(view.pool) if pair not in asked]
    fresh.sort(key=lambda pair: -score(phi[pair[0], pair[1]] - phi[pair[0], pair[2]]))
    assert len(fresh) > n
    return fresh[:n]


def per_prompt(chosen: Pairs) -> dict[int, tuple[int, int]]:
    """The pair of each prompt, where all prompts differ."""
    assert len(set(chosen[:, 0].tolist())) == len(chosen), "a prompt came twice in one turn"
    return {int(x): (int(i), int(j)) for x, i, j in chosen}


def drawn_as(chosen: Pairs, chances: dict[Question, float]) -> bool:
    """Whether the rows, order and all, could well be independent draws with these chances.

    Args:
        chosen: ``(n, 3)``, with several times as many rows as there are chances.
        chances: of each row that can come, ``(prompt, first, second)``; they sum to one.
    """
    counted = Counter((int(x), int(i), int(j)) for x, i, j in chosen)
    expected = len(chosen) * np.array(list(chances.values()))
    observed = np.array([counted[row] for row in chances])
    # Those that hardly ever come are counted together, as the test's approximation asks.
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    some = expected > 0
    impossible = set(counted) - set(chances)
    return not impossible and bool(chisquare(observed[some], expected[some]).pvalue > 1e-3)
