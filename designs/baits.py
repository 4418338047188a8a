"""The best completion of a posterior draw of each prompt against the rival of least certain chance.

Thompson sampling of SEA for finding the best (best-arm identification): first = argmax r, and
second = argmax_j Var σ(r_first − r_j). With r_first − r_j ~ N(μ, s²) and Φ(x √(π/8)) for σ(x), as
MacKay approximates it, the variance has a closed form: with h = μ √(π/8) / √(1 + v), v = π s²/8,

    Var σ ≈ Φ(h) − 2 T(h, 1/√(1 + 2v)) − Φ(h)²,    T being Owen's function.

The publication takes Var σ over an ensemble of 20 members, one of which, chosen at random, is the
draw. The authors' code (sail-sg/oat, EnnBAITS) takes the members' variance of the difference
r_first − r_j itself, not of its σ, and does not exclude the first, whose variance is 0; here the
second is always another completion.

Family: dueling bandit.
Source: Liu, Chen, Du, Lee and Lin 2024, Sample-Efficient Alignment for LLMs, Algorithm 1 for BAI,
    arXiv 2411.01493; MacKay 1992, The Evidence Framework Applied to Classification Networks,
    Neural Computation 4(5); Owen 1956, Tables for Computing Bivariate Normal Probabilities.
Assumes: that the best completion is what is sought, and a normal belief of each difference.
Cost: one fit a round; one posterior draw and all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, owens_t

from pairbench import Belief, DuelDesign, Duels, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Baits(DuelDesign):
    """The best of a Thompson draw against the least certain rival; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Draw the first, and find the rival whose chance against it is most uncertain."""
        pool, prompts = belief.pool, np.arange(belief.pool.n_prompts)
        first = masked_argmax(pool.valid, belief.draws(1, rng)[0], rng)
        mean = belief.mean[prompts, first][:, None] - belief.mean
        v = np.pi / 8 * belief.difference_variance()[prompts, first]
        h = mean * np.sqrt(np.pi / 8 / (1 + v))
        chance = ndtr(h)
        uncertainty = chance - 2 * owens_t(h, 1 / np.sqrt(1 + 2 * v)) - chance**2
        return first, masked_argmax(opponent_mask(pool, first), uncertainty, rng)
