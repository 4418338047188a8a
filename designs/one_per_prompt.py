"""One uniformly random pair of each prompt, cycling through the prompts.

Prompts are in random order; where there are more labels than prompts, each turn draws new pairs.
Unlike ``uniform-prompts`` it is stratified: no prompt gets two labels more than another.

Family: plain.
Source: common practice, no publication: preference data sets mostly have one comparison a prompt.
Assumes: that prompts matter equally, and that more prompts are more informative than more pairs of
    the same ones.
Cost: O(N log N + N K) a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, distinct_draws, duel_per_prompt


@dataclass(frozen=True)
class OnePerPrompt(Design):
    """A random pair a prompt, drawn anew for each turn."""

    def select(self, view: View, n: int) -> Pairs:
        """Draw a uniform pair of each prompt, prompts with the fewest labels first."""
        log_uniform = np.where(view.pool.valid, 0.0, -np.inf)
        return duel_per_prompt(view, lambda: distinct_draws(log_uniform, log_uniform, view.rng), n)
