"""Sums over all pairs of a prompt without forming the pairs.

For completions of one prompt with features Φ ``(K, d)`` and z_ij = φ_i − φ_j:

- z_ijᵀ A z_ij = B_ii + B_jj − B_ij − B_ji with B = Φ A Φᵀ,
- Σ_ij w_ij z_ij z_ijᵀ = Φᵀ L Φ with L the graph Laplacian of the weights.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pair_forms(phi: Array, matrix: Array) -> Array:
    """Compute z_ijᵀ A z_ij for all pairs of each prompt, ``(n_prompts, K, K)``, symmetric.

    Args:
        phi: φ, ``(n_prompts, K, d)``.
        matrix: A, ``(d, d)``, symmetric.
    """
    gram = (phi @ matrix) @ phi.transpose(0, 2, 1)
    diagonal = np.einsum("nii->ni", gram)
    forms = diagonal[:, :, None] + diagonal[:, None, :] - gram - gram.transpose(0, 2, 1)
    # Equal completions must give 0, not a negative rounding error.
    nonnegative: Array = np.maximum(forms, 0.0)
    return nonnegative


def pair_gram(phi: Array, weights: Array, rows: slice = slice(None)) -> Array:
    """Compute Σ_prompt Σ_i∈rows Σ_j w_ij z_ij z_ijᵀ, ``(d, d)``.

    Args:
        phi: φ, ``(n_prompts, K, d)``.
        weights: w, ``(n_prompts, rows, K)``; entries ``[i, j]`` and ``[j, i]`` both weigh the pair
            of i and j, and add up.
        rows: the completions i of the sum; all if not given.
    """
    # z zᵀ = φ_i φ_iᵀ + φ_j φ_jᵀ − φ_i φ_jᵀ − φ_j φ_iᵀ, summed over rows and over columns.
    phi_rows = phi[:, rows]
    mixed = weights.sum(axis=2)[:, :, None] * phi_rows - 2 * (weights @ phi)
    gram = np.tensordot(phi_rows, mixed, axes=([0, 1], [0, 1]))
    gram += np.tensordot(phi, weights.sum(axis=1)[:, :, None] * phi, axes=([0, 1], [0, 1]))
    symmetric: Array = (gram + gram.T) / 2
    return symmetric
