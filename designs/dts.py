"""The best plausible completion of one draw of each prompt against the best of another draw.

Double Thompson sampling, with the posterior over rewards in place of one Beta posterior a pair.
With two independent draws r¹ and r² and u_ij = μ_ij + β s_ij,

    first = argmax r¹_i over the i with u_ij ≥ 0 for all j,    second = argmax_{j ≠ first} r²_j.

The publication takes for first, among the completions with the largest count of j with u_ij > 0,
the one that beats most others in the draw, and for second one that does not clearly beat the first.
The completion of largest mean may beat all others, so the largest count is all of them; in a draw
of rewards the best beats most; and a completion that may be best is clearly beaten by none. It may
compare the first with itself, which costs no regret and has no information; here the next best of
the draw is the second instead. Its bounds are √(α log t / n_ij) wide with α = 0.51, for counts n_ij
of a prompt's duels; here they are β posterior deviations wide, and β = 1 is the default of
Melikidze et al. 2026 (arXiv 2603.09692), who took D-TS to language models.

Family: dueling bandit.
Source: Wu and Liu 2016, Double Thompson Sampling for Dueling Bandits, arXiv 1604.07101.
Assumes: that good completions are the ones worth comparing, which holds where regret counts; DPO
    also learns from bad ones, which this rule soon stops comparing.
Cost: one fit a round; two posterior draws and all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Dts(ConfidenceDesign):
    """Double Thompson sampling, the first among the plausible best; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best of two independent draws, the first among the plausible ones."""
        champions = self.plausible(belief, self.upper(belief))
        first_draw, second_draw = belief.draws(2, rng)
        first = masked_argmax(champions, first_draw, rng)
        return first, masked_argmax(opponent_mask(belief.pool, first), second_draw, rng)
