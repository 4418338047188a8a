"""The pairs whose label is expected to improve the trained policy most, one label ahead.

J(π) = E_x [Σ_k π r − β KL(π ‖ π_ref)] is linear in r. So under a posterior of mean μ the best of
policies is π_μ ∝ π_ref exp(μ/β), which is what DPO trains, and its value is expected to be
V(μ) = β E_x log Σ_k π_ref exp(μ/β). The expected value of the best policy for r itself does not
change, so asking p lowers the expected gap by

    KG(p) = E_y V(μ_y) − V(μ) = β E_x Σ_y P(y) log Σ_k π_μ(k|x) exp(a_y u_k / β) ≥ 0.

An answer moves the mean by a_y u in all prompts: u_k = φ_kᵀA⁻¹z, the covariance of r_k and Δ, and
a_y = ∂ log P(y) / ∂Δ, which is exact for a Gaussian. With MacKay's σ(κΔ) for P(1) = E σ(Δ), where
κ = (1 + π s²/8)^−½, it is κ (y − P(1)). DPO's own refit goes to the mode, not to the mean, which
costs J a term of second order. For small moves KG is κ² P(0) P(1) zᵀGz / (2β), G = A⁻¹CA⁻¹, which
is ``greedy-i`` but for the weight. Within a round, and this is our addition, choices count as
labelled: A grows by w z zᵀ, and KG falls as this form of it does.

Family: decision-theoretic.
Source: Frazier, Powell, Dayanik 2009, The Knowledge-Gradient Policy for Correlated Normal Beliefs,
    INFORMS Journal on Computing; its form for DPO's policy is ours.
Assumes: The log-linear model with its Laplace posterior, and that the next label is the last.
Cost: One DPO fit, O(m N K d) with 2 m N K exponentials a round, and O(m d) for each label, m
    candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from pairbench import (
    Design,
    Laplace,
    LaplaceBelief,
    Pairs,
    View,
    check_counts,
    fresh_pairs,
    randomize_order,
)
from pairbench.information import RankOne, logistic_slope, policy_covariance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KnowledgeGradient(Design):
    """Greedy choice by the expected gain of the policy's value.

    Attributes:
        candidates: number of random pairs to choose from, drawn from those not asked before.
    """

    candidates: int = 1000

    def __post_init__(self) -> None:
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, updating the information matrix as if each were labelled."""
        belief, pairs = Laplace().fit(view), fresh_pairs(view, self.candidates)
        gains, mean = self.gains(view, belief, pairs), belief.of_pairs(pairs)[0]
        covariance = policy_covariance(view.pool, beta=view.beta, rewards=belief.mean)
        state = RankOne(view.pool.differences(pairs), belief.covariance, covariance)
        weight = logistic_slope(mean)

        def small_moves() -> Array:
            """Compute the small-move form of KG, up to a constant factor."""
            kappa, p = _prediction(mean, state.leverage)
            form: Array = kappa**2 * p * (1 - p) * state.fall
            return form

        start = small_moves()
        ratio = np.divide(gains, start, out=np.zeros_like(gains), where=start > 0)
        chosen = np.empty(n, dtype=np.int64)
        for k in range(n):
            chosen[k] = p = int((ratio * small_moves()).argmax())
            state.take(p, float(weight[p]))
        return randomize_order(view, pairs[chosen])

    def gains(self, view: View, belief: LaplaceBelief, pairs: Pairs) -> Array:
        """Compute KG of some pairs under a belief, ``(m,)`` reward units."""
        pool, beta = view.pool, view.beta
        log_pi = log_softmax(pool.log_ref + belief.mean / beta, axis=1)
        # Centring u under π_μ removes the terms that cancel between the two answers.
        phi = pool.phi - np.exp(log_pi)[:, None] @ pool.phi
        sides = phi.reshape(-1, pool.dim) @ belief.covariance
        kappa, p = _prediction(*belief.of_pairs(pairs))
        gains = np.zeros(len(pairs))
        # In parts that fit into the processor's cache.
        for part in np.array_split(np.arange(len(pairs)), 1 + len(pairs) * log_pi.size // 2**16):
            u = (pool.differences(pairs[part]) @ sides.T).reshape(-1, *log_pi.shape)
            for answer, chance in ((1, p[part]), (0, 1 - p[part])):
                move = kappa[part] * (answer - p[part]) / beta
                logits = log_pi + move[:, None, None] * u
                top = logits.max(axis=2)
                total = np.exp(logits - top[:, :, None]).sum(axis=2)
                gains[part] += beta * chance * ((np.log(total) + top) @ pool.prompt_weights)
        return gains


def _prediction(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Compute κ and P(1) for Δ of these means and variances, ``(m,)`` each."""
    kappa = 1 / np.sqrt(1 + np.pi / 8 * np.maximum(variance, 0))
    return kappa, expit(kappa * mean)
