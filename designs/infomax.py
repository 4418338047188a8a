"""The pair of each prompt with the widest confidence interval of the preference probability.

InfoMax: argmax_ij σ(u_ij) − σ(l_ij), where u_ij, l_ij = μ_ij ± β s_ij bound the difference of the
rewards. Unlike the largest s_ij it skips pairs whose label is nearly certain, because σ is flat
there. The publication bounds the two rewards, so that its u_ij − l_ij is 2β (s_i + s_j); here the
difference itself is bounded, and it is 2β s_ij. β = 1 is the publication's. The two completions are
in random order.

Family: dueling bandit.
Source: the rule of that name in Melikidze et al. 2026, ActiveUltraFeedback, arXiv 2603.09692; the
    widest pair is also what MaxInP of Saha 2021, Optimal Algorithms for Stochastic Contextual
    Preference Bandits, NeurIPS, takes among the completions that may be best.
Assumes: that preferences matter equally between good and between bad completions. It is
    deterministic but for ties, so all turns of a round name the same pair of a prompt.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, ConfidenceDesign, Duels, largest_pair


@dataclass(frozen=True)
class Infomax(ConfidenceDesign):
    """The widest interval of the preference probability; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the pair with the largest difference of the bounds' probabilities."""
        # With l_ij = −u_ji and σ(x) = (1 + tanh(x/2))/2, this is twice σ(u_ij) − σ(l_ij).
        bound = np.tanh(self.upper(belief) / 2)
        return largest_pair(belief.pool, bound + bound.transpose(0, 2, 1), rng)
