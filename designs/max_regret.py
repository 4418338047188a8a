"""Each prompt's two completions that are best under two posterior draws and cost most if mistaken.

For draws e and e′ with best completions b and b′, the mutual regret is
[r_e(b) − r_e(b′)] + [r_e′(b′) − r_e′(b)]: what is lost under e by following e′, and the other way
round. Of all pairs of draws the one of largest mutual regret gives the question, and prompts take
turns, each turn with draws of its own. Draws that agree on what is best cannot disagree on it at a
cost: where all agree, it is compared with the completion of next highest mean.

Adapted to pools: there, one question of all, over reward parameters weighed by their posterior
density, and a ratio of costs; here a question for each prompt, draws, which are weighed by being
drawn, and differences, since rewards have no zero.

Family: uncertainty.
Source: Wilde, Kulić and Smith 2020, Active Preference Learning Using Maximum Regret, arXiv
    2005.04067.
Assumes: that only what is best counts, where a policy at β > 0 spreads over good completions; more
    draws mean more extreme ones.
Cost: one fit, and O(E N K d + E² N) a turn, E draws.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter


@dataclass(frozen=True)
class MaxRegret(DuelDesign):
    """One pair a prompt, of largest mutual regret; prompts in turn.

    Attributes:
        draws: E.
    """

    draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 2:
            raise InvalidParameter(f"draws must be 2 or more, got {self.draws}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """The completions that the two draws of largest mutual regret like best."""
        pool = belief.pool
        # In random order, so that of equal completions it is a random one that comes first.
        order = rng.permutation(pool.n_completions)
        there = pool.valid[:, order, None]
        rewards = np.ascontiguousarray(belief.draws(self.draws, rng).transpose(1, 2, 0)[:, order])
        best = np.where(there, rewards, -np.inf).argmax(axis=1)
        # What draw e thinks of the best completion under e′, at [prompt, e′, e].
        value = np.take_along_axis(rewards, best[:, :, None], axis=1)
        regret = np.einsum("nee->ne", value)[:, None, :] - value
        mutual = (regret + regret.transpose(0, 2, 1)).reshape(len(best), -1)
        e, other = np.divmod(mutual.argmax(axis=1), self.draws)
        prompt = np.arange(len(best))
        first, second = best[prompt, e], best[prompt, other]
        mean = np.where(there[:, :, 0], belief.mean[:, order], -np.inf)
        mean[prompt, first] = -np.inf
        second = np.where(first == second, mean.argmax(axis=1), second)
        return order[first], order[second]
