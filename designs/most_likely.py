"""The two completions that the reference policy finds most likely.

Compares what the policy would say anyway. Assumes that π_ref's modes are where the optimum differs
from it. Cost: O(N K log K) a round.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, over_prompts, ranked_completions


@dataclass(frozen=True)
class MostLikely(Design):
    """One pair a prompt, the two of largest π_ref, ties at random; prompts in turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank by log π_ref; take the prompts that were asked least often."""
        ranked = ranked_completions(view, view.pool.log_ref)
        return over_prompts(view, ranked[:, 0], ranked[:, 1], n)
