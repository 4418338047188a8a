"""Pairs that raise log det of the information most, each chosen among a random subset.

ADPO chooses argmax v_pᵀH⁻¹v_p, v_p = √w z, and adds v vᵀ to H at once, whose inverse follows by
Sherman and Morrison; H = λI + Σ w z zᵀ at first. Candidates are drawn for each choice among the
pairs not asked before, 256 as in the paper's experiments, and no pair is asked twice. ``greedy-d``
is the same criterion with all pairs as candidates and with repeats. Two things differ from the
paper: θ̂ is fitted once a round, where the paper has each choice's label before the next (though
its experiments fit after 2, 4, 8, … labels only), and the pairs of earlier rounds are reweighted at
θ̂, where the paper keeps their old weights.

ADPO+, its version for a data set that is already labelled, takes w at the θ̂ of all labels, chosen
or not. Here these do not exist, but a reward model's scores may stand in where the pool has them:
``adpo(estimator='laplace(trust=1.0)')``.

Family: optimal design.
Source: Kveton, Li, McAuley, Rossi, Shang, Wu, Yu 2025, Active Learning for Direct Preference
    Optimization, arXiv 2503.01076.
Assumes: A log-linear policy, and that all directions of θ count equally, also those on which the
    policy does not depend.
Cost: The belief, and O(c d²) for each label, c candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairbench import (
    BeliefDesign,
    Pairs,
    View,
    check_counts,
    cycle_pairs,
    fresh_pairs,
    randomize_order,
)
from pairbench.information import logistic_slope


@dataclass(frozen=True)
class Adpo(BeliefDesign):
    """Greedy log det, each choice among a random subset.

    Attributes:
        candidates: size of the random subset for each choice; the default is the paper's.
    """

    candidates: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")

    def select(self, view: View, n: int) -> Pairs:
        """Choose pairs one by one at the current estimate."""
        mean, pool = self.belief(view).mean, view.pool

        def atoms(pairs: Pairs) -> NDArray[np.float64]:
            """Compute v = √w z, ``(m, d)``."""
            prompt, first, second = pairs.T
            slope = logistic_slope(mean[prompt, first] - mean[prompt, second])
            return pool.differences(pairs) * np.sqrt(slope)[:, None]

        past = atoms(view.answered)
        inverse = np.linalg.inv(view.ridge * np.eye(pool.dim) + past.T @ past)
        # Chosen pairs are swapped to the end, so that pairs[:end] are the remaining candidates.
        pairs = fresh_pairs(view, pool.n_pairs)
        end = len(pairs)
        while end > max(0, len(pairs) - n):
            subset = view.rng.choice(end, min(end, self.candidates), replace=False, shuffle=False)
            v = atoms(pairs[subset])
            u = v @ inverse
            gains = np.einsum("cd,cd->c", u, v)
            best = int(gains.argmax())
            inverse = inverse - np.outer(u[best], u[best]) / (1 + gains[best])
            end -= 1
            pairs[[subset[best], end]] = pairs[[end, subset[best]]]
        return randomize_order(view, cycle_pairs(pairs[end:][::-1], n))
