"""Of each prompt the pair whose label tells most about the reward.

A label of weight w = σ'(μ_ij) adds w z zᵀ to the precision of a Gaussian posterior and so takes
½ log(1 + w s_ij²) nats of its entropy; the pair with the most is taken. Among pairs of the same
s_ij it prefers those near a tie, where labels are not sure beforehand. The pair is turned at
random.

MacKay's total information gain ranks all pairs of the pool; here it ranks those of each prompt, so
that every prompt gets its share. The rule that the code of ActiveUltraFeedback calls InfoGain is
another one (the best mean against the widest interval).

Family: dueling bandit.
Source: MacKay 1992, Information-Based Objective Functions for Active Data Selection, Neural
    Computation 4(4), with the logistic label's weight in place of the noise's precision.
Assumes: that all of the reward is worth knowing, whatever the policy makes of it; and that the
    estimate is good enough for the weight w, which first estimates from few labels are not.
Cost: one fit a round; all s_ij of the pool a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, largest_pair
from pairbench.information import logistic_slope


@dataclass(frozen=True)
class Infogain(DuelDesign):
    """The most informative pair of each prompt; prompts in turn."""

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """The largest w s², of which the information is a rising function."""
        gain = logistic_slope(belief.differences()) * belief.difference_variance()
        return largest_pair(belief.pool, gain, rng)
