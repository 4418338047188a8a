"""The pairs whose less informative answer rules out most rewards: maximin removed volume.

An answer y weighs the posterior draws e by P(y | e), and so removes a volume E_e[1 − P(y | e)]; the
pair is chosen whose less informative answer removes most, max min_y E[1 − P(y | e)].

With logistic answers, P = σ(±Δ), that is max min(E σ(Δ), E σ(−Δ)), the pair of p̄ nearest ½, and the
rule ranks pairs as ``uncertainty`` does, with p̄ exact. Its optimum is degenerate: two equal
completions have Δ = 0 under all e and score ½, the most there is, with an answer that rules out
nothing. Of completions with features 1, 1 and 0 under θ ~ N(m, 1), the two copies score ½ whatever
m is, the others less unless m = 0. With clipped answers, P = min(1, exp(±Δ)), equal completions
remove nothing, and the rule wants differences that are large and of unknown sign.

Family: uncertainty.
Source: Sadigh, Dragan, Sastry and Seshia 2017, Active Preference-Based Learning of Reward
    Functions, RSS (clipped); Bıyık, Palan, Landolfi, Losey and Sadigh 2019, Asking Easy Questions,
    arXiv 1910.04365 (logistic, and that it is degenerate). Both ask one question at a time.
Assumes: with logistic answers, that no two completions are alike; with clipped ones, that a label
    is wrong only by little, where Bradley–Terry labels of close calls are coin tosses.
Cost: one fit and O(N K² d) a round; clipped, O(E N K (d + K)), E draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    Belief,
    BeliefDesign,
    InvalidParameter,
    ScoredDesign,
    View,
    check_counts,
    pair_scores,
    reward_differences,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VolumeRemoval(BeliefDesign, ScoredDesign):
    """The n pairs of largest least removed volume not asked before; random at first if logistic.

    Attributes:
        answers: ``"logistic"`` or ``"clipped"``.
        draws: E, number of posterior draws of the clipped answers.
    """

    answers: str = "logistic"
    draws: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers not in ("logistic", "clipped"):
            raise InvalidParameter(f"answers must be logistic or clipped, got {self.answers!r}.")
        check_counts(self, "draws")

    def scores(self, view: View) -> NDArray[np.float64]:
        """Score all pairs by their least removed volume."""
        volume = self.removed_volume(self.belief(view), view.rng)
        return pair_scores(view.pool, volume)

    def removed_volume(self, belief: Belief, rng: np.random.Generator) -> Array:
        """Compute the least removed volume of all pairs, in the order of ``pool.pair_mask``."""
        if self.answers == "logistic":
            p = belief.forecast(rng).probability
            return np.minimum(p, 1 - p)
        by_first, by_second = np.zeros((2, belief.pool.n_pairs))
        for delta in reward_differences(belief.pool, belief.draws(self.draws, rng)):
            by_first -= np.expm1(np.minimum(delta, 0.0))
            by_second -= np.expm1(np.minimum(-delta, 0.0))
        least: Array = np.minimum(by_first, by_second) / self.draws
        return least
