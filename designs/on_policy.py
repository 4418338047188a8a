"""Two different completions sampled from the current policy π̂, as in online DPO.

A prompt x is drawn with its weight ρ(x), which is uniform unless the pool has weights, and a pair
of it with probability ∝ π̂(y_i|x) π̂(y_j|x), i ≠ j: two independent draws from the pool, repeated
where they are the same completion. π̂ is the policy trained on all labels so far; before the first
it is π_ref. Labels of the round do not change it.

Family: plain.
Source: Guo et al. 2024, "Direct Language Model Alignment from Online AI Feedback", arXiv
    2402.04792; Rafailov et al. 2023, "Direct Preference Optimization", arXiv 2305.18290, with π_ref
    in place of π̂.
Assumes: that the completions that the policy samples are the ones to label. Completions to which π̂
    wrongly gives low probability are no longer asked.
Cost: one DPO fit, and O(N K + n K).
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, distinct_draws


@dataclass(frozen=True)
class OnPolicy(Design):
    """Prompts by their weights, with two samples of the current policy each."""

    def select(self, view: View, n: int) -> Pairs:
        """Sample prompts by weight, then two different completions of each by π̂."""
        prompt = view.rng.choice(view.pool.n_prompts, size=n, p=view.pool.prompt_weights)
        log_policy = view.log_policy()[prompt]
        first, second = distinct_draws(log_policy, log_policy, view.rng)
        return np.stack([prompt, first, second], axis=1)
