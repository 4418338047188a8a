"""The completion of each prompt that does best against its strongest rival, and that rival.

MaxMinLCB, the equilibrium of a Stackelberg game: with l_ij = μ_ij − β s_ij,

    first = argmax_i min_{j ≠ i} l_ij,    second = argmin_{j ≠ first} l_first,j,

so the leader is good with confidence, and the follower is the one that may come closest to beating
it. The publication takes both from M, the completions that no other clearly beats. That restriction
is implied: s_ij is a distance, and where k clearly beats i, μ_ki > β s_ki, the triangle inequality
makes k the better leader, and the better follower against any other. Where M is a single completion
the publication compares it with itself; here it is compared with the follower as above. It bounds
the probability, σ(μ_ij) minus a width of its own; here the difference is bounded, σ(l_ij), and σ,
being monotone, may be left out. β = 1 is the default of Melikidze et al. 2026 (arXiv 2603.09692);
the publication's grows with the information gained.

Family: dueling bandit.
Source: Pásztor, Kassraie and Krause 2024, Bandits with Preference Feedback: A Stackelberg Game
    Perspective, arXiv 2406.16745.
Assumes: that the best completion is what is sought. Bad completions are soon no longer compared,
    although the policy depends on how bad they are.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Maxminlcb(ConfidenceDesign):
    """Pairs the best worst-case winner with its hardest opponent; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the leader of largest least lower bound, and the follower that attains it."""
        pool = belief.pool
        lower = -self.upper(belief).transpose(0, 2, 1)
        other = pool.valid[:, None] & ~np.eye(pool.n_completions, dtype=np.bool_)
        first = masked_argmax(pool.valid, np.where(other, lower, np.inf).min(axis=2), rng)
        return first, masked_argmax(
            opponent_mask(pool, first), -lower[np.arange(len(first)), first], rng
        )
