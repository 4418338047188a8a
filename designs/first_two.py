"""The first two completions of each prompt: what is done when two answers are sampled and compared.

The usual pipeline of RLHF (Ouyang et al. 2022, arXiv 2203.02155, with two answers a prompt).
Assumes that the pool's order means nothing. Cost: O(N log N) a round.
"""

from dataclasses import dataclass

from pairbench import Design, Pairs, View, over_prompts


@dataclass(frozen=True)
class FirstTwo(Design):
    """One pair a prompt, the first two valid completions; prompts in turn, in random order."""

    def select(self, view: View, n: int) -> Pairs:
        """Take the prompts that were asked least often."""
        first, second = view.pool.valid_first[:, :2].T
        return over_prompts(view, first, second, n)
