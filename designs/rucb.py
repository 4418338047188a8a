"""A plausible best completion of each prompt against the rival that may beat it by most.

Relative upper confidence bound: with u_ij = μ_ij + β s_ij, first is drawn from the completions that
no other clearly beats (u_ij ≥ 0 for all j), and second = argmax_{j ≠ first} u_j,first.

The publication's bounds are √(α log t / n_ij) wide with α = 0.51, for counts n_ij of a prompt's
duels; here they are β posterior deviations wide, and β = 1 is the default of Melikidze et al. 2026
(arXiv 2603.09692). The publication draws a hypothesised best arm, one that once was the only
candidate left, half of the time; that needs all bounds of the past, so here, as in the experiments
of Pásztor et al. 2024 (arXiv 2406.16745), the draw is uniform. It may compare the first with itself
once nothing may beat it; here the second is always another.

Family: dueling bandit.
Source: Zoghi, Whiteson, Munos and de Rijke 2014, Relative Upper Confidence Bound for the K-Armed
    Dueling Bandit Problem, arXiv 1312.3393.
Assumes: that the best completion is what is sought. Bad completions are soon eliminated, although
    the policy depends on how bad they are.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Rucb(ConfidenceDesign):
    """A plausible champion and its most optimistic challenger; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Draw the champion among the plausible, and take the challenger of largest bound."""
        pool, upper = belief.pool, self.upper(belief)
        champions = self.plausible(belief, upper)
        first = masked_argmax(champions, np.zeros(pool.valid.shape), rng)
        challenge = upper[np.arange(len(first)), :, first]
        return first, masked_argmax(opponent_mask(pool, first), challenge, rng)
