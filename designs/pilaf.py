"""Pairs half from the current policy, half from its extrapolation and its interpolation to π_ref.

PILAF, policy-interpolated learning for aligned feedback. With probability ½ both completions are
drawn from π̂, else one from each of

    π⁺ ∝ π̂^{1+β} π_ref^{−β} ∝ π̂ exp(r̂),    π⁻ ∝ π̂^{1−β} π_ref^{β} ∝ π̂ exp(−r̂),

r̂ = β log π̂/π_ref being the implicit reward, φᵀθ̂ here. π̂ is the policy trained on all labels so
far; before the first it is π_ref, and so are π⁺ and π⁻. With β = 1 π⁻ is π_ref, and with a small β
all three are about the same. With Δ = r̂_i − r̂_j and Z⁺, Z⁻ the
normalising constants,

    π̂_i π̂_j / σ'(Δ) = π̂_i π̂_j (2 + e^Δ + e^−Δ) = 2 π̂_i π̂_j + Z⁺Z⁻ (π⁺_i π⁻_j + π⁻_i π⁺_j),

so such pairs undo the slope in the gradient of DPO's loss, which then points where the policy's
value rises. The exact mixture is 1 : Z⁺Z⁻, with prompts in proportion to 1 + Z⁺Z⁻ (T-PILAF); the
practical algorithm, as this one, takes ½ and leaves the prompts as they are.

The publication generates completions token by token, from interpolated logits. Here they are drawn
from the pool, both again where they are the same one. Prompts are drawn with their weights ρ, which
are uniform unless the pool has weights.

Family: generation.
Source: Feng et al. 2025, "PILAF: Optimal Human Preference Sampling for Reward Modeling", arXiv
    2502.04270; β is that of the DPO training.
Assumes: that π̂ is near π*, where it is proven optimal; where r̂ is large and wrong, π⁺ is more
    concentrated still.
Cost: one DPO fit, and O(N K + n K).
"""

from dataclasses import dataclass

import numpy as np

from pairbench import Design, Pairs, View, distinct_draws, randomize_order


@dataclass(frozen=True)
class Pilaf(Design):
    """Prompts by their weights, with a pair of the mixture each."""

    def select(self, view: View, n: int) -> Pairs:
        """Sample prompts, the component of the mixture, and two different completions of each."""
        prompt = view.rng.choice(view.pool.n_prompts, size=n, p=view.pool.prompt_weights)
        is_tilted = view.rng.random(n) < 0.5
        tilt = np.where(is_tilted[:, None], view.implicit_rewards()[prompt], 0.0)
        log_policy = view.log_policy()[prompt]
        first, second = distinct_draws(log_policy + tilt, log_policy - tilt, view.rng)
        return randomize_order(view, np.stack([prompt, first, second], axis=1))
