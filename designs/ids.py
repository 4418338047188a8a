"""The pair of each prompt with the least squared regret for each nat of information.

Deterministic information-directed sampling, argmin_ij Δ̂_ij² / I_ij with

    Δ̂_ij = δ + μ_g − (μ_i + μ_j)/2,    δ = max_k (μ_kg + β s_kg),    I_ij = ½ log(1 + w s_ij²).

g is the completion of largest mean and μ_g + δ an upper bound of the best reward, so Δ̂ is an
optimistic estimate of the regret of showing i and j instead of the best (Kirschner and Krause's),
and I the information of a label of weight w = σ'(μ_ij) about the reward. The two completions are in
random order.

Russo and Van Roy minimise the ratio over distributions, which two actions suffice for, and take the
information about which action is best; Kirschner and Krause mix (g, j) with (g, g), a pair without
information that is no question here. Minimising over single actions is deterministic IDS (Kirschner
and Krause 2018, Information Directed Sampling and Bandits with Heteroscedastic Noise). β, which
theory lets grow with the information gained, is 1, as in Melikidze et al. 2026 (arXiv
2603.09692).

Family: dueling bandit.
Source: Russo and Van Roy 2014, Learning to Optimize via Information-Directed Sampling, arXiv
    1403.5556; for duels Kirschner and Krause 2021, Bias-Robust Bayesian Optimization via Dueling
    Bandits, arXiv 2105.11802.
Assumes: that showing bad completions to a labeller is a loss. It is not, where labels are bought
    for training only; there the regret is irrelevant.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, largest_pair, masked_argmax
from pairbench.information import logistic_slope


@dataclass(frozen=True)
class Ids(ConfidenceDesign):
    """The pair of least information ratio; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the pair of least ratio of squared regret to information."""
        pool, mean, difference = belief.pool, belief.mean, belief.differences()
        variance = belief.difference_variance()
        prompts, greedy = np.arange(pool.n_prompts), masked_argmax(pool.valid, mean, rng)
        upper = difference[prompts, :, greedy]
        upper += self.beta * np.sqrt(variance[prompts, :, greedy])
        best = mean[prompts, greedy] + np.where(pool.valid, upper, -np.inf).max(axis=1)
        pairs = pool.pair_mask  # by symmetry, half of the matrices is enough
        regret = (best[:, None, None] - (mean[:, :, None] + mean[:, None, :]) / 2)[pairs]
        information = np.log1p(logistic_slope(difference[pairs]) * variance[pairs]) / 2
        # A pair without information, such as one of equal completions, comes last.
        ratio = np.full(len(regret), np.inf)
        np.divide(regret**2, information, out=ratio, where=information > 0)
        scores = np.full(variance.shape, -np.inf)
        scores[pairs] = -ratio
        return largest_pair(pool, scores, rng)
