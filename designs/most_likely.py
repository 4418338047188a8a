"""The two completions that the reference policy finds most likely.

Compares what the policy would say before any training: argmax over pairs of π_ref(i) π_ref(j).
Prompts take turns, and from the second turn on the same question is asked again.

Family: plain.
Source: common practice, no publication of its own: two greedy or beam-search answers are compared.
Assumes: that π_ref's modes are where the optimum differs from it.
Cost: O(N K log K).
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, over_prompts, ranked_completions


@dataclass(frozen=True)
class MostLikely(Design):
    """One pair a prompt, the two of largest π_ref, ties at random; prompts in turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Rank by log π_ref; take the prompts that were asked least often."""
        ranked = ranked_completions(view.pool, view.pool.log_ref, view.rng)
        return over_prompts(view, lambda: (ranked[:, 0], ranked[:, 1]), n)
