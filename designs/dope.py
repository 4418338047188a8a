"""Prompts drawn from the D-optimal weights over prompts, then a uniform pair of the prompt.

Dope takes max log det Σ_x π_x A_x over weights π of prompts, A_x = Σ z zᵀ over all pairs of x, and
has annotators rank all completions of prompts drawn from π. Here a label is one pair, drawn
uniformly from the prompt's, so A_x is its expected information, the mean of ¼ z zᵀ (the paper's up
to scale where all prompts have as many completions), and the ridge is added, spread over the labels
to be bought. With V = Σ π_x A_x the weights are optimal once tr(A_x V⁻¹) ≤ d for all x, by the
paper's Kiefer–Wolfowitz theorem for matrices; multiplicative steps π_x ← π_x tr(A_x V⁻¹)/d converge
to them. A few prompts get all the weight. The pair of a prompt is uniformly random, so near-copies
within it are asked as often as other pairs: compare ``d-optimal``.

Family: optimal design.
Source: Mukherjee, Lalitha, Kalantari, Deshmukh, Liu, Ma, Kveton 2024, Optimal Design for Human
    Preference Elicitation, NeurIPS, arXiv 2404.13895.
Assumes: That prompts differ in their information, and the pairs of one prompt do not; a reward so
    weak that labels do not saturate (no weights w). It does not use the labels.
Cost: Some tens of steps of O(N K d²), once an episode.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, InvalidParameter, Pairs, Pool, View, sample_pairs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dope(Design):
    """D-optimal weights over prompts, independent of the labels.

    Attributes:
        tol: the steps end where no prompt's tr(A_x V⁻¹) exceeds d by more than this share.
        iterations: maximum number of steps.
    """

    tol: float = 0.01
    iterations: int = 1000

    def __post_init__(self) -> None:
        if not (np.isfinite(self.tol) and self.tol > 0):
            raise InvalidParameter(f"tol must be a positive number, got {self.tol}.")
        if self.iterations < 0:
            raise InvalidParameter(f"iterations must be 0 or more, got {self.iterations}.")

    def select(self, view: View, n: int) -> Pairs:
        """Draw each label's prompt from π, and its pair uniformly."""
        prior = view.ridge / view.horizon
        pairs = np.argwhere(view.pool.pair_mask)
        weights = _prompt_weights(view.pool, prior, self.tol, self.iterations)
        share = weights / np.bincount(pairs[:, 0])
        return sample_pairs(view, pairs, share[pairs[:, 0]], n)


@lru_cache(maxsize=1)  # all rounds of an episode ask for the same
def _prompt_weights(pool: Pool, prior: float, tol: float, iterations: int) -> Array:
    """Compute the weights π by multiplicative steps, ``(N,)``."""
    size = pool.valid.sum(axis=1)
    centred = pool.phi - (pool.phi.sum(axis=1) / size[:, None])[:, None]
    # The mean of ¼ z zᵀ over the pairs of m completions is their scatter over 2(m − 1).
    x = np.where(pool.valid[:, :, None], centred, 0.0) / np.sqrt(2 * (size - 1))[:, None, None]
    weights = np.full(len(x), 1 / len(x))
    for _ in range(iterations):
        weighted = (x * np.sqrt(weights)[:, None, None]).reshape(-1, pool.dim)
        inverse = np.linalg.inv(weighted.T @ weighted + prior * np.eye(pool.dim))
        # The ridge is a part of every prompt's A_x, so that the mean over π is always d.
        sensitivity = ((x @ inverse) * x).sum(axis=(1, 2)) + prior * np.trace(inverse)
        if sensitivity.max() <= (1 + tol) * pool.dim:
            break
        weights = weights * sensitivity / pool.dim
        weights /= weights.sum()
    return weights
