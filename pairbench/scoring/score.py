"""Score of a policy."""

from dataclasses import asdict, dataclass
from typing import Any

from pairbench.stats.bootstrap import Estimate


@dataclass(frozen=True)
class SampledScore:
    """Sampling estimates behind a score, where completions are too many to enumerate.

    Intervals cover the sampling of completions, for fixed held-out prompts
    (:mod:`pairbench.worlds.sampled_language`).

    Attributes:
        gap: J(π*) − J(π), reward units; may be negative, unlike the score's.
        value: J(π) = E_π[r* − β log π/π_ref], reward units.
        best: J(π*) = β E_x log E_π_ref exp(r*/β), reward units.
        reward: E_π r*, reward units; with ``kl`` the policy's point on the reward–KL frontier.
        kl: E_x KL(π ‖ π_ref), nats.
        win_rate: P(a draw from π has the greater reward than one from π_ref), ties half.
        judged: the share of draws from π that the evaluator prefers to one from π_ref, ties half;
            None if the environment has no evaluator.
        effective: the effective number of reference draws behind ``best``: Kish's, under the
            weights exp(r*/β), averaged over prompts. If it is small, ``best`` is too low and its
            interval too narrow.
    """

    gap: Estimate
    value: Estimate
    best: Estimate
    reward: Estimate
    kl: Estimate
    win_rate: Estimate
    judged: Estimate | None
    effective: float


@dataclass(frozen=True)
class Score:
    """Figures of merit of a policy.

    Attributes:
        gap: G = J(π*) − J(π) on the held-out prompts, reward units. The primary figure.
        pool_gap: G on the pool's prompts, reward units.
        floor: the least gap of the policy class on the held-out prompts, reward units; 0 if the
            reward is linear in the features.
        estimation: the estimation error ``gap − floor``, which more labels can lower.
        win_rate: P(a draw from π has the greater reward than one from π_ref), held-out, ties half.
        estimation_error: (θ̂−θ*)ᵀ C(θ*) (θ̂−θ*) on the held-out prompts, reward units²; None
            if there is no θ*.
        design_efficiency: ψ(best design at θ*) / ψ(the labelled pairs), in (0, 1] up to sampling
            error and the 5 % to which the best is computed. If the reward is not linear in the
            features, θ* is the best policy's, and ψ leaves out the error by misspecification.
        sampled: the sampling estimates of ``gap`` and ``win_rate``; None if they are exact.
    """

    gap: float
    pool_gap: float
    floor: float
    estimation: float
    win_rate: float
    estimation_error: float | None
    design_efficiency: float
    sampled: SampledScore | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON, without ``sampled`` if None, as scores had none at first."""
        fields = asdict(self)
        if self.sampled is None:
            del fields["sampled"]
        return fields
