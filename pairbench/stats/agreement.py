"""Agreement between annotators."""

import math

import numpy as np
from numpy.typing import ArrayLike


def krippendorff_alpha(counts: ArrayLike) -> float:
    """Compute Krippendorff's α of nominal data: 1 − observed over expected disagreement.

    1 is perfect agreement, 0 is that of answers given at random with the same frequencies.
    Annotators may have answered different units. Source: Krippendorff, "Computing Krippendorff's
    alpha-reliability" (2011).

    Args:
        counts: ``(n_units, n_values)``, how many annotators gave each value to each unit; units
            with fewer than two answers do not count.

    Returns:
        α, at most 1; NaN if no two answers can be compared or all are equal.
    """
    table = np.asarray(counts, dtype=np.float64)
    table = table[table.sum(axis=1) >= 2]
    n_answers = table.sum(axis=1)
    # Ordered pairs of different answers: within units, and among all answers.
    observed = ((n_answers**2 - (table**2).sum(axis=1)) / (n_answers - 1)).sum()
    total = table.sum()
    expected = (total**2 - (table.sum(axis=0) ** 2).sum()) / (total - 1) if len(table) else 0.0
    return float(1 - observed / expected) if expected > 0 else math.nan
