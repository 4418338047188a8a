"""The two completions of each prompt that are best under the two posterior draws of most regret.

For draws e and e′ with best completions b and b′, the mutual regret is
[r_e(b) − r_e(b′)] + [r_e′(b′) − r_e′(b)]: the loss under e of following e′, and conversely. The
pair of draws of largest mutual regret determines the question, and prompts take turns, each turn
with new draws. Draws that agree on the best have no mutual regret: where all agree, the best is
compared with the completion of next highest mean.

Adapted to pools: the publication asks one question of all, over reward parameters weighted by their
posterior density, by a ratio of costs; here there is a question for each prompt, over posterior
draws, by differences, since rewards have no zero.

Family: uncertainty.
Source: Wilde, Kulić and Smith 2020, Active Preference Learning Using Maximum Regret, arXiv
    2005.04067.
Assumes: that only the best counts, where a policy at β > 0 spreads over good completions; more
    draws are more extreme.
Cost: one fit, and O(E N K d + E² N) a turn, E draws.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter


@dataclass(frozen=True)
class MaxRegret(DuelDesign):
    """One pair a prompt, of largest mutual regret; cycles through the prompts.

    Attributes:
        draws: E.
    """

    draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 2:
            raise InvalidParameter(f"draws must be 2 or more, got {self.draws}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best completions of the two draws of largest mutual regret."""
        pool = belief.pool
        # In random order, so that argmax breaks ties at random.
        order = rng.permutation(pool.n_completions)
        valid = pool.valid[:, order, None]
        rewards = np.ascontiguousarray(belief.draws(self.draws, rng).transpose(1, 2, 0)[:, order])
        best = np.where(valid, rewards, -np.inf).argmax(axis=1)
        # The reward under draw e of the best completion under e′, at [prompt, e′, e].
        value = np.take_along_axis(rewards, best[:, :, None], axis=1)
        regret = np.einsum("nee->ne", value)[:, None, :] - value
        mutual = (regret + regret.transpose(0, 2, 1)).reshape(len(best), -1)
        e, other = np.divmod(mutual.argmax(axis=1), self.draws)
        prompt = np.arange(len(best))
        first, second = best[prompt, e], best[prompt, other]
        mean = np.where(valid[:, :, 0], belief.mean[:, order], -np.inf)
        mean[prompt, first] = -np.inf
        second = np.where(first == second, mean.argmax(axis=1), second)
        return order[first], order[second]
