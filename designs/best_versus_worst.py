"""The completion of highest implicit reward against the one of lowest.

West-of-N (Pace et al. 2024, arXiv 2401.12086), with the policy's own implicit reward φᵀθ̂ as the
reward model. Assumes that the contrast that is easiest to label teaches most; where labels
saturate it teaches least. Cost: one DPO fit and O(N K log K) a round.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, over_prompts, ranked_completions


@dataclass(frozen=True)
class BestVersusWorst(Design):
    """One pair a prompt, the extremes of the current implicit reward; prompts in turn.

    Before the first label all rewards are equal, and the pair is random.
    """

    def select(self, view: View, n: int) -> Pairs:
        """Rank by implicit reward; take the prompts that were asked least often."""
        ranked = ranked_completions(view, view.implicit_rewards())
        last = view.pool.valid.sum(axis=1) - 1
        return over_prompts(view, ranked[:, 0], ranked[np.arange(len(last)), last], n)
