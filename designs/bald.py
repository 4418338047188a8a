"""The pairs whose label and rewards share most information: BALD, plain or perturbed for a batch.

I(y; Δ) = h(E σ(Δ)) − E h(σ(Δ)): the label is uncertain, but would not be if Δ were known. In closed
form for a normal posterior (:func:`pairbench.information.gaussian_forecast`), over all members for
an ensemble. The n highest scores of a round may all be of the same question. The stochastic rules
take the n highest perturbed ones instead, with ε ~ Gumbel of scale 1/coldness for each pair:

    power    log I + ε       (I^coldness as the odds of being drawn)
    softmax  I + ε
    softrank −log rank + ε   (rank 1 is the highest I)

Family: uncertainty.
Source: Houlsby, Huszár, Ghahramani and Lengyel 2011, Bayesian Active Learning for Classification
    and Preference Learning, arXiv 1112.5745; the batch rules and their default coldness: Kirsch et
    al. 2023, Stochastic Batch Acquisition, arXiv 2106.12059.
Assumes: that the model is right. What a wrong model cannot fit looks to it like noise, and is not
    asked; and that information about Δ is worth the same everywhere.
Cost: one fit, O(N K² d) and a sort a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BeliefDesign,
    InvalidParameter,
    Pairs,
    View,
    cycle_pairs,
    fresh_pairs,
    pair_scores,
)

Array = NDArray[np.float64]
RULES = ("top", "power", "softmax", "softrank")


@dataclass(frozen=True)
class Bald(BeliefDesign):
    """The n pairs of highest, perhaps perturbed, mutual information not asked before.

    Attributes:
        batch: ``"top"``, ``"power"``, ``"softmax"`` or ``"softrank"``.
        coldness: how closely the perturbed rules keep to the scores.
    """

    batch: str = "top"
    coldness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch not in RULES:
            raise InvalidParameter(f"batch must be one of {', '.join(RULES)}, got {self.batch!r}.")
        if not (np.isfinite(self.coldness) and self.coldness > 0):
            raise InvalidParameter(f"coldness must be positive and finite, got {self.coldness}.")

    def select(self, view: View, n: int) -> Pairs:
        """Choose the pairs of highest score among those not asked before."""
        information = self.belief(view).forecast(view.rng).mutual_information
        pairs = fresh_pairs(view, view.pool.n_pairs)
        scores = self.perturbed(pair_scores(view.pool, information)[tuple(pairs.T)], view.rng)
        return cycle_pairs(pairs[np.argsort(-scores, kind="stable")], n)

    def perturbed(self, scores: Array, rng: np.random.Generator) -> Array:
        """Perturb the scores by the batch rule, ``(m,)``.

        Args:
            scores: mutual information, 0 or more, ``(m,)`` nats, in random order.
            rng: source of the perturbations.
        """
        if self.batch == "top":
            return scores
        noise: Array = rng.gumbel(scale=1 / self.coldness, size=len(scores))
        if self.batch == "power":
            return np.log(np.maximum(scores, np.finfo(np.float64).tiny)) + noise
        if self.batch == "softmax":
            return scores + noise
        rank = np.empty(len(scores))
        rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
        return noise - np.log(rank)
