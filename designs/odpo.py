"""Pairs in proportion to a D-optimal design, reached from the uniform one by Frank–Wolfe steps.

ODPO, "Optimally Designed Policy Optimization": V(π) = Σ π_b b bᵀ over all pairs, b = z, begins at
the uniform π; each step moves a share γ of the weight to b = argmax ‖b‖² in V⁻¹, with
γ = (‖b‖²/d − 1)/(‖b‖² − 1), which maximises log det V along that line, until max ‖b‖² ≤ (1 + ε) d.
By Kiefer and Wolfowitz (1960) d is the minimum. The aim is that of ``d-optimal``, which comes
closer to it, counts the ridge, and gives weight to the best pairs only; with the paper's ε = ½ a
part of the uniform design remains here. In place of the regularisation that makes V invertible, V
is taken on what the pairs span. The paper asks b ⌈nπ_b⌉ times, which is once at least for every
pair; here it is nπ_b rounded up or down at random.

Family: optimal design.
Source: Scheid, Boursier, Durmus, Jordan, Ménard, Moulines, Valko 2024, Optimal Design for Reward
    Modeling in RLHF, arXiv 2410.17055.
Assumes: A linear reward so weak that labels do not saturate (V has no weights w); all directions
    count equally. It does not use the labels.
Cost: O(N K d² + N K² d) and some tens of steps of O(N K d + N K²) a round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, InvalidParameter, Pairs, Pool, View, randomize_order, uniform_pairs
from pairbench.information import pair_forms, round_to_pairs, uniform_information

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Odpo(Design):
    """D-optimal weights by Frank–Wolfe steps, independent of the labels.

    Attributes:
        epsilon: ε, how far the largest variance may exceed the least possible; the default is the
            paper's.
        iterations: maximum number of steps.
    """

    epsilon: float = 0.5
    iterations: int = 1000

    def __post_init__(self) -> None:
        if not (np.isfinite(self.epsilon) and self.epsilon > 0):
            raise InvalidParameter(f"epsilon must be a positive number, got {self.epsilon}.")
        if self.iterations < 0:
            raise InvalidParameter(f"iterations must be 0 or more, got {self.iterations}.")

    def select(self, view: View, n: int) -> Pairs:
        """Round the weights to n labels, those of the uniform share being drawn uniformly."""
        support, weights = self._weights(view.pool, view.rng)
        chosen = round_to_pairs(support, weights, n, view.rng)
        is_uniform = (chosen < 0).all(axis=1)
        chosen[is_uniform] = uniform_pairs(view, int(is_uniform.sum()))
        return randomize_order(view, chosen)

    def _weights(self, pool: Pool, rng: np.random.Generator) -> tuple[Pairs, Array]:
        """Compute the support ``(s, 3)``, whose first row stands for uniform, and π, ``(s,)``."""
        values, vectors = np.linalg.eigh(uniform_information(pool))
        spanned = values > 1e-10 * max(values[-1], 0.0)
        # In this basis V of the uniform design is the identity; D-optimality is the same in any.
        g = pool.project(vectors[:, spanned] / np.sqrt(4 * values[spanned]))
        dim = g.shape[2]
        inverse, forms = np.eye(dim), pair_forms(g, np.eye(dim))
        forms[~(pool.valid[:, :, None] & pool.valid[:, None, :])] = 0
        support, weights = [np.array([-1, -1, -1])], np.array([1.0])
        for _ in range(self.iterations):
            top = float(forms.max())
            if top <= (1 + self.epsilon) * dim:
                break
            best = rng.choice(np.flatnonzero(forms == top))
            x, i, j = np.unravel_index(best, forms.shape)
            # The whole weight, which is optimal in one dimension, would make V singular.
            step = min((top / dim - 1) / (top - 1), 1 - 1e-6)
            u = inverse @ (g[x, i] - g[x, j])
            along, share = g @ u, step / (1 - step + step * top)
            inverse = (inverse - share * np.outer(u, u)) / (1 - step)
            forms -= share * (along[:, :, None] - along[:, None, :]) ** 2
            forms /= 1 - step
            support.append(np.array([x, i, j]))
            weights = np.append((1 - step) * weights, step)
        return np.array(support), weights
