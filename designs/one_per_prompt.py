"""One uniformly random pair of each prompt, prompts in turn.

The prompts are gone through in random order; where there are more labels than prompts, each turn
draws new pairs. Against ``uniform-prompts`` it is stratified: no prompt gets two labels more than
another.

Family: plain.
Source: common practice, no publication of its own: preference data sets mostly have one comparison
    a prompt.
Assumes: that prompts matter alike, and more of them tell more than more pairs of the same ones.
Cost: O(N log N + N K) a turn.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, distinct_draws, over_prompts


@dataclass(frozen=True)
class OnePerPrompt(Design):
    """A random pair a prompt, drawn anew for each turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Take the prompts that were asked least often, and two different completions of each."""
        alike = np.where(view.pool.valid, 0.0, -np.inf)
        return over_prompts(view, lambda: distinct_draws(alike, alike, view.rng), n)
