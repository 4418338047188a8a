"""The first two completions of each prompt, as where two answers are sampled and compared.

Prompts take turns, and from the second turn on the same question is asked again. By definition it
depends on the order of completions, and the others are never asked.

Family: plain.
Source: the usual pipeline of RLHF, with two answers a prompt; such as Bai et al. 2022, "Training a
    Helpful and Harmless Assistant with Reinforcement Learning from Human Feedback", arXiv
    2204.05862.
Assumes: that the pool's order means nothing.
Cost: O(N log N).
"""

from dataclasses import dataclass
from typing import ClassVar

from pairbench import Design, Pairs, View, duel_per_prompt


@dataclass(frozen=True)
class FirstTwo(Design):
    """The first two valid completions of each prompt; prompts are cycled through at random."""

    ordered: ClassVar[bool] = True

    def select(self, view: View, n: int) -> Pairs:
        """Pair the first two valid completions of the prompts with the fewest labels."""
        first, second = view.pool.valid_first[:, :2].T
        return duel_per_prompt(view, lambda: (first, second), n)
