"""The pairs whose label tells most of the labels of other pairs, those that will matter: EPIG.

EPIG(x) = E_x* I(y; y*): the mutual information of a candidate's label and the label of a target
pair x*, averaged over targets. Their joint probabilities are means over posterior draws,
p(y, y*) = E σ(±Δ) σ(±Δ*). Targets are what the trained policy will be used on: a prompt by its
weight, and two different completions drawn from the current policy; or any pair of the pool. Unlike
``bald`` it has no use for learning what changes no prediction.

Family: uncertainty.
Source: Bickford Smith, Kirsch, Farquhar, Gal, Foster and Rainforth 2023, Prediction-Oriented
    Bayesian Active Learning, arXiv 2304.08151.
Assumes: that predicting labels is the aim, where the policy needs rewards of what it may say. Pairs
    of a batch are ranked each on its own. E draws overstate I by up to 1/(2E) nats.
Cost: one fit and O(E m t) a round, E draws, m candidates, t targets.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import (
    BeliefDesign,
    InvalidParameter,
    Pairs,
    View,
    check_counts,
    filled,
    fresh_pairs,
    uniform_pairs,
)
from pairbench.information import shared_information


@dataclass(frozen=True)
class Epig(BeliefDesign):
    """The n pairs of highest expected predictive information gain among random ones.

    Attributes:
        aim: ``"policy"`` or ``"uniform"``, where targets are drawn from.
        targets: t, how many.
        draws: E, posterior draws; an ensemble's are its members.
        candidates: m, how many pairs not asked before to choose from.
    """

    aim: str = "policy"
    targets: int = 100
    draws: int = 200
    candidates: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aim not in ("policy", "uniform"):
            raise InvalidParameter(f"aim must be policy or uniform, got {self.aim!r}.")
        check_counts(self, "targets", "draws", "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Rank the candidates."""
        pairs = fresh_pairs(view, max(n, self.candidates))
        policy = self.aim == "policy"
        aim = policy_pairs(view, self.targets) if policy else uniform_pairs(view, self.targets)
        both = np.concatenate([pairs, aim])
        draws = self.belief(view).scenarios(both, self.draws, view.rng)
        gains = shared_information(draws[:, : len(pairs)], draws[:, len(pairs) :]).mean(axis=1)
        return filled(pairs[np.argsort(-gains, kind="stable")], n)


def policy_pairs(view: View, n: int) -> Pairs:
    """Prompts by weight, and two different completions of each from the policy, ``(n, 3)``."""
    pool = view.pool
    prompt = view.rng.choice(pool.n_prompts, size=n, p=pool.prompt_weights)
    log_policy = view.log_policy()[prompt]
    # The two largest of log π + Gumbel noise are two draws without replacement.
    order = np.argsort(-log_policy - view.rng.gumbel(size=log_policy.shape), axis=1)
    return np.stack([prompt, order[:, 0], order[:, 1]], axis=1)
