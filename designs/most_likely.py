"""The two most likely completions of each prompt under the reference policy.

Compares the modes of the policy before any training: argmax over pairs of π_ref(i) π_ref(j).
Prompts take turns, and from the second turn on the same question is asked again.

Family: plain.
Source: common practice, no publication: two greedy or beam-search answers are compared.
Assumes: that π_ref's modes are where the optimum differs from it.
Cost: O(N K log K).
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, duel_per_prompt, rank_completions


@dataclass(frozen=True)
class MostLikely(Design):
    """One pair a prompt, the two of largest π_ref, ties at random; cycles through the prompts."""

    def select(self, view: View, n: int) -> Pairs:
        """Pair the two completions of largest π_ref, prompts with the fewest labels first."""
        ranked = rank_completions(view.pool, view.pool.log_ref, view.rng)
        return duel_per_prompt(view, lambda: (ranked[:, 0], ranked[:, 1]), n)
