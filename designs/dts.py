"""Of each prompt the best of one draw, among those that may be the best, against that of another.

Double Thompson sampling, with the posterior over rewards in place of one Beta posterior a pair.
With two independent draws r¹ and r² and u_ij = μ_ij + β s_ij,

    first = argmax r¹_i over the i with u_ij ≥ 0 for all j,    second = argmax_{j ≠ first} r²_j.

The publication takes for first, among the completions with the largest count of j with u_ij > 0,
the one that beats most others in the draw, and for second one that does not clearly beat the first.
The completion of largest mean may beat all others, so the largest count is all of them; among
rewards the best beats most; and what may be best is clearly beaten by none. It may compare the
first with itself, which costs no regret and teaches nothing; here the next best of the draw takes
that place. Its bounds are √(α log t / n_ij) wide with α = 0.51, for counts n_ij of a prompt's own
duels; here they are β posterior deviations wide, and β = 1 is the default of Melikidze et al. 2026
(arXiv 2603.09692), who took D-TS to language models.

Family: dueling bandit.
Source: Wu and Liu 2016, Double Thompson Sampling for Dueling Bandits, arXiv 1604.07101.
Assumes: that good completions are the ones worth comparing, which holds where regret counts; DPO
    also learns from bad ones, which this rule soon leaves alone.
Cost: one fit a round; two posterior draws and all s_ij of the pool a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, largest, rivals


@dataclass(frozen=True)
class Dts(ConfidenceDesign):
    """Double Thompson sampling, the first among those that the bounds leave in; prompts in turn."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """One draw each."""
        champions = self.plausible(belief, self.upper(belief))
        one, other = belief.draws(2, rng)
        first = largest(champions, one, rng)
        return first, largest(rivals(belief.pool, first), other, rng)
