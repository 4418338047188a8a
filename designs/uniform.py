"""Uniform pairs of the pool: the reference that every other design is compared with.

Each label's pair is drawn independently, which is the sampling that the theory assumes. Prompts
with more completions have more pairs, and get more labels; ``uniform-prompts`` treats prompts
equally.

Family: plain.
Source: common practice; as the reference design in Han, Goyal, Ma 2026, "Which Pairs to Compare for
    LLM Post-Training?", arXiv 2606.19607.
Assumes: nothing.
Cost: O(n log N).
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, uniform_pairs


@dataclass(frozen=True)
class Uniform(Design):
    """Pairs drawn uniformly and independently."""

    def select(self, view: View, n: int) -> Pairs:
        """Draw prompts by their number of pairs, then two different completions of each."""
        return uniform_pairs(view, n)
