"""The pair of each prompt whose label is most informative about the reward.

A label of weight w = σ'(μ_ij) adds w z zᵀ to the precision of a Gaussian posterior and so takes
½ log(1 + w s_ij²) nats of its entropy; the pair with the most is taken. Among pairs of the same
s_ij it prefers those near a tie, whose labels are not predictable. The two completions are in
random order.

MacKay's total information gain ranks all pairs of the pool; here it ranks those of each prompt, so
that every prompt gets its share. It is not what the code of ActiveUltraFeedback
(lasgroup/ActiveUltraFeedback) calls InfoGain: there the first completion is the best of a Thompson
draw, each reward drawn independently and uniformly from [l_i, u_i] = μ_i ± β s_i, and the second is
the other completion j of widest interval against it, argmax σ(u_first − l_j) − σ(l_first − u_j).
``baits`` has the same structure.

Family: dueling bandit.
Source: MacKay 1992, Information-Based Objective Functions for Active Data Selection, Neural
    Computation 4(4), with the logistic label's weight in place of the noise's precision.
Assumes: that all of the reward is worth learning, whether or not the policy depends on it; and that
    the estimate is good enough for the weight w, which first estimates from few labels are not.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, largest_pair
from pairbench.information import logistic_slope


@dataclass(frozen=True)
class Infogain(DuelDesign):
    """The most informative pair of each prompt; cycles through the prompts."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the pair of largest w s², in which the information is increasing."""
        gain = logistic_slope(belief.differences()) * belief.difference_variance()
        return largest_pair(belief.pool, gain, rng)
