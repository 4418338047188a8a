"""The pairs whose better completion is expected to exceed their prompt's best mean reward most.

Expected utility of the best option: E max(r_i, r_j) = μ_j + μ_ij Φ(μ_ij/s_ij) + s_ij φ(μ_ij/s_ij)
for a Gaussian posterior, in closed form. It is the expected reward after a noiseless answer, if no
other completion could then be used: the one-step Bayes-optimal question for finding the best one
(Astudillo et al. 2023). The paper has one decision to make; here each prompt is one. Rewards are
identified within prompts only, so pairs are compared by how much E max exceeds the prompt's largest
mean, max_k μ_k, times the prompt's weight; within a prompt that is the paper's order. Labels go to
the prompts where they are worth most, and no pair is repeated before all have been asked.

Family: decision-theoretic.
Source: Lin, Astudillo, Frazier, Bakshy 2022, Preference Exploration for Efficient Bayesian
    Optimization with Multiple Outcomes, AISTATS, arXiv 2203.11382; qEUBO, see ``qeubo``.
Assumes: That one completion of each prompt is what counts, where the policy's gap depends on all
    that it may sample; and that rewards are Gaussian. A batch may be redundant.
Cost: The belief and O(N K² d) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pairbench import BeliefDesign, ScoredDesign, View


@dataclass(frozen=True)
class Eubo(BeliefDesign, ScoredDesign):
    """The n pairs of largest expected utility, above the prompt's best mean, not asked before."""

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by their expected utility above the prompt's best mean."""
        belief, pool = self.belief(view), view.pool
        # A pair without variance is worth its better mean.
        s = np.sqrt(np.maximum(belief.difference_variance(), 1e-24))
        u = belief.differences() / s
        density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        best_of_two = belief.mean[:, None, :] + s * (u * ndtr(u) + density)
        best = np.where(pool.valid, belief.mean, -np.inf).max(axis=1)
        gain: NDArray[np.float64] = best_of_two - best[:, None, None]
        return gain * pool.prompt_weights[:, None, None]
