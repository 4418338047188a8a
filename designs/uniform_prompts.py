"""Uniform pairs of uniformly drawn prompts.

Each label is drawn independently, with probability 1/N for the prompt and 2/(K_x (K_x − 1)) for one
of its pairs, K_x being its number of completions. Where all prompts have equally many, that is
``uniform``; on ragged pools a prompt of two completions gets as many labels as one of sixty.

Family: plain.
Source: common practice, no publication.
Assumes: that prompts matter equally, and that two completions of a long list are as informative as
    two of a short one.
Cost: O(n K).
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, distinct_draws


@dataclass(frozen=True)
class UniformPrompts(Design):
    """Prompts drawn uniformly and independently, with a uniform pair each."""

    def select(self, view: View, n: int) -> Pairs:
        """Draw prompts uniformly, then two different completions of each."""
        prompt = view.rng.integers(view.pool.n_prompts, size=n)
        log_uniform = np.where(view.pool.valid[prompt], 0.0, -np.inf)
        first, second = distinct_draws(log_uniform, log_uniform, view.rng)
        return np.stack([prompt, first, second], axis=1)
