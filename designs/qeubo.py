"""Pairs that jointly raise the expected best of each prompt's compared completions most.

qEUBO, the expected utility of the best of q options, E max_{k∈S} r_k with |S| = q, over posterior
draws. The paper asks which of the q is best, in one question of one decision. Here each prompt is a
decision, and labels are pairs, so a question of q options is asked as q − 1 pairs: the option of
largest posterior mean against each other one. The round's n labels are spent together, which also
settles each prompt's q: S_x begins as that option alone, and each label adds the completion, of any
prompt, that raises Σ_x ρ_x E max_{k∈S_x} r_k most, ρ the prompts' weights. That sum is monotone and
submodular, so greedy choice reaches 1 − 1/e of the largest increase. ``eubo`` values each pair
independently; with one label for a prompt the two agree, among the pairs with the completion of
largest mean.

Family: decision-theoretic.
Source: Astudillo, Lin, Bakshy, Frazier 2023, qEUBO: A Decision-Theoretic Acquisition Function for
    Preferential Bayesian Optimization, AISTATS, arXiv 2303.15746.
Assumes: As ``eubo``, and that q − 1 answers identify the best of q, which noisy ones do not.
Cost: The belief and O(e N K) a round, and O(N K + e K) for each label, e draws.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    BeliefDesign,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    masked_argmax,
    randomize_order,
)


@dataclass(frozen=True)
class Qeubo(BeliefDesign):
    """Greedy choice of the completions to compare with each prompt's one of largest mean.

    Attributes:
        draws: number of posterior draws; the default is that of the authors' code.
    """

    draws: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "draws")

    def select(self, view: View, n: int) -> Pairs:
        """Add completions one by one; repeat the pairs once all are compared."""
        belief, pool, rng = self.belief(view), view.pool, view.rng
        rewards = belief.draws(self.draws, rng)
        first = masked_argmax(pool.valid, belief.mean, rng)
        prompts = np.arange(pool.n_prompts)
        free = pool.valid.copy()
        free[prompts, first] = False
        best = rewards[:, prompts, first]
        gains = np.maximum(rewards - best[:, :, None], 0).mean(axis=0)
        gains *= pool.prompt_weights[:, None]
        chosen = np.empty((min(n, int(free.sum())), 3), dtype=np.int64)
        for k in range(len(chosen)):
            index = int(masked_argmax(free.reshape(-1), gains.reshape(-1), rng))
            x, j = divmod(index, pool.n_completions)
            chosen[k], free[x, j] = (x, first[x], j), False
            best[:, x] = np.maximum(best[:, x], rewards[:, x, j])
            gain = np.maximum(rewards[:, x] - best[:, x, None], 0).mean(axis=0)
            gains[x] = gain * pool.prompt_weights[x]
        return randomize_order(view, cycle_pairs(chosen, n))
