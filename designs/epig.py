"""The pairs whose label is most informative about the labels of target pairs: EPIG.

EPIG(x) = E_x* I(y; y*): the mutual information of a candidate's label and the label of a target
pair x*, averaged over targets. Their joint probabilities are means over posterior draws,
p(y, y*) = E σ(±Δ) σ(±Δ*). Targets represent the use of the trained policy: a prompt by its weight,
and two different completions drawn from the current policy; or any pair of the pool. Unlike
``bald`` it does not value information that changes no prediction.

Family: uncertainty.
Source: Bickford Smith, Kirsch, Farquhar, Gal, Foster and Rainforth 2023, Prediction-Oriented
    Bayesian Active Learning, arXiv 2304.08151.
Assumes: that predicting labels is the aim, where the policy needs rewards of the completions that
    it may sample. Pairs of a batch are ranked independently. E draws overstate I by up to 1/(2E)
    nats.
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
    cycle_pairs,
    fresh_pairs,
    uniform_pairs,
)
from pairbench.information import mutual_information


@dataclass(frozen=True)
class Epig(BeliefDesign):
    """The n pairs of highest expected predictive information gain among random ones.

    Attributes:
        aim: ``"policy"`` or ``"uniform"``, the distribution of targets.
        targets: t, number of targets.
        draws: E, posterior draws; an ensemble's are its members.
        candidates: m, number of random pairs not asked before to choose from.
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
        """Choose the candidates of highest expected predictive information gain."""
        pairs = fresh_pairs(view, max(n, self.candidates))
        sample_targets = policy_pairs if self.aim == "policy" else uniform_pairs
        pooled = np.concatenate([pairs, sample_targets(view, self.targets)])
        draws = self.belief(view).scenarios(pooled, self.draws, view.rng)
        gains = mutual_information(draws[:, : len(pairs)], draws[:, len(pairs) :]).mean(axis=1)
        return cycle_pairs(pairs[np.argsort(-gains, kind="stable")], n)


def policy_pairs(view: View, n: int) -> Pairs:
    """Sample prompts by weight, and two different completions of each by π̂, ``(n, 3)``."""
    pool = view.pool
    prompt = view.rng.choice(pool.n_prompts, size=n, p=pool.prompt_weights)
    log_policy = view.log_policy()[prompt]
    # The two largest of log π + Gumbel noise are two draws without replacement.
    order = np.argsort(-log_policy - view.rng.gumbel(size=log_policy.shape), axis=1)
    return np.stack([prompt, order[:, 0], order[:, 1]], axis=1)
