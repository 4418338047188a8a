"""Pairs whose implicit-reward gradients differ most from those of the labelled pairs, greedily.

ActiveDPO chooses argmax ‖g_i − g_j‖ in the norm of V⁻¹ and adds (g_i − g_j)(g_i − g_j)ᵀ to V at
once, V = λI + the same over the labels so far. g is the gradient of the implicit reward
β log π_θ(y|x), for the log-linear policy φ − E_π̂ φ, scaled to unit length as the paper does
against the length of texts, which makes the choice depend on the current policy π̂; without that
scaling g_i − g_j is z. V has no weights w: that labels saturate does not count. Gradients of more
than 8,192 components are projected at random (Johnson and Lindenstrauss). A round has 3,000
candidates, as in the paper, which draws new completions for them; here they are drawn from the
pairs not asked before.

Family: optimal design.
Source: Lin, Verma, Dai, Rus, Ng, Low 2025, ActiveDPO: Active Direct Preference Optimization for
    Sample-Efficient Alignment, arXiv 2505.19241.
Assumes: That the directions of gradients, not their lengths, say how informative a pair is, and
    that labels of all pairs carry equal noise, which fails where labels saturate.
Cost: One DPO fit, O(N K d) and O(m d²) a round, and O(m d) for each label, m candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import Design, Pairs, View, check_counts, fresh_pairs, randomize_order
from pairbench.information import RankOne

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ActiveDpo(Design):
    """Greedy novelty of the implicit reward's gradients; defaults are the paper's.

    Attributes:
        candidates: number of random pairs to choose from.
        normalized: whether gradients are scaled to unit length.
        projection: gradients of more components than this are projected at random to as many.
    """

    candidates: int = 3000
    normalized: bool = True
    projection: int = 8192

    def __post_init__(self) -> None:
        check_counts(self, "candidates", "projection")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one, repeating none before all candidates are chosen."""
        gradients = self._gradients(view)

        def differences(pairs: Pairs) -> Array:
            prompt, first, second = pairs.T
            z: Array = gradients[prompt, first] - gradients[prompt, second]
            return z

        pairs = fresh_pairs(view, self.candidates)
        past = differences(view.answered)
        v = view.ridge * np.eye(past.shape[1]) + past.T @ past
        state = RankOne(differences(pairs), np.linalg.inv(v).astype(np.float64), None)
        free = np.ones(len(pairs), dtype=np.bool_)
        chosen = np.empty(n, dtype=np.int64)
        for k in range(n):
            if not free.any():
                free[:] = True
            chosen[k] = p = int(np.where(free, state.gains(), -np.inf).argmax())
            state.take(p)
            free[p] = False
        return randomize_order(view, pairs[chosen])

    def _gradients(self, view: View) -> Array:
        """Compute the implicit reward's gradients of all completions, ``(N, K, d)``."""
        phi, pi = view.pool.phi, np.exp(view.log_policy())
        g: Array = phi - (pi[:, None] @ phi)
        if g.shape[2] > self.projection:
            matrix = view.rng.standard_normal((g.shape[2], self.projection))
            g = g @ (matrix / np.sqrt(self.projection))
        if self.normalized:
            length = np.linalg.norm(g, axis=2, keepdims=True)
            g = g / np.where(length > 0, length, 1.0)
        return g
