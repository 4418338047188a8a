"""The best of randomly perturbed rewards of each prompt against the rival that may beat it by most.

CoLSTIM imitates the labels: with ε_i Gumbel, whose differences are logistic as the labels are,

    first = argmax_i μ_i + clip(ε_i, ±C) ‖i‖,    second = argmax_{j ≠ first} μ_j + c ‖j − first‖.

The publication's norms are of features, in the inverse of Σ z zᵀ. Here they are posterior
deviations, and that of a single completion is of its reward relative to its prompt's mean. A
posterior weighs labels by σ' ≤ ¼, which makes its deviations at least about twice as long, and
longer where labels saturate; so ‖i‖ = s_i / 2 and ‖j − i‖ = s_ij / 2. C and c are usually
√(d log T), about 10 at d = 16 and T = 500, the default here. The publication's random pairs at the
start are left to the prior, and where it would compare the first with itself the next best is taken
instead.

Public code differs from the publication. That of bengsV/duelpy compares the best completion under a
Gaussian draw, θ̃ ~ N(θ̂, b² V⁻¹) with b from a confidence bound and V with a ridge of 1, with the
best under θ̂ itself, and has neither Gumbel noise nor C and c. That of Healthy-AI/GURO, a baseline
there, has c = 0.1, a ridge of 1 and no cut-off, and ranks the first by the noise term alone.

Family: dueling bandit.
Source: Bengs, Saha and Hüllermeier 2022, Stochastic Contextual Dueling Bandits under Linear
    Stochastic Transitivity Models, arXiv 2202.04593.
Assumes: that the best completion is what is sought, and Bradley–Terry labels for the Gumbel.
Cost: one fit a round; all s_ij of the pool a pass over the prompts.
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Belief, DuelDesign, Duels, InvalidParameter, masked_argmax, opponent_mask


@dataclass(frozen=True)
class Colstim(DuelDesign):
    """The best completion by perturbed rewards and its challenger; cycles through the prompts.

    Attributes:
        width: c, of the challenger's bound.
        threshold: C, at which perturbations are clipped.
    """

    width: float = 10.0
    threshold: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "threshold"):
            if not (np.isfinite(value := getattr(self, name)) and value >= 0):
                raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")

    def duel(self, belief: Belief, rng: np.random.Generator) -> Duels:
        """Take the best perturbed reward, and the rival of largest upper bound."""
        pool, mean = belief.pool, belief.mean
        noise = np.clip(rng.gumbel(size=mean.shape), -self.threshold, self.threshold)
        first = masked_argmax(pool.valid, mean + noise * belief.deviation / 2, rng)
        deviation = np.sqrt(belief.difference_variance()[np.arange(len(first)), first])
        challenge = mean + self.width * deviation / 2
        return first, masked_argmax(opponent_mask(pool, first), challenge, rng)
